# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Size and time of the installations that docs/install.md offers, one after another in fresh environments.

    python benchmarks/commands/installations.py

Counted are the packages, the bytes on disk after compilation, and the processor time of pip (user and system). So
neither the network nor other work on the machine matters much. Ratios are to the whole installation of the same run.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path


ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "sub-packages" / "bionemo-scale"
SETS = ("light", "scores", "cpu")
"""Names of files in requirements/; the last one has everything."""


def install(name: str, folder: Path) -> dict[str, float]:
    """Install a set of packages and this one in a new environment; return what that took."""
    environment = folder / name
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    bare = size_of(environment)
    pip = [environment / "bin" / "pip", "install", "-q", "--no-deps"]
    before = os.times()
    subprocess.run([*pip, "-r", ROOT / "requirements" / f"{name}.txt"], check=True)
    subprocess.run([*pip, "-e", PACKAGE], check=True)
    after = os.times()
    listed = subprocess.run(
        [environment / "bin" / "pip", "list", "--format=json"], check=True, capture_output=True, text=True
    )
    return {
        "packages": len({item["name"] for item in json.loads(listed.stdout)} - {"pip", "setuptools", "bionemo-scale"}),
        "bytes": size_of(environment) - bare,
        "cpu": after.children_user + after.children_system - before.children_user - before.children_system,
    }


def size_of(folder: Path) -> int:
    """Return the bytes that the files of a folder occupy."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*") if not path.is_dir())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in SETS}
    for _ in range(parser.parse_args().rounds):
        with tempfile.TemporaryDirectory() as folder:
            for name in SETS:
                found[name].append(install(name, Path(folder)))
    whole = found[SETS[-1]]
    for name, rounds in found.items():
        ratios = [each["cpu"] / all_of_it["cpu"] for each, all_of_it in zip(rounds, whole, strict=True)]
        line = {
            "requirements": name,
            "packages": rounds[0]["packages"],
            "gigabytes": round(rounds[0]["bytes"] / 1e9, 2),
            "seconds of the processor": round(statistics.median(each["cpu"] for each in rounds), 1),
            "share of the whole": [round(ratio, 2) for ratio in ratios],
            "python": platform.python_version(),
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
