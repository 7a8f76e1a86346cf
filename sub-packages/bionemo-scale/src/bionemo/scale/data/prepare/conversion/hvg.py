# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Highly variable genes from streamed moments, the choice scanpy's ``flavor="seurat"`` makes."""

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix


NUM_BINS = 20
"""Bins of mean expression within which dispersions are compared."""


class GeneMoments:
    """First and second moment of each gene, added up over pieces of a data set.

    Moments are those of normalised expression before the logarithm, as scanpy takes them.
    """

    def __init__(self, num_genes: int) -> None:
        self.num_cells = np.zeros(num_genes, dtype=np.int64)
        """Cells in which each gene was measured: files may lack genes."""
        self.total = np.zeros(num_genes)
        self.total_of_squares = np.zeros(num_genes)

    def add(self, matrix: csr_matrix, scale: np.ndarray) -> None:
        """Add cells.

        Args:
            matrix: [cells, genes] before scaling.
            scale: [cells], what a cell's values are multiplied with.
        """
        values = csr_matrix((matrix.data.astype(np.float64), matrix.indices, matrix.indptr), shape=matrix.shape)
        self.total += values.T @ scale
        np.square(values.data, out=values.data)
        self.total_of_squares += values.T @ np.square(scale)
        self.num_cells += matrix.shape[0]

    def add_moments(self, other: "GeneMoments", columns: np.ndarray) -> None:
        """Add another file's moments; ``columns`` [genes] says where our genes are in it, -1 for nowhere."""
        there = columns >= 0
        columns = columns[there]
        self.total[there] += other.total[columns]
        self.total_of_squares[there] += other.total_of_squares[columns]
        self.num_cells[there] += other.num_cells[columns]

    @property
    def mean(self) -> np.ndarray:
        """[genes] float64."""
        return self.total / np.maximum(1, self.num_cells)

    @property
    def variance(self) -> np.ndarray:
        """[genes] float64, with the n - 1 denominator."""
        spread = self.total_of_squares / np.maximum(1, self.num_cells) - np.square(self.mean)
        return spread * (self.num_cells / np.maximum(1, self.num_cells - 1))


def select_genes(moments: GeneMoments, num_genes: int) -> np.ndarray:
    """Choose the genes whose dispersion stands out among genes of similar mean.

    Dispersion is variance over mean; its logarithm is standardised within bins of the log1p mean (Satija et al.,
    Nat Biotechnol 33:495, 2015, as scanpy computes it).

    Args:
        moments: Moments over training cells.
        num_genes: How many to keep. Genes tied at the threshold are all kept and genes without expression never are,
            so that the answer may have a few more or fewer.

    Returns:
        Columns of the kept genes, ascending.
    """
    mean, variance = moments.mean, moments.variance
    with np.errstate(divide="ignore", invalid="ignore"):
        dispersion = variance / np.where(mean == 0, 1e-12, mean)
        dispersion = np.log(np.where(dispersion == 0, np.nan, dispersion))
    score = _standardise(dispersion, np.log1p(mean))
    known = np.sort(score[~np.isnan(score)])[::-1]
    if not len(known):
        return np.arange(0)
    threshold = known[min(num_genes, len(known)) - 1]
    return np.flatnonzero(np.nan_to_num(score, nan=-np.inf) >= threshold)


def _standardise(dispersion: np.ndarray, log_mean: np.ndarray) -> np.ndarray:
    """Subtract each bin's mean and divide by its standard deviation; the only gene of a bin scores 1."""
    bins = pd.cut(log_mean, bins=NUM_BINS)
    grouped = pd.Series(dispersion).groupby(bins, observed=False)
    center, width = grouped.mean(), grouped.std()
    alone = width.isna()
    width[alone], center[alone] = center[alone], 0.0
    codes = bins.codes
    with np.errstate(divide="ignore", invalid="ignore"):
        return (dispersion - center.to_numpy()[codes]) / width.to_numpy()[codes]
