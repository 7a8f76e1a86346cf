# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The metrics of the paper's appendix A as they are written, vectorised over the perturbations of one context.

P perturbations, G genes, pseudobulks in log1p space (eq. 39, 40), changes against one control mean (eq. 41, 42).
Everything is float64; where a formula has no value (a correlation with a constant, a rank among one, a share of
nothing) it is NaN, never 0 or 1. cell-eval computes some of them otherwise:
:mod:`bionemo.scale.eval.metrics.catalogue` says which and why, and the scores of both stand in the results.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import stats
from scipy.spatial import distance

from bionemo.scale.types import Z_OF_INTERVAL


DiscriminationMetric = Literal["l1", "l2", "cosine"]

MIN_EFFECT = 1e-6
"""A predicted change below this in every gene is float32 rounding of "no change": it has no direction."""
FDR = 0.05
"""A gene is differentially expressed below this adjusted p-value."""
LOG_FC_EPSILON = 1e-6
"""The epsilon of the paper's fold change, whose value it does not give."""
_VALUES_AT_ONCE = 1 << 17
"""Values of an input that formulas go through together."""
_ROWS_AT_ONCE = 64
"""Predicted changes whose distances to all real ones are in memory together."""


def row_parts(num: int, num_genes: int) -> Iterator[slice]:
    """Yield slices of perturbations, at least one, whose values stay in a processor's cache together.

    Formulas have several temporary arrays of the size of their input, which a part of it keeps small.

    Args:
        num: Perturbations.
        num_genes: Genes of each.
    """
    step = max(1, _VALUES_AT_ONCE // max(1, num_genes))
    for first in range(0, max(1, num), step):
        yield slice(first, min(first + step, num))


def pearson_delta(pred: Float[np.ndarray, "P G"], real: Float[np.ndarray, "P G"]) -> Float[np.ndarray, " P"]:
    """Return Pearson's correlation over genes of predicted and real change (PDCorr).

    Args:
        pred: Predicted minus control means, log1p.
        real: Real minus control means, log1p.

    Returns:
        -1 to 1 for each perturbation; NaN where a change is the same in all genes.
    """
    return np.concatenate([_pearson(pred[rows], real[rows]) for rows in row_parts(*pred.shape)])


def _pearson(pred: np.ndarray, real: np.ndarray) -> np.ndarray:
    pred_centred = pred - pred.mean(axis=1, keepdims=True)
    real_centred = real - real.mean(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        norms = np.linalg.norm(pred_centred, axis=1) * np.linalg.norm(real_centred, axis=1)
        return (pred_centred * real_centred).sum(axis=1) / norms


def pearson_delta_split(
    pred: Float[np.ndarray, "P G"], real: Float[np.ndarray, "P G"], halves: Float[np.ndarray, "2 G"]
) -> Float[np.ndarray, " P"]:
    """Return PDCorr where the predicted and the real change are from different halves of the controls.

    With one control mean on both sides, its sampling error is in both changes. They correlate then even if nothing is
    predicted. The halves avoid that. For a prediction that adds a change to these controls PDCorr is the fairer score,
    because such a prediction contains the error of the controls anyway.

    Args:
        pred: Predicted means, log1p.
        real: Real means, log1p.
        halves: Means of two disjoint halves of the real controls, log1p.

    Returns:
        The mean of both assignments of the halves, -1 to 1 for each perturbation; NaN as :func:`pearson_delta`.
    """
    first, second = halves
    return (pearson_delta(pred - first, real - second) + pearson_delta(pred - second, real - first)) / 2


def r2(pred: Float[np.ndarray, "P G"], real: Float[np.ndarray, "P G"]) -> Float[np.ndarray, " P"]:
    """Return the share of the variance of real mean expression over genes that the predicted means explain (R2).

    Args:
        pred: Predicted means, log1p.
        real: Real means, log1p.

    Returns:
        At most 1 for each perturbation; NaN where all genes have the same real mean.
    """
    residual = ((real - pred) ** 2).sum(axis=1)
    total = ((real - real.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(total > 0, 1 - residual / total, np.nan)


def mse(pred: Float[np.ndarray, "P G"], real: Float[np.ndarray, "P G"]) -> Float[np.ndarray, " P"]:
    """Return the squared error of mean expression, averaged over genes (MSE, as cell-eval computes it).

    Args:
        pred: Predicted means, log1p.
        real: Real means, log1p.
    """
    return ((pred - real) ** 2).mean(axis=1)


def mae(pred: Float[np.ndarray, "P G"], real: Float[np.ndarray, "P G"]) -> Float[np.ndarray, " P"]:
    """Return the absolute error of mean expression, averaged over genes (MAE, as cell-eval computes it).

    Args:
        pred: Predicted means, log1p.
        real: Real means, log1p.
    """
    return np.abs(pred - real).mean(axis=1)


def discrimination_score(
    pred: Float[np.ndarray, "P G"],
    real: Float[np.ndarray, "P G"],
    *,
    metric: DiscriminationMetric = "l1",
    own_gene: np.ndarray | None = None,
) -> Float[np.ndarray, " P"]:
    """Return ``1 - r / P``, where r real changes are closer to a predicted change than its own real change (PDS).

    Args:
        pred: Predicted minus control means, log1p.
        real: Real minus control means, log1p.
        metric: Distance between changes.
        own_gene: [P] column of the gene that a perturbation targets, -1 for none; cell-eval leaves that gene out.

    Returns:
        Above 0 to 1 for each perturbation, 1 where its own change is the closest; NaN for P = 1, where there is no
        rank.
    """
    num = len(pred)
    if num == 1:
        return np.full(1, np.nan)
    targets = np.full(num, -1) if own_gene is None else own_gene
    scores = np.empty(num)
    for first in range(0, num, _ROWS_AT_ONCE):
        rows = slice(first, first + _ROWS_AT_ONCE)
        distances = _distances(pred[rows], real, metric=metric, left_out=targets[rows])
        own = distances[np.arange(len(distances)), np.arange(num)[rows]]
        closer = (distances < own[:, None]).sum(axis=1)
        scores[rows] = np.where(np.isfinite(own), 1 - closer / num, np.nan)
    return scores


def _distances(
    pred: np.ndarray, real: np.ndarray, *, metric: DiscriminationMetric, left_out: np.ndarray
) -> np.ndarray:
    """Return [R, P] distances between changes, squared ones for l2; ``left_out`` [R] is a column, -1 for none."""
    kind = {"l1": "cityblock", "l2": "sqeuclidean", "cosine": "cosine"}[metric]
    distances = distance.cdist(pred, real, metric=kind)
    for row in np.flatnonzero(left_out >= 0):
        gene = left_out[row]
        if metric == "cosine":
            kept = np.arange(real.shape[1]) != gene
            distances[row] = distance.cdist(pred[row : row + 1, kept], real[:, kept], metric=kind)[0]
        else:
            away = np.abs(pred[row, gene] - real[:, gene])
            distances[row] -= away if metric == "l1" else away**2
    return distances


def error_l1(pred: Float[np.ndarray, "P G"], real: Float[np.ndarray, "P G"]) -> Float[np.ndarray, " P"]:
    """Return the L1 norm, a sum over genes, of predicted minus real change (MAE as appendix A writes it).

    Args:
        pred: Predicted minus control means, log1p.
        real: Real minus control means, log1p.
    """
    return np.abs(pred - real).sum(axis=1)


def error_l2(pred: Float[np.ndarray, "P G"], real: Float[np.ndarray, "P G"]) -> Float[np.ndarray, " P"]:
    """Return the squared L2 norm, a sum over genes, of predicted minus real change (MSE as appendix A writes it).

    Args:
        pred: Predicted minus control means, log1p.
        real: Real minus control means, log1p.
    """
    return ((pred - real) ** 2).sum(axis=1)


def log_fold_change(
    mean: Float[np.ndarray, "P G"], control: Float[np.ndarray, " G"], *, epsilon: float = LOG_FC_EPSILON
) -> Float[np.ndarray, "P G"]:
    """Return ``log2((mean + epsilon) / (control + epsilon))``, the fold change of the paper.

    Args:
        mean: Means of log1p values under each perturbation.
        control: Means of log1p values of the controls.
        epsilon: Added to both, on the log1p scale.
    """
    return np.log2((mean + epsilon) / (control + epsilon))


@dataclass(frozen=True, kw_only=True)
class Genes:
    """Differential expression of one side: which genes respond, and how strongly."""

    fdr: Float[np.ndarray, "P G"]
    """Adjusted p-values, Benjamini-Hochberg."""
    log_fc: Float[np.ndarray, "P G"]
    """As :func:`log_fold_change` gives it."""

    @cached_property
    def significant(self) -> np.ndarray:
        """[P, G] bool, the set G^DE."""
        return self.fdr < FDR

    @cached_property
    def places(self) -> np.ndarray:
        """[P, G] int, place of each significant gene by absolute fold change, the largest at 0; G of others."""
        size = np.abs(self.log_fc)
        # Significant genes without a fold change come after those with one.
        order = np.argsort(
            np.where(self.significant, np.where(np.isnan(size), 1, -size), np.inf), axis=1, kind="stable"
        )
        places = np.empty(order.shape, dtype=np.int32)
        np.put_along_axis(places, order, np.arange(order.shape[1], dtype=np.int32)[None], axis=1)
        return np.where(self.significant, places, order.shape[1])


def shared_top(
    pred: Int[np.ndarray, "P G"], real: Int[np.ndarray, "P G"], k: Int[np.ndarray, " P"]
) -> Int[np.ndarray, " P"]:
    """Return how many genes are among the k significant ones (or all, if fewer) of largest fold change on both sides.

    Args:
        pred: :attr:`Genes.places` of predicted cells.
        real: Those of real cells.
        k: Most genes of each perturbation.
    """
    return ((pred < k[:, None]) & (real < k[:, None])).sum(axis=1)


def de_overlap(pred: Genes, real: Genes) -> Float[np.ndarray, " P"]:
    """Return ``|G^k and P^k| / k``, where k genes are significant in real cells (DEOver).

    G^k and P^k are the k genes with the largest fold changes among the significant real and predicted ones.

    Args:
        pred: Differential expression of predicted cells.
        real: That of real cells.

    Returns:
        0 to 1 for each perturbation; NaN for k = 0.
    """
    return _share_of_top(pred, real, real.significant.sum(axis=1))


def de_precision(pred: Genes, real: Genes) -> Float[np.ndarray, " P"]:
    """Return ``|G^k and P^k| / |P^k|``, where k genes are significant in predicted cells (DEPrec).

    Args:
        pred: Differential expression of predicted cells.
        real: That of real cells.

    Returns:
        0 to 1 for each perturbation; NaN for k = 0.
    """
    return _share_of_top(pred, real, pred.significant.sum(axis=1))


def _share_of_top(pred: Genes, real: Genes, k: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return shared_top(pred.places, real.places, k) / k


def direction_agreement(pred: Genes, real: Genes) -> Float[np.ndarray, " P"]:
    """Return the share of genes significant on both sides whose fold changes have the same sign (DirAgr).

    Args:
        pred: Differential expression of predicted cells.
        real: That of real cells.

    Returns:
        0 to 1 for each perturbation; NaN where no gene is significant on both sides.
    """
    both = pred.significant & real.significant
    same = both & (np.sign(pred.log_fc) == np.sign(real.log_fc))
    with np.errstate(invalid="ignore"):
        return same.sum(axis=1) / both.sum(axis=1)


def fold_change_spearman(pred: Genes, real: Genes) -> Float[np.ndarray, " P"]:
    """Return Spearman's correlation of fold changes over the significant real genes (LFCspear).

    NaN with fewer than two of them, or where one side is constant.
    """
    return masked_spearman(pred.log_fc, real.log_fc, real.significant)


def masked_spearman(
    pred: Float[np.ndarray, "P G"], real: Float[np.ndarray, "P G"], chosen: Bool[np.ndarray, "P G"]
) -> Float[np.ndarray, " P"]:
    """Return Spearman's correlation over the chosen genes of each perturbation.

    Args:
        pred: Finite values.
        real: Finite values.
        chosen: Genes that are compared.

    Returns:
        -1 to 1; NaN with fewer than two genes, or where one side is constant.
    """
    num = chosen.sum(axis=1, keepdims=True)
    # What is not chosen ranks behind, and its ranks are not read.
    ranks = [stats.rankdata(np.where(chosen, side, np.inf), axis=1) for side in (pred, real)]
    away = [np.where(chosen, rank - (num + 1) / 2, 0.0) for rank in ranks]
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.sqrt((away[0] ** 2).sum(axis=1)) * np.sqrt((away[1] ** 2).sum(axis=1))
        return (away[0] * away[1]).sum(axis=1) / scale


def roc_auc(pred: Genes, real: Genes) -> Float[np.ndarray, " P"]:
    """Return the area under the ROC curve of significant real genes ranked by predicted adjusted p-value (AUROC).

    The probability that a significant gene has the smaller p-value, ties counting one half. NaN where all or none
    are significant.
    """
    return roc_area(pred.fdr, real.significant)


def roc_area(order: Float[np.ndarray, "P G"], positive: Bool[np.ndarray, "P G"]) -> Float[np.ndarray, " P"]:
    """Return the area under the ROC curve of genes that are called positive in ascending order.

    Args:
        order: What genes are ordered by; ties count one half.
        positive: Genes that should come first.

    Returns:
        0 to 1 for each perturbation; NaN where all or none are positive.
    """
    num, size = positive.sum(axis=1), positive.shape[1]
    ranks = stats.rankdata(-order, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (np.where(positive, ranks, 0).sum(axis=1) - num * (num + 1) / 2) / (num * (size - num))


def average_precision(pred: Genes, real: Genes) -> Float[np.ndarray, " P"]:
    """Return the area under the precision-recall curve, as a sum over its steps (AUPRC).

    NaN where all or none of the real genes are significant.
    """
    return precision_recall_area(pred.fdr, real.significant)


def precision_recall_area(
    order: Float[np.ndarray, "P G"], positive: Bool[np.ndarray, "P G"]
) -> Float[np.ndarray, " P"]:
    """Return the sum over the steps of the precision-recall curve of genes called positive in ascending order.

    Args:
        order: What genes are ordered by; equal ones are one step.
        positive: Genes that should come first.

    Returns:
        0 to 1 for each perturbation; NaN where all or none are positive.
    """
    rows = np.argsort(order, axis=1, kind="stable")
    hits = np.cumsum(np.take_along_axis(positive, rows, axis=1), axis=1)
    values = np.take_along_axis(order, rows, axis=1)
    # Genes with one p-value are one step of the curve: only the last of them is a threshold.
    is_step = np.ones(order.shape, dtype=bool)
    is_step[:, :-1] = values[:, 1:] != values[:, :-1]
    row, place = np.nonzero(is_step)
    reached = hits[row, place]
    gained = np.diff(reached, prepend=0)
    first = np.flatnonzero(np.diff(row, prepend=-1))
    gained[first] = reached[first]
    area = np.bincount(row, weights=gained * reached / (place + 1), minlength=len(order))
    num = hits[:, -1]
    with np.errstate(invalid="ignore"):
        return np.where((num > 0) & (num < order.shape[1]), area / num, np.nan)


def coverage(away: np.ndarray, *, sd: np.ndarray, standard_error: np.ndarray) -> float:
    """Return the share of genes whose observed mean lies within the 90 % interval of the predicted one.

    The observed mean has a sampling error, whose variance is added to that of the prediction.

    Args:
        away: [G] predicted minus observed mean, log1p.
        sd: [G] standard deviation of the predicted mean, log1p.
        standard_error: [G] standard error of the observed mean; NaN where there is one cell.

    Returns:
        NaN where the standard error is not known, and without a gene.
    """
    if np.isnan(standard_error).any() or not len(away):
        return float("nan")
    return float((np.abs(away) <= Z_OF_INTERVAL * np.hypot(sd, standard_error)).mean())
