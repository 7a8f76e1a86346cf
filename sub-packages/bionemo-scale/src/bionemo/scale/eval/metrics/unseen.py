# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Metrics that tell a prediction of one perturbation from a prediction of "some perturbation".

Most of a change from control is shared by all perturbations of a context. Here means are compared with those of other
perturbations instead: from their shared centroid (Systema, Nature Biotechnology 2025), with weights of the genes that
set a perturbation apart (arXiv 2506.22641), or in rank. P perturbations, G genes; NaN where there is no value.
"""

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import distance

from bionemo.scale.eval.metrics.formulas import MIN_EFFECT, pearson_delta, row_parts
from bionemo.scale.eval.metrics.residuals import MIN_PERTURBATIONS


def centroid_delta(pred: Float[np.ndarray, "P G"], real: Float[np.ndarray, "P G"]) -> Float[np.ndarray, " P"]:
    """Correlate predicted and real means after removing one centroid, the mean of the real means of all perturbations.

    Args:
        pred: Predicted means.
        real: Real means.

    Returns:
        NaN with fewer than three perturbations, or where a prediction is the centroid.
    """
    if len(real) < MIN_PERTURBATIONS:
        return np.full(len(real), np.nan)
    centroid = real.mean(axis=0)
    moved = np.abs(pred - centroid).max(axis=1) >= MIN_EFFECT
    return np.where(moved, pearson_delta(pred - centroid, real - centroid), np.nan)


def centroid_accuracy(pred: Float[np.ndarray, "P G"], real: Float[np.ndarray, "P G"]) -> Float[np.ndarray, " P"]:
    """Return the share of other perturbations whose real mean is farther from a prediction than its own real mean.

    Args:
        pred: Predicted means, log1p.
        real: Real means, log1p.

    Returns:
        0 to 1 for each perturbation, by Euclidean distance. Equal distances count one half. NaN for P = 1.
    """
    return _share_farther(distance.cdist(pred, real))


def panel_discrimination(
    pred: Float[np.ndarray, "P G"], real: Float[np.ndarray, "P G"], targets: Bool[np.ndarray, " G"]
) -> Float[np.ndarray, " P"]:
    """Return ``1 - r / (P - 1)``, where r is the mid-rank of the own real change by L1 distance without target genes.

    A knock-down lowers its own target gene. A model could be told which gene is which and rank well by that alone, so
    no gene that any perturbation targets is compared.

    Args:
        pred: Predicted minus control means, log1p.
        real: Real minus control means, log1p.
        targets: Whether any perturbation of the evaluation targets a gene.

    Returns:
        0 to 1 for each perturbation; NaN for P = 1, or where every gene is a target.
    """
    kept = ~targets
    if not kept.any():
        return np.full(len(pred), np.nan)
    return _share_farther(distance.cdist(pred[:, kept], real[:, kept], metric="cityblock"))


def _share_farther(distances: Float[np.ndarray, "P P"]) -> Float[np.ndarray, " P"]:
    num, own = len(distances), np.diagonal(distances)[:, None]
    if num < 2:
        return np.full(num, np.nan)
    nearer = (distances < own).sum(axis=1) + ((distances == own).sum(axis=1) - 1) / 2
    return 1 - nearer / (num - 1)


def gene_weights(cells: Float[np.ndarray, "cells G"], rows: dict[str, np.ndarray]) -> Float[np.ndarray, "P G"]:
    """Return how much each gene sets a perturbation apart from the other perturbations, summing to 1 over genes.

    ``|t|`` of Welch's test of a perturbation's cells against all other perturbed cells, scaled to 0 to 1 over genes,
    squared, and divided by its sum.

    Args:
        cells: Real perturbed cells, log1p.
        rows: The P perturbations with their rows in ``cells``.

    Returns:
        NaN rows where one side of the test has fewer than two cells, or no gene differs.
    """
    sums, squares = (np.empty((len(rows), cells.shape[1])) for _ in range(2))
    for number, members in enumerate(rows.values()):
        # One perturbation at a time: all of them in double precision take twice the memory of the cells.
        group = cells[members].astype(np.float64)
        sums[number], squares[number] = group.sum(axis=0), np.square(group).sum(axis=0)
    counts = np.array([len(members) for members in rows.values()], dtype=np.float64)[:, None]
    totals = sums.sum(axis=0), squares.sum(axis=0)
    weights = np.empty_like(sums)
    for part in row_parts(*sums.shape):
        weights[part] = _weights_of(
            _moments(sums[part], squares[part], counts[part]),
            _moments(totals[0] - sums[part], totals[1] - squares[part], counts.sum() - counts[part]),
        )
    return weights


def _weights_of(own: tuple[np.ndarray, np.ndarray], rest: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Return weights from the means, and the sampling variances of them, of perturbations and of all others."""
    (mean, variance), (rest_mean, rest_variance) = own, rest
    with np.errstate(divide="ignore", invalid="ignore"):
        score = np.abs(mean - rest_mean) / np.sqrt(variance + rest_variance)
        score = np.where(mean == rest_mean, 0.0, score)
        # A gene that is constant on both sides, and differs, sets the perturbation apart as far as any other does.
        largest = np.where(np.isinf(score), 0.0, score).max(axis=1, keepdims=True)
        score = np.where(np.isinf(score), np.where(largest > 0, largest, 1.0), score)
        low = score.min(axis=1, keepdims=True)
        weights = ((score - low) / (score.max(axis=1, keepdims=True) - low)) ** 2
        return weights / weights.sum(axis=1, keepdims=True)


def _moments(sums: np.ndarray, squares: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return means and the sampling variance of each; NaN of too few cells."""
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = sums / counts
        # Rounding may leave a variance of almost nothing below zero.
        return mean, np.maximum(squares - counts * mean**2, 0.0) / (counts - 1) / counts


def weighted_mse(
    pred: Float[np.ndarray, "P G"], real: Float[np.ndarray, "P G"], weights: Float[np.ndarray, "P G"]
) -> Float[np.ndarray, " P"]:
    """Return the squared error of mean expression, as a weighted mean over genes.

    Args:
        pred: Predicted means, log1p.
        real: Real means, log1p.
        weights: Of :func:`gene_weights`.
    """
    parts = ((weights[rows] * (pred[rows] - real[rows]) ** 2).sum(axis=1) for rows in row_parts(*pred.shape))
    return np.concatenate([*parts])


def weighted_r2(
    pred: Float[np.ndarray, "P G"],
    real: Float[np.ndarray, "P G"],
    weights: Float[np.ndarray, "P G"],
    *,
    reference: Float[np.ndarray, " G"],
) -> Float[np.ndarray, " P"]:
    """Return R2 over genes of predicted and real changes from the mean of all perturbed cells, weighted.

    Args:
        pred: Predicted means.
        real: Real means.
        weights: Of :func:`gene_weights`.
        reference: Mean of all real perturbed cells of the context.
    """
    residual = weighted_mse(pred, real, weights)
    total = np.concatenate(
        [_weighted_variance(real[rows] - reference, weights[rows]) for rows in row_parts(*real.shape)]
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(total > 0, 1 - residual / total, np.nan)


def _weighted_variance(change: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return (weights * (change - (weights * change).sum(axis=1, keepdims=True)) ** 2).sum(axis=1)
