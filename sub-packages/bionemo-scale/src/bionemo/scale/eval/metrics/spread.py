# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What pseudobulks cannot see: whether predicted cells vary as real ones do, and lie among them.

One perturbation of one context at a time, cells in log1p space. NaN where there is nothing to compare.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


MIN_DETECTION = 0.05
"""A gene counts as expressed when this share of the observed cells has it."""
MAX_CELLS = 256
"""Cells of a side that distances are taken between."""
MAX_GENES = 256
"""Genes, the most expressed ones, whose quantiles are compared."""
LEVELS = np.linspace(0.1, 0.9, 9)
"""Quantile levels of :func:`calibration_error`."""
_FEW_CELLS = 512
"""Most cells of both sides of which :func:`calibration_error` searches all genes at once."""
_FEW_PAIRS = 2048
"""Most pairs of a predicted and an observed cell that :func:`calibration_error` compares one by one."""
BANDWIDTHS = (0.5, 1.0, 2.0)
"""Kernel widths of the MMD, in median distances between observed cells."""


def sd_ratio(pred: Float[np.ndarray, "cells G"], real: Float[np.ndarray, "others G"]) -> float:
    """Return the median over expressed genes of predicted / observed standard deviation between cells.

    Args:
        pred: Predicted cells, log1p.
        real: Observed cells, log1p. At least :data:`MIN_DETECTION` of them have a gene that counts as expressed.

    Returns:
        1 for the spread of real cells, 0 if all predicted cells are the same. NaN without an expressed gene, or with
        fewer than 2 cells on a side.
    """
    if min(len(pred), len(real)) < 2:
        return float("nan")
    spread = real.std(axis=0, ddof=1, dtype=np.float64)
    expressed = ((real > 0).mean(axis=0) >= MIN_DETECTION) & (spread > 0)
    if not expressed.any():
        return float("nan")
    return float(np.median(pred[:, expressed].std(axis=0, ddof=1, dtype=np.float64) / spread[expressed]))


def calibration_error(pred: Float[np.ndarray, "cells G"], real: Float[np.ndarray, "others G"]) -> float:
    """Return how far the quantiles of predicted cells are from those of observed cells.

    If both had the same distribution, a share a of the observed cells would lie below the predicted a-quantile of a
    gene. The error is the absolute difference, averaged over levels a and the :data:`MAX_GENES` most expressed genes.
    Observed values that equal predicted ones (zeros) are spread evenly over the levels of these, so that a population
    compared with itself has no error.

    Args:
        pred: Predicted cells, log1p.
        real: Observed cells, log1p.

    Returns:
        0 (calibrated) to 0.5. NaN without an expressed gene, or with fewer than 2 cells on a side.
    """
    if min(len(pred), len(real)) < 2:
        return float("nan")
    expressed = np.flatnonzero((real > 0).mean(axis=0) >= MIN_DETECTION)
    if not expressed.size:
        return float("nan")
    genes = expressed[np.argsort(-real[:, expressed].mean(axis=0), kind="stable")[:MAX_GENES]]
    # One search for all genes spares calls, and sorts more: of many cells each gene is searched by itself.
    parts = [genes] if len(pred) + len(real) <= _FEW_CELLS else genes[:, None]
    return float(np.mean([_quantile_errors(pred[:, part], real[:, part]) for part in parts]))


def _quantile_errors(pred: Float[np.ndarray, "cells G"], real: Float[np.ndarray, "others G"]) -> np.ndarray:
    """Return [G] the mean error of the levels of each gene."""
    num = len(pred)
    count = _compare_all if num * len(real) <= _FEW_PAIRS else _search
    below, up_to = (counted.astype(np.float64) / num for counted in count(pred, real))
    width = np.maximum(up_to - below, 1 / num)
    shares = [np.clip((level - below) / width, 0, 1).mean(axis=0) for level in LEVELS]
    return np.abs(np.stack(shares) - LEVELS[:, None]).mean(axis=0)


