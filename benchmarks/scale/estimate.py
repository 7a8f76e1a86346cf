# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Processor time of the classical estimate for each predicted perturbation of a large screen.

    OMP_NUM_THREADS=1 python benchmarks/scale/estimate.py --perturbations 4750 --genes 500 --targets 12

A made-up screen of two cell types in two batches; a tenth of the perturbations is missing in one cell type and
predicted there. Run it on two commits to compare them: it prints the error of the means, and ``--means FILE.npy``
writes them.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from bionemo.scale.estimate.mixed_model import Conditional, fit
from bionemo.scale.types import Group, GroupMeans


CELL_SD = 0.5


def make_screen(num_perturbations: int, num_genes: int) -> tuple[GroupMeans, dict[str, np.ndarray]]:
    """Return pseudobulks of 4 cells (controls: 200), and the true means of what is missing, by perturbation."""
    rng = np.random.default_rng(0)
    base = rng.gamma(1, 1, num_genes)
    types = {name: base + rng.normal(0, 0.3, num_genes) for name in "AB"}
    batches = {name: rng.normal(0, 0.05, num_genes) for name in "xy"}
    effects = {
        f"p{number}": rng.normal(0, 0.2, num_genes) * (rng.random(num_genes) < 0.2)
        for number in range(num_perturbations)
    }
    missing = list(effects)[::10]
    groups, means, counts = [], [], []
    for cell_type, expression in types.items():
        for batch, shift in batches.items():
            for name, effect in {"control": 0.0, **effects}.items():
                if cell_type == "B" and name in missing:
                    continue
                cells = 200 if name == "control" else 4
                groups.append(Group("d", cell_type, name, batch))
                counts.append(cells)
                means.append(expression + shift + effect + rng.normal(0, CELL_SD, num_genes) / np.sqrt(cells))
    observed = GroupMeans(
        groups=tuple(groups),
        means=np.array(means),
        counts=np.array(counts, dtype=np.float64),
        cell_sd=np.full(num_genes, CELL_SD),
    )
    truth = {name: types["B"] + (batches["x"] + batches["y"]) / 2 + effects[name] for name in missing}
    return observed, truth


def main() -> None:
    """Print seconds of a processor for each perturbation, and the mean squared error."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--perturbations", type=int, default=4750)
    options.add_argument("--genes", type=int, default=500)
    options.add_argument("--targets", type=int, default=12)
    options.add_argument("--means", type=Path, help="file for the predicted means")
    asked = options.parse_args()
    observed, truth = make_screen(asked.perturbations, asked.genes)
    model = fit(observed, control="control")
    assert model is not None
    names = list(truth)[: asked.targets]
    averages = [{Group("d", "B", name, batch): 1.0 for batch in "xy"} for name in names]
    conditional = Conditional(model)
    start = time.process_time()
    found = conditional.predict_averages(averages)
    seconds = (time.process_time() - start) / len(names)
    if asked.means is not None:
        np.save(asked.means, found.mean)
    error = ((found.mean - np.array([truth[name] for name in names])) ** 2).mean()
    print(f"{len(observed.groups)} groups, {asked.genes} genes: {seconds:.3f} s a perturbation, error {error:.9f}")


if __name__ == "__main__":
    main()
