# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Processor time of a training step, this tree beside another revision of it, in turns.

    python benchmarks/step/measure.py --against d1c9d00 --genes 2000 --rounds 7

Both sides run `bionemo-scale-train` on one store of made-up counts, which the older side prepares. Each stops after
some steps, waits until the other has done as many, and goes on. Counted is processor time of the process, so that
other work on the machine matters little; a step is everything from reading cells to the running average, logging
included. ``--options`` and ``--against-options`` are added to the command of this tree and of the other.
"""

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np


ROOT = Path(__file__).parents[2]
PACKAGE = Path("sub-packages/bionemo-scale")
NO_LIMIT = 1_000_000
"""Steps of a run that is ended from outside."""


class Side:
    """A training command that does some steps when it is told to."""

    def __init__(self, tree: Path, arguments: list[str], log: Path):
        to_worker, self._order = os.pipe()
        self._answer, from_worker = os.pipe()
        command = [
            sys.executable,
            str(Path(__file__).with_name("paced_training.py")),
            str(to_worker),
            str(from_worker),
        ]
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                [*command, entry_point(tree, "bionemo-scale-train"), *arguments],
                env=environment(tree),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                pass_fds=(to_worker, from_worker),
            )
        os.close(to_worker)
        os.close(from_worker)
        self._lines = os.fdopen(self._answer)
        self._log = log

    def steps(self, count: int) -> dict[str, float]:
        """Do some steps; return seconds of the processor and of the clock for each."""
        os.write(self._order, f"{count}\n".encode())
        line = self._lines.readline()
        if not line:
            sys.exit(f"training ended, see {self._log}:\n{self._log.read_text()[-2000:]}")
        answer: dict[str, float] = json.loads(line)
        return answer

    def end(self) -> None:
        """End the process that this side started."""
        self._process.kill()
        self._process.wait()


def entry_point(tree: Path, command: str) -> str:
    """Return module:function of a command in a tree."""
    project = tomllib.loads((tree / PACKAGE / "pyproject.toml").read_text())
    found: str = project["project"]["scripts"][command]
    return found


def environment(tree: Path) -> dict[str, str]:
    """Return variables under which a tree's own package is imported, and one thread computes."""
    return {**os.environ, "PYTHONPATH": str(tree / PACKAGE / "src"), "OMP_NUM_THREADS": "1"}


@contextmanager
def checked_out(revision: str) -> Iterator[Path]:
    """Lay a revision out beside this tree, for a while."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        subprocess.run(["git", "-C", str(ROOT), "worktree", "add", "-q", "--detach", tree, revision], check=True)
        try:
            yield tree
        finally:
            subprocess.run(["git", "-C", str(ROOT), "worktree", "remove", "--force", tree], check=True)


def make_store(folder: Path, tree: Path, *, genes: int) -> Path:
    """Prepare counts of two cell types, two batches, a control and eleven perturbations; about 1 in 6 is not zero."""
    import anndata as ad
    import pandas as pd
    from scipy.sparse import csr_matrix

    rng = np.random.default_rng(0)
    labels = [
        (cell_type, batch, f"p{number}" if number else "control")
        for cell_type in "AB"
        for batch in ("b0", "b1")
        for number in range(12)
        for _ in range(320 if number == 0 else 96)
    ]
    rates = rng.gamma(0.25, 1.0, size=genes)
    counts = rng.poisson(rates * rng.gamma(4.0, 0.25, size=(len(labels), 1))).astype(np.float32)
    counts[:, 0] += 1
    obs = pd.DataFrame(labels, columns=["cell_type", "batch", "perturbation"]).astype("category")
    obs.index = [f"cell{row}" for row in range(len(obs))]
    var = pd.DataFrame(index=[f"gene{column}" for column in range(genes)])
    ad.AnnData(csr_matrix(counts), obs=obs, var=var).write_h5ad(folder / "cells.h5ad")
    module, function = entry_point(tree, "bionemo-scale-prepare").split(":")
    code = f"import sys; from {module} import {function}; sys.exit({function}())"
    command = [sys.executable, "-c", code, folder / "cells.h5ad", "--out", folder / "store", "--hvg", "0"]
    subprocess.run(command, env=environment(tree), check=True, stdout=subprocess.DEVNULL)
    return folder / "store"


def measure(args: argparse.Namespace, *, old: Path, folder: Path) -> dict[str, list[dict[str, float]]]:
    """Return the measurements of both sides, a round each."""
    store = args.store or make_store(folder, old, genes=args.genes)
    common = [
        "--store",
        str(store),
        "--size",
        args.size,
        "--max-steps",
        str(NO_LIMIT),
        "--val-interval",
        str(NO_LIMIT),
    ]
    trees = {"old": (old, args.against_options), "new": (ROOT, args.options)}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in trees}
    with ExitStack() as stack:
        sides = {}
        for name, (tree, options) in trees.items():
            arguments = [*common, "--out", str(folder / name), *shlex.split(options)]
            sides[name] = Side(tree, arguments, folder / f"{name}.log")
            stack.callback(sides[name].end)
        for side in sides.values():
            side.steps(args.warmup)
        for _ in range(args.rounds):
            for name, side in sides.items():
                found[name].append(side.steps(args.steps))
    return found


def summary(found: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Return medians over the rounds, and of the ratio of each round its median and range."""
    ratios = [old["cpu"] / new["cpu"] for old, new in zip(found["old"], found["new"], strict=True)]
    milliseconds = {
        side: {clock: round(1e3 * statistics.median(each[clock] for each in rounds), 1) for clock in ("cpu", "clock")}
        for side, rounds in found.items()
    }
    limits = {"ratio": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}
    return {"milliseconds": milliseconds, **{name: round(value, 2) for name, value in limits.items()}}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", default="d1c9d00", help="git revision of the other side")
    parser.add_argument("--genes", type=int, default=2000)
    parser.add_argument("--size", default="small")
    parser.add_argument("--store", type=Path, help="a store of your own, which both sides can read")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=20, help="in a round")
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--options", default="", help="more options of bionemo-scale-train in this tree")
    parser.add_argument("--against-options", default="", help="and in the other")
    parser.add_argument("--out", type=Path, help="JSON file, a line is added")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, checked_out(args.against) as old:
        found = measure(args, old=old, folder=Path(folder))
    commit = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True)
    row = {
        **{name: getattr(args, name) for name in ("against", "genes", "size", "options", "against_options")},
        **summary(found),
        "commit": commit.stdout.strip(),
        "python": platform.python_version(),
    }
    print(json.dumps(row))
    if args.out is not None:
        with args.out.open("a") as file:
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
