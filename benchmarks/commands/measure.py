# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Processor time of whole commands, this tree beside another revision of it, in turns.

    python benchmarks/commands/measure.py --against REVISION --rounds 5 FOLDER

FOLDER is what `bash examples/kang.sh FOLDER` left. Each command of the demonstration but the training runs once in
each tree to warm caches, then in turns. Counted is user and system time of the command's processes, so that other
work on the machine matters little, and seconds of the clock until the first line is shown.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


sys.path.insert(0, str(Path(__file__).parents[1] / "step"))
from measure import ROOT, checked_out, entry_point, environment


DATA = ROOT / "examples" / "data" / "kang2018_pbmc_ifnb.h5ad"
SPLIT = ROOT / "examples" / "splits" / "kang.toml"


def commands(demo: Path, out: Path) -> dict[str, list[str]]:
    """Return the words of each command after its name."""
    store, run, predicted = demo / "store", demo / "run", demo / "predicted"
    cells = ["--pred", predicted / "adata_pred.h5ad", "--real", predicted / "adata_real.h5ad", "--store", store]
    kang = ["--dataset", "kang", "--split", SPLIT, "--library-size-key", "n_counts_full"]
    found = {
        "prepare": [DATA, "--out", out / "store", "--overwrite", *kang],
        "infer": [
            *("--checkpoint", run, "--store", store, "--split", "test"),
            *("--out", out / "predicted", "--with-controls", "--overwrite"),
        ],
        "evaluate": [*cells, "--name", "SCALE", "--out", out / "scores", "--plot"],
        "report": [demo / "scores", "--out", out / "report.html"],
    }
    return {name: [*map(str, words)] for name, words in found.items()}


def run_once(tree: Path, command: str, words: list[str]) -> dict[str, float]:
    """Run a command of a tree; return its seconds of the processor and those until its first line."""
    module, function = entry_point(tree, f"bionemo-scale-{command}").split(":")
    # argv[0] tells a command from a notebook.
    code = (
        f"import sys; sys.argv[0] = 'bionemo-scale-{command}'; from {module} import {function}; sys.exit({function}())"
    )
    begin, before = time.perf_counter(), os.times()
    with subprocess.Popen(
        [sys.executable, "-c", code, *words],
        env={**environment(tree), "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None, "it is a pipe"
        shown = process.stdout.readline()
        first = time.perf_counter() - begin
        shown += process.stdout.read()
    if process.returncode:
        sys.exit(f"{command} in {tree}: exit code {process.returncode}\n{shown[-2000:]}")
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return {"cpu": used, "first": first}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path, metavar="FOLDER")
    parser.add_argument("--against", required=True, help="git revision of the other side")
    parser.add_argument("--commands", nargs="+", default=["prepare", "infer", "evaluate", "report"])
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, checked_out(args.against) as old:
        words = commands(args.demo.resolve(), Path(folder))
        for name in args.commands:
            found: dict[str, list[dict[str, float]]] = {"old": [], "new": []}
            for turn in range(args.rounds + 1):
                for side, tree in (("old", old), ("new", ROOT)):
                    taken = run_once(tree, name, words[name])
                    if turn:
                        found[side].append(taken)
            print(json.dumps({"command": name, **summary(found), "python": platform.python_version()}), flush=True)


def summary(found: dict[str, list[dict[str, float]]]) -> dict[str, float]:
    """Return the median and the range of the ratio of each round, and the median of what was measured."""
    ratios = [old["cpu"] / new["cpu"] for old, new in zip(found["old"], found["new"], strict=True)]
    middle = {
        f"{side} {clock}": statistics.median(each[clock] for each in rounds)
        for side, rounds in found.items()
        for clock in ("cpu", "first")
    }
    values = {"ratio": statistics.median(ratios), "least": min(ratios), "most": max(ratios), **middle}
    return {name: round(value, 2) for name, value in values.items()}


if __name__ == "__main__":
    main()
