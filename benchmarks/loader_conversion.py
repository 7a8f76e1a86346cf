# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Speed, memory and disk of a conversion, on synthetic cells of 2,000 genes.

python benchmarks/loader_conversion.py --cells 400000 1000000 2000000 --out benchmarks/loader
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path


HERE = Path(__file__).parent


def convert(path: Path, out: Path, codec: str) -> dict:
    """Convert one file in this process, and say what it took; imports are not counted."""
    from bionemo.scale.data.prepare.preprocess import prepare
    from bionemo.scale.data.prepare.settings import PrepareSettings

    before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    summary = prepare(PrepareSettings(inputs=(path,), out=out, num_hvg=0, codec=codec))
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "cells": summary.num_cells,
        "codec": codec,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "peak_mb": after.ru_maxrss / 1024,
        "store_mb": summary.num_bytes / 2**20,
        "h5ad_mb": path.stat().st_size / 2**20,
    }


def report(rows: list[dict], command: str) -> str:
    """The page that is committed."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=HERE).stdout
    names = ("numpy", "scipy", "lmdb", "h5py", "pyarrow", "anndata")
    lines = [
        "# Conversion",
        "",
        f"`{command}`, commit {commit.strip()}, {date.today()}, one of two CPU cores shared with other work, Python "
        f"{platform.python_version()}, {', '.join(f'{name} {version(name)}' for name in names)}. One process, both "
        "passes and checksums; rates are per second of CPU time and per second of the clock.",
        "",
        "| cells | codec | cells/CPU s | cells/s | peak memory (MB) | store (MiB) | gzip h5ad (MiB) |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        lines.append(
            f"| {row['cells']:,} | {row['codec']} | {row['cells'] / row['cpu_seconds']:,.0f} | "
            f"{row['cells'] / row['seconds']:,.0f} | {row['peak_mb']:,.0f} | {row['store_mb']:,.0f} | "
            f"{row['h5ad_mb']:,.0f} |"
        )
    return "\n".join([*lines, ""])


def main() -> None:
    """Convert files of each size, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", default=[400_000, 1_000_000, 2_000_000])
    parser.add_argument("--codecs", nargs="+", default=["zstd", "none"])
    parser.add_argument("--out", type=Path, help="folder for conversion.json and conversion.md")
    parser.add_argument("--convert", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.convert:
        path, out, codec = options.convert
        print(json.dumps(convert(Path(path), Path(out), codec)))
        return
    rows = []
    with tempfile.TemporaryDirectory(prefix="conversion-") as name:
        for cells in options.cells:
            path = Path(name) / f"{cells}.h5ad"
            make = [sys.executable, HERE / "loader_screen.py", path, "--cells", str(cells)]
            subprocess.run(make, check=True)
            for codec in options.codecs:
                command = [sys.executable, __file__, "--convert", path, Path(name) / f"{cells}-{codec}", codec]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                rows.append(json.loads(done.stdout.strip().splitlines()[-1]))
                print(rows[-1], file=sys.stderr, flush=True)
            path.unlink()
    sizes, codecs = " ".join(map(str, options.cells)), " ".join(options.codecs)
    text = report(rows, f"python benchmarks/loader_conversion.py --cells {sizes} --codecs {codecs}")
    print(text)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "conversion.json").write_text(json.dumps(rows, indent=1) + "\n")
        (options.out / "conversion.md").write_text(text)


if __name__ == "__main__":
    main()
