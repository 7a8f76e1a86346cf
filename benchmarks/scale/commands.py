# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Processor time and peak memory of each command against cells, perturbations and genes of a made-up screen.

    python benchmarks/scale/commands.py --perturbations 100 1000 --cells 20 --genes 2000 --held-out 0.9 --steps 1

Two cell types in two batches with controls. A share of the perturbations is held out in the second cell type, and
those are predicted and scored. Training has few steps, so that what is left is the start, the classical estimate and
the checkpoint. Every command is a process of its own with one thread; each size is one line of JSON. ``--keep
FOLDER`` leaves the files of the last size there, to measure one command again.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix, vstack


COMMANDS = ("prepare", "train", "infer", "evaluate", "report")
CONTROLS = 500
"""Control cells of a cell type and batch."""
CHANGED = 0.05
"""Share of the genes that a perturbation changes."""


def write_screen(path: Path, *, perturbations: int, cells: int, genes: int) -> None:
    """Write counts of every perturbation in two cell types, ``cells`` of each in all, with controls in two batches."""
    rng = np.random.default_rng(0)
    places = list(itertools.product(("A", "B"), ("b0", "b1")))
    labels = [(*place, "control") for place in places for _ in range(CONTROLS)]
    labels += [(*places[cell % 4], f"p{number}") for number in range(perturbations) for cell in range(cells)]
    rates = rng.gamma(0.25, 1.0, size=genes)
    number = np.array([-1 if label == "control" else int(label[1:]) for _, _, label in labels])
    fold = np.where(rng.random((perturbations, genes)) < CHANGED, rng.lognormal(size=(perturbations, genes)), 1)
    fold = np.concatenate([fold, np.ones((1, genes))]).astype(np.float32)
    blocks = []
    for first in range(0, len(labels), 1 << 14):
        chosen = number[first : first + (1 << 14)]
        depth = rng.gamma(4.0, 0.25, size=(len(chosen), 1))
        counts = rng.poisson(rates * fold[chosen] * depth).astype(np.float32)
        counts[:, 0] += 1
        blocks.append(csr_matrix(counts))
    obs = pd.DataFrame(labels, columns=["cell_type", "batch", "perturbation"]).astype("category")
    obs.index = [f"cell{row}" for row in range(len(obs))]
    var = pd.DataFrame(index=[f"gene{n}" for n in range(genes)])
    ad.AnnData(vstack(blocks).tocsr(), obs=obs, var=var).write_h5ad(path)


def write_split(path: Path, perturbations: int, share: float) -> None:
    """Hold a share of the perturbations out in cell type B, evenly chosen and at least one."""
    chosen = np.linspace(0, perturbations, max(1, round(share * perturbations)), endpoint=False).astype(int)
    held_out = ", ".join(f'"p{number}"' for number in chosen)
    path.write_text(f'[training]\nmade = "train"\n\n[fewshot."made.B"]\ntest = [{held_out}]\n')


def words_of(folder: Path, steps: int) -> dict[str, list[str]]:
    """Return the words of each command.

    Args:
        folder: Of all files.
        steps: Of training.
    """
    store, run, predicted = folder / "store", folder / "run", folder / "predicted"
    found = {
        "prepare": [
            *(folder / "cells.h5ad", "--out", store, "--dataset", "made", "--hvg", "0"),
            *("--split", folder / "split.toml"),
        ],
        "train": ["--store", store, "--out", run, "--size", "tiny", "--max-steps", steps, "--blind-share", "0"],
        "infer": [
            *("--checkpoint", run, "--store", store, "--split", "test", "--out", predicted, "--with-controls"),
            *("--network-weight", "0.3"),
        ],
        "evaluate": [
            *("--pred", predicted / "adata_pred.h5ad", "--real", predicted / "adata_real.h5ad", "--store", store),
            *("--out", run / "scores"),
        ],
        "report": [run],
    }
    return {name: [*map(str, words)] for name, words in found.items()}


LAUNCHER = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=sys.stderr).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, used.ru_maxrss)
sys.exit(code)
"""
"""Runs a command. A process counts the memory of the one that started it as its own, so that has to be small."""


def measured(command: str, words: list[str]) -> dict[str, float]:
    """Run a command; return its seconds of the processor and its largest memory in MB."""
    program = Path(sys.executable).with_name(f"bionemo-scale-{command}")
    done = subprocess.run(
        [sys.executable, "-S", "-c", LAUNCHER, program, *words],
        env={**os.environ, "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f"bionemo-scale-{command} {' '.join(words)}\n{done.stderr[-2000:]}")
    seconds, kilobytes = map(float, done.stdout.split())
    return {"seconds": round(seconds, 1), "MB": round(kilobytes / 1e3)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--perturbations", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--cells", type=int, nargs="+", default=[4], help="of each perturbation")
    parser.add_argument("--genes", type=int, nargs="+", default=[500])
    parser.add_argument(
        "--held-out", type=float, default=0.9, help="share of the perturbations, in the second cell type"
    )
    parser.add_argument("--steps", type=int, default=1, help="of training")
    parser.add_argument("--keep", type=Path, help="new folder for the files; by default they are deleted")
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=COMMANDS)
    args = parser.parse_args()
    for perturbations, cells, genes in itertools.product(args.perturbations, args.cells, args.genes):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) if args.keep is None else args.keep
            folder.mkdir(exist_ok=True)
            write_screen(folder / "cells.h5ad", perturbations=perturbations, cells=cells, genes=genes)
            write_split(folder / "split.toml", perturbations, args.held_out)
            words = words_of(folder, args.steps)
            row = {command: measured(command, words[command]) for command in args.commands}
            page = folder / "run" / "report.html"
            if page.exists():
                row["report"]["page_MB"] = round(page.stat().st_size / 1e6, 1)
        print(json.dumps({"perturbations": perturbations, "cells": cells, "genes": genes, **row}), flush=True)


if __name__ == "__main__":
    main()
