# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Compare control cells that are drawn again with measured ones: means, variances, zeros, and covariances of genes.

    python benchmarks/inference/drawn_again.py

Prints, for each of the two bundled screens and three seeds, all controls drawn again against the measured ones, and
one half of the controls, measured or drawn again, against the other half.
"""

from pathlib import Path

import anndata
import numpy as np

from bionemo.scale.counts.counted import Counted
from bionemo.scale.counts.draw import draw_again


DATA = Path(__file__).parents[2] / "examples" / "data"
SCREENS = {
    "kang2018_pbmc_ifnb.h5ad": ("CD4 T", "n_counts_full"),
    "papalexi2021_thp1_eccite.h5ad": (None, None),
}
GENES, LARGEST, TARGET_SUM, SEEDS = 1000, 10, 1e4, 3


def read_controls(name: str) -> Counted:
    """Return the controls of a screen, or of one cell type of it, and the genes with most counts."""
    cell_type, key = SCREENS[name]
    adata = anndata.read_h5ad(DATA / name)
    adata = adata[(adata.obs["perturbation"] == "control").to_numpy()]
    if cell_type is not None:
        adata = adata[(adata.obs["cell_type"] == cell_type).to_numpy()]
    counts = adata.X.toarray().astype(np.float32)
    sizes = counts.sum(axis=1, dtype=np.float64) if key is None else adata.obs[key].to_numpy(np.float64)
    return Counted(counts=counts[:, np.argsort(-counts.mean(axis=0), kind="stable")[:GENES]], library_size=sizes)


def compare(found: Counted, expected: Counted) -> str:
    """Return what two sets of cells have in common."""
    mean, variance = (of(found.counts, axis=0) / of(expected.counts, axis=0) for of in (np.mean, np.var))
    zeros = np.abs((found.counts == 0).mean(axis=0) - (expected.counts == 0).mean(axis=0)).mean()
    one, other = (
        np.cov(np.log1p(cells.counts * (TARGET_SUM / cells.library_size)[:, None]).T) for cells in (found, expected)
    )
    off = ~np.eye(len(one), dtype=bool)
    largest = [np.linalg.eigvalsh(covariance)[-LARGEST:].sum() for covariance in (one, other)]
    return (
        f"mean {np.nanmedian(mean):.2f}  variance {np.nanmedian(variance):.2f}  zeros {zeros:.3f}  "
        f"covariances {np.corrcoef(one[off], other[off])[0, 1]:.2f}  largest {largest[0] / largest[1]:.2f}"
    )


def take(cells: Counted, rows: np.ndarray) -> Counted:
    """Return some cells."""
    return Counted(counts=cells.counts[rows], library_size=cells.library_size[rows])


def again(cells: Counted, seed: int) -> Counted:
    """Return every cell drawn again once."""
    rows = np.arange(len(cells.counts))
    counts = draw_again(cells, rows, rng=np.random.default_rng(seed)).astype(np.float32)
    return Counted(counts=counts, library_size=cells.library_size)


def main() -> None:
    """Print the comparison."""
    for name in SCREENS:
        cells = read_controls(name)
        print(f"{name}: {len(cells.counts)} controls")
        for seed in range(SEEDS):
            order = np.random.default_rng(seed).permutation(len(cells.counts))
            half, rest = take(cells, order[: len(order) // 2]), take(cells, order[len(order) // 2 :])
            print(f"  again, measured        {compare(again(cells, seed), cells)}")
            print(f"  half, other half       {compare(half, rest)}")
            print(f"  half again, other half {compare(again(half, seed), rest)}")


if __name__ == "__main__":
    main()
