# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Population metrics of appendix A, vectorised over perturbations, and two of the spread of cells.

P perturbations of one context, G genes, pseudobulks in log1p space (eq. 39-42). Everything is float64; where a
metric has no value (a correlation with a constant, a rank among one) it is NaN, never 0 or 1.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.spatial import distance


DiscriminationMetric = Literal["l1", "l2", "cosine"]

MIN_EFFECT = 1e-6
"""A predicted change below this in every gene is float32 rounding of "no change": it has no direction."""
MIN_DETECTION = 0.05
"""A gene counts as expressed when this share of the observed cells has it."""


def pearson_delta(pred: Float[np.ndarray, "P G"], real: Float[np.ndarray, "P G"]) -> Float[np.ndarray, " P"]:
    """Correlate predicted and real change over genes (PDCorr).

    Args:
        pred: Predicted mean minus control mean.
        real: Real mean minus control mean.
    """
    pred_centred = pred - pred.mean(axis=1, keepdims=True)
    real_centred = real - real.mean(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        norms = np.linalg.norm(pred_centred, axis=1) * np.linalg.norm(real_centred, axis=1)
        return (pred_centred * real_centred).sum(axis=1) / norms


def r2(pred: Float[np.ndarray, "P G"], real: Float[np.ndarray, "P G"]) -> Float[np.ndarray, " P"]:
    """Return the share of the variance of real mean expression over genes that the predicted means explain."""
    residual = ((real - pred) ** 2).sum(axis=1)
    total = ((real - real.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(total > 0, 1 - residual / total, np.nan)


def mse(pred: Float[np.ndarray, "P G"], real: Float[np.ndarray, "P G"]) -> Float[np.ndarray, " P"]:
    """Return the squared error averaged over genes."""
    return ((pred - real) ** 2).mean(axis=1)


def mae(pred: Float[np.ndarray, "P G"], real: Float[np.ndarray, "P G"]) -> Float[np.ndarray, " P"]:
    """Return the absolute error averaged over genes."""
    return np.abs(pred - real).mean(axis=1)


def discrimination_score(
    pred: Float[np.ndarray, "P G"],
    real: Float[np.ndarray, "P G"],
    *,
    metric: DiscriminationMetric = "l1",
    own_gene: np.ndarray | None = None,
) -> Float[np.ndarray, " P"]:
    """Return ``1 - r / P``, r real changes being closer to a predicted change than its own real change (PDS).

    Args:
        pred: Predicted changes.
        real: Real changes.
        metric: Distance between changes.
        own_gene: [P] column of the gene that a perturbation targets, -1 for none; cell-eval leaves that gene out.

    Returns:
        NaN for P = 1: among one, the rank says nothing.
    """
    num = len(pred)
    if num == 1:
        return np.full(1, np.nan)
    targets = np.full(num, -1) if own_gene is None else own_gene
    scores = np.empty(num)
    for index in range(num):
        keep = slice(None) if targets[index] < 0 else np.arange(pred.shape[1]) != targets[index]
        name = {"l1": "cityblock", "l2": "euclidean", "cosine": "cosine"}[metric]
        distances = distance.cdist(pred[index : index + 1, keep], real[:, keep], metric=name)[0]
        own = distances[index]
        scores[index] = 1 - (distances < own).sum() / num if np.isfinite(own) else np.nan
    return scores


def sd_ratio(pred: Float[np.ndarray, "cells G"], real: Float[np.ndarray, "others G"]) -> float:
    """Return the median over expressed genes of predicted by observed standard deviation between cells.

    1 is the spread of real cells, 0 is one and the same cell everywhere. Expressed genes are those that at least
    :data:`MIN_DETECTION` of the observed cells have; NaN with none of them or with fewer than 2 cells on a side.
    """
    if min(len(pred), len(real)) < 2:
        return float("nan")
    spread = real.std(axis=0, ddof=1, dtype=np.float64)
    expressed = ((real > 0).mean(axis=0) >= MIN_DETECTION) & (spread > 0)
    if not expressed.any():
        return float("nan")
    return float(np.median(pred[:, expressed].std(axis=0, ddof=1, dtype=np.float64) / spread[expressed]))


@dataclass(frozen=True, kw_only=True)
class CellSample:
    """Some cells of a population, and how far they lie from one another."""

    cells: np.ndarray
    """[sampled cells, G] float64."""
    within: float
    """Mean Euclidean distance between two different cells; NaN for one cell."""


def sample_cells(cells: Float[np.ndarray, "cells G"], *, rng: np.random.Generator, max_cells: int = 256) -> CellSample:
    """Take at most ``max_cells`` cells without replacement, for :func:`energy_distance`."""
    if len(cells) > max_cells:
        cells = cells[np.sort(rng.choice(len(cells), size=max_cells, replace=False))]
    cells = cells.astype(np.float64)
    num = len(cells)
    within = _distances(cells, cells).sum() / (num * (num - 1)) if num > 1 else float("nan")
    return CellSample(cells=cells, within=float(within))


def energy_distance(pred: CellSample, real: CellSample) -> float:
    """Return ``2 E|x - y| - E|x - x'| - E|y - y'|`` between predicted and observed cells, Euclidean over genes.

    Unbiased (pairs of a cell with itself are left out), hence 0 on average, and sometimes a little below, for two
    samples of one population.
    """
    return float(2 * _distances(pred.cells, real.cells).mean() - pred.within - real.within)


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Euclidean distances by matrix product, [len(a), len(b)]; many genes make cdist ten times slower."""
    squared = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)[None] - 2 * (a @ b.T)
    distances = np.sqrt(np.maximum(squared, 0.0))
    if a is b:
        np.fill_diagonal(distances, 0.0)
    return distances