def _compare_all(pred: np.ndarray, real: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return [others, G] how many predicted values are below an observed one, and how many are at most as large."""
    # Chosen columns lie apart in memory, which makes sums over rows slow.
    pairs = np.ascontiguousarray(pred)[:, None], np.ascontiguousarray(real)[None]
    below, up_to = (compared.view(np.uint8) for compared in (np.less(*pairs), np.less_equal(*pairs)))
    # Small whole numbers are summed several at a time.
    return below.sum(axis=0, dtype=np.uint16), up_to.sum(axis=0, dtype=np.uint16)


def _search(pred: np.ndarray, real: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Do the same by one search for all genes."""
    num, numbers = len(pred), np.arange(pred.shape[1])
    if numbers.size > 1:
        values, codes = np.unique(np.concatenate([pred, real]), return_inverse=True)
        # Values as whole numbers in their order, those of a gene above those of the gene before.
        codes = codes.reshape(-1, numbers.size) + values.size * numbers
        pred, real = codes[:num], codes[num:]
    ordered = np.sort(pred, axis=0).ravel(order="F")
    below, up_to = (np.searchsorted(ordered, real, side=side) - num * numbers for side in ("left", "right"))
    return below, up_to


@dataclass(frozen=True, kw_only=True)
class CellSample:
    """Some cells of a population, and how far they lie from one another."""

    cells: np.ndarray
    """[n, G] float64."""
    distances: np.ndarray
    """[n, n] float64, Euclidean over genes."""

    @property
    def within(self) -> float:
        """Mean distance between two different cells; NaN for one cell."""
        return _off_diagonal_mean(self.distances)


def draw_cells(
    cells: Float[np.ndarray, "cells G"], *, rng: Callable[[], np.random.Generator], max_cells: int = MAX_CELLS
) -> Float[np.ndarray, "n G"]:
    """Draw cells without replacement, as float64; all of them, in their order, where they are few.

    Args:
        cells: Of one population, log1p.
        rng: Makes the source of the draw.
        max_cells: Most cells that are drawn.
    """
    if len(cells) > max_cells:
        cells = cells[np.sort(rng().choice(len(cells), size=max_cells, replace=False))]
    return cells.astype(np.float64)


def sample_cells(
    cells: Float[np.ndarray, "cells G"], *, rng: Callable[[], np.random.Generator], max_cells: int = MAX_CELLS
) -> CellSample:
    """Draw cells as :func:`draw_cells` does, for :func:`compare`."""
    drawn = draw_cells(cells, rng=rng, max_cells=max_cells)
    return CellSample(cells=drawn, distances=_distances(drawn, drawn))


@dataclass(frozen=True, kw_only=True)
class PopulationDistance:
    """Two distances between populations of cells. Both are unbiased: near 0, or a little below, for the same cells."""

    edistance: float
    """Energy distance, ``2 E|x - y| - E|x - x'| - E|y - y'|``."""
    mmd: float
    """Squared maximum mean discrepancy, Gaussian kernels averaged over :data:`BANDWIDTHS`."""


def compare(pred: CellSample, real: CellSample) -> PopulationDistance:
    """Measure the distances between predicted and observed cells.

    Args:
        pred: Predicted cells.
        real: Observed cells of the same genes.
    """
    between = _distances(pred.cells, real.cells)
    energy = float(2 * between.mean() - pred.within - real.within)
    return PopulationDistance(edistance=energy, mmd=_mmd(pred.distances, real.distances, between))


def _mmd(pred: np.ndarray, real: np.ndarray, between: np.ndarray) -> float:
    if min(len(pred), len(real)) < 2:
        return float("nan")
    median = float(np.median(real[~np.eye(len(real), dtype=bool)]))
    if median == 0:
        return float("nan")
    scores = []
    for width in BANDWIDTHS:
        kernels = [np.exp(-((part / (width * median)) ** 2) / 2) for part in (pred, real, between)]
        scores.append(_off_diagonal_mean(kernels[0]) + _off_diagonal_mean(kernels[1]) - 2 * kernels[2].mean())
    return float(np.mean(scores))


def _off_diagonal_mean(square: np.ndarray) -> float:
    num = len(square)
    return float((square.sum() - np.trace(square)) / (num * (num - 1))) if num > 1 else float("nan")


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Euclidean distances by matrix product, [len(a), len(b)]; many genes make cdist ten times slower."""
    squared = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)[None] - 2 * (a @ b.T)
    distances = np.sqrt(np.maximum(squared, 0.0))
    if a is b:
        np.fill_diagonal(distances, 0.0)
    return distances
