# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Writes a synthetic screen of any size as h5ad, a piece at a time: the input of the loader's benchmarks.

Counts are Poisson with gamma rates a gene and log-normal library sizes; about an eighth of them is not zero, as in
2,000 variable genes of a droplet screen. Cells are in random order, as they come from a sequencer.
"""

import argparse
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd


CELL_TYPES = 4
BATCHES = 4
CONTROL_SHARE = 0.1
_PIECE = 1 << 14
_POOL = 1 << 14


def write_screen(path: Path, *, num_cells: int, num_genes: int = 2000, num_perturbations: int = 100, seed: int = 0):
    """Write the file.

    Args:
        path: What to write; CSR counts, gzip as anndata's own compression.
        num_cells: Cells.
        num_genes: Genes.
        num_perturbations: Besides the control; a few cells in ten thousand short of equally frequent.
        seed: Of everything random.
    """
    rng = np.random.default_rng(seed)
    perturbations = ["control", *(f"p{number:04d}" for number in range(num_perturbations))]
    code = np.where(
        rng.random(num_cells) < CONTROL_SHARE, 0, rng.integers(1, num_perturbations + 1, num_cells, dtype=np.int64)
    )
    obs = pd.DataFrame(
        {
            "perturbation": pd.Categorical.from_codes(code, perturbations),
            "cell_type": pd.Categorical.from_codes(
                rng.integers(CELL_TYPES, size=num_cells), [f"line{number}" for number in range(CELL_TYPES)]
            ),
            "batch": pd.Categorical.from_codes(
                rng.integers(BATCHES, size=num_cells), [f"plate{number}" for number in range(BATCHES)]
            ),
        },
        index=[f"cell{number:09d}" for number in range(num_cells)],
    )
    var = pd.DataFrame(index=[f"gene{number:05d}" for number in range(num_genes)])
    ad.AnnData(obs=obs, var=var).write_h5ad(path)
    with h5py.File(path, "a") as file:
        _write_counts(file, num_cells, num_genes, rng)


def _write_counts(file: h5py.File, num_cells: int, num_genes: int, rng: np.random.Generator) -> None:
    """Rows come from a pool of drawn cells, so that a file of millions takes minutes."""
    rates = rng.gamma(0.25, 0.6, size=num_genes)
    sizes = rng.lognormal(0.0, 0.4, size=_POOL)
    pool = rng.poisson(sizes[:, None] * rates[None, :]).astype(np.uint16)
    lengths = (pool > 0).sum(axis=1)
    starts = np.cumsum(lengths) - lengths
    flat_indices = np.nonzero(pool)[1].astype(np.int32)
    flat_values = pool[pool > 0].astype(np.float32)
    chosen = rng.integers(_POOL, size=num_cells)
    indptr = np.concatenate([[0], np.cumsum(lengths[chosen])])
    file.pop("X", None)
    matrix = file.create_group("X")
    matrix.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": (num_cells, num_genes)})
    options = dict(compression="gzip", chunks=(1 << 17,))
    matrix.create_dataset("indptr", data=indptr.astype(np.int64), compression="gzip")
    data = matrix.create_dataset("data", shape=(int(indptr[-1]),), dtype=np.float32, **options)
    indices = matrix.create_dataset("indices", shape=(int(indptr[-1]),), dtype=np.int32, **options)
    for first in range(0, num_cells, _PIECE):
        rows = chosen[first : first + _PIECE]
        ends = np.cumsum(lengths[rows])
        entries = np.repeat(starts[rows] - (ends - lengths[rows]), lengths[rows]) + np.arange(ends[-1])
        where = slice(int(indptr[first]), int(indptr[first]) + len(entries))
        data[where], indices[where] = flat_values[entries], flat_indices[entries]


def main() -> None:
    """Write one file from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--cells", type=int, default=200_000)
    parser.add_argument("--genes", type=int, default=2000)
    options = parser.parse_args()
    write_screen(options.path, num_cells=options.cells, num_genes=options.genes)


if __name__ == "__main__":
    main()
