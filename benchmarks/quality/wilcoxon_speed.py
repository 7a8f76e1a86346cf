# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Differential expression of ours against that of cell-eval 0.6.6 (pdex 0.1.28), same cells, one process, in turns.

    python benchmarks/quality/wilcoxon_speed.py [--cells 24000 --genes 2000 --perturbations 50 --rounds 1]

Prints seconds of each turn, the ratio, and how far p-values and scores of both lie apart. Ours runs on one thread;
cell-eval is given --workers processes.
"""

import argparse
import time

import numpy as np
import polars as pl

from bionemo.scale.eval.cell_eval.quiet import quiet
from bionemo.scale.eval.cells.populations import to_anndata
from bionemo.scale.eval.metrics.differential import differential_expression


def make_cells(num_cells: int, num_genes: int, num_perturbations: int):
    """Draw counts with the zeros, depth and few responding genes of a screen; one sixth of the cells are controls."""
    rng = np.random.default_rng(0)
    labels = np.array(["control"] + [f"P{index:03d}" for index in range(num_perturbations)], dtype=object)
    share = np.array([1 / 6, *np.full(num_perturbations, 5 / 6 / num_perturbations)])
    rows = rng.choice(len(labels), size=num_cells, p=share)
    base = rng.lognormal(-1.5, 1.5, num_genes)
    effect = np.ones((len(labels), num_genes))
    for row in range(1, len(labels)):
        effect[row, rng.choice(num_genes, 40, replace=False)] = rng.lognormal(0, 0.8, 40)
    counts = rng.poisson(base * effect[rows] * rng.lognormal(0, 0.4, num_cells)[:, None])
    values = np.log1p(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1) * 1e4).astype(np.float32)
    return to_anndata(expression=values, perturbation=labels[rows], genes=tuple(f"G{g}" for g in range(num_genes)))


def with_cell_eval(adata, workers: int) -> pl.DataFrame:
    """Call pdex as cell-eval 0.6.6 does."""
    with quiet():
        from pdex import parallel_differential_expression

        return parallel_differential_expression(
            adata=adata,
            reference="control",
            groupby_key="perturbation",
            num_workers=workers,
            batch_size=100,
            metric="wilcoxon",
            is_log1p=True,
            as_polars=True,
        )


def main() -> None:
    """Run the turns and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("cells", 24000), ("genes", 2000), ("perturbations", 50), ("rounds", 1), ("workers", 2)):
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    adata = make_cells(args.cells, args.genes, args.perturbations)
    print(f"{adata.n_obs} cells x {adata.n_vars} genes, {(adata.X > 0).mean():.0%} nonzero")
    seconds: dict[str, list[float]] = {"ours": [], "cell-eval": []}
    frames = {}
    for _ in range(args.rounds):
        for name in ("ours", "cell-eval", "ours"):
            begin = time.perf_counter()
            if name == "ours":
                frames[name] = differential_expression(adata, control="control")
            else:
                frames[name] = with_cell_eval(adata, args.workers)
            seconds[name].append(time.perf_counter() - begin)
            print(f"{name}: {seconds[name][-1]:.1f} s", flush=True)
    both = frames["ours"].join(frames["cell-eval"], on=["target", "feature"], suffix="_theirs")
    assert both.height == frames["ours"].height
    apart = {name: (both[name] - both[f"{name}_theirs"]).abs().max() for name in ("p_value", "fdr", "fold_change")}
    print("largest difference: " + ", ".join(f"{name} {value:.2g}" for name, value in apart.items()))
    significant = [(both[name] < 0.05).sum() for name in ("fdr", "fdr_theirs")]
    print(f"significant: {significant[0]} ours, {significant[1]} cell-eval, of {both.height}")
    print(f"ratio of medians: {np.median(seconds['cell-eval']) / np.median(seconds['ours']):.1f}")


if __name__ == "__main__":
    main()
