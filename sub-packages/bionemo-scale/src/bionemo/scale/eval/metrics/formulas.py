# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The metrics of the paper's appendix A as they are written, vectorised over the perturbations of one context.

P perturbations, G genes, pseudobulks in log1p space (eq. 39, 40), changes against one control mean (eq. 41, 42).
Everything is float64; where a formula has no value (a correlation with a constant, a rank among one, a share of
nothing) it is NaN, never 0 or 1. cell-eval computes some of them otherwise:
:mod:`bionemo.scale.eval.metrics.catalogue` says which and why, and the scores of both stand in the results.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
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


def pearson_delta(pred: Float[np.ndarray, "P G"], real: Float[np.ndarray, "P G"]) -> Float[np.ndarray, " P"]:
    """Return Pearson's correlation over genes of predicted and real change (PDCorr).

    Args:
        pred: Predicted minus control means, log1p.
        real: Real minus control means, log1p.

    Returns:
        -1 to 1 for each perturbation; NaN where a change is the same in all genes.
    """
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


_ROWS_AT_ONCE = 64
"""Predicted changes whose distances to all real ones are in memory together."""


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

    @property
    def significant(self) -> np.ndarray:
        """[P, G] bool, the set G^DE."""
        return self.fdr < FDR

    def top(self, index: int, k: int) -> np.ndarray:
        """Return the columns of the k significant genes (or all, if fewer) with the largest absolute fold change.

        Args:
            index: Row of the perturbation.
            k: Most genes.
        """
        genes = np.flatnonzero(self.significant[index])
        return genes[np.argsort(-np.abs(self.log_fc[index, genes]), kind="stable")[:k]]


def de_overlap(pred: Genes, real: Genes) -> Float[np.ndarray, " P"]:
    """Return ``|G^k and P^k| / k``, where k genes are significant in real cells (DEOver).

    G^k and P^k are the k genes with the largest fold changes among the significant real and predicted ones.

    Args:
        pred: Differential expression of predicted cells.
        real: That of real cells.

    Returns:
        0 to 1 for each perturbation; NaN for k = 0.
    """
    return np.array([_shared(pred, real, row, k=int(real.significant[row].sum())) for row in range(len(real.fdr))])


def de_precision(pred: Genes, real: Genes) -> Float[np.ndarray, " P"]:
    """Return ``|G^k and P^k| / |P^k|``, where k genes are significant in predicted cells (DEPrec).

    Args:
        pred: Differential expression of predicted cells.
        real: That of real cells.

    Returns:
        0 to 1 for each perturbation; NaN for k = 0.
    """
    return np.array([_shared(pred, real, row, k=int(pred.significant[row].sum())) for row in range(len(real.fdr))])


def _shared(pred: Genes, real: Genes, row: int, *, k: int) -> float:
    return np.intersect1d(real.top(row, k), pred.top(row, k)).size / k if k else float("nan")


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
    scores = np.full(len(real.fdr), np.nan)
    for row, genes in enumerate(real.significant):
        if genes.sum() > 1:
            ranks = (stats.rankdata(side.log_fc[row, genes]) for side in (pred, real))
            scores[row] = pearson_delta(*(rank[None] for rank in ranks))[0]
    return scores


def roc_auc(pred: Genes, real: Genes) -> Float[np.ndarray, " P"]:
    """Return the area under the ROC curve of significant real genes ranked by predicted adjusted p-value (AUROC).

    The probability that a significant gene has the smaller p-value, ties counting one half. NaN where all or none
    are significant.
    """
    scores = np.full(len(real.fdr), np.nan)
    for row, positive in enumerate(real.significant):
        num = int(positive.sum())
        if 0 < num < positive.size:
            ranks = stats.rankdata(-pred.fdr[row])
            scores[row] = (ranks[positive].sum() - num * (num + 1) / 2) / (num * (positive.size - num))
    return scores


def average_precision(pred: Genes, real: Genes) -> Float[np.ndarray, " P"]:
    """Return the area under the precision-recall curve, as a sum over its steps (AUPRC).

    NaN where all or none of the real genes are significant.
    """
    scores = np.full(len(real.fdr), np.nan)
    for row, positive in enumerate(real.significant):
        if 0 < positive.sum() < positive.size:
            order = np.argsort(pred.fdr[row], kind="stable")
            hits = np.cumsum(positive[order])
            # Genes with one p-value are one step of the curve: only the last of them is a threshold.
            steps = np.append(np.flatnonzero(np.diff(pred.fdr[row, order])), positive.size - 1)
            recall = np.diff(hits[steps] / hits[-1], prepend=0.0)
            scores[row] = float((recall * hits[steps] / (steps + 1)).sum())
    return scores


def coverage(away: np.ndarray, *, sd: np.ndarray, standard_error: np.ndarray) -> float:
    """Return the share of genes whose observed mean lies within the 90 % interval of the predicted one.

    The observed mean has a sampling error, whose variance is added to that of the prediction.

    Args:
        away: [G] predicted minus observed mean, log1p.
        sd: [G] standard deviation of the predicted mean, log1p.
        standard_error: [G] standard error of the observed mean; NaN where there is one cell.

    Returns:
        NaN where the standard error is not known.
    """
    if np.isnan(standard_error).any():
        return float("nan")
    return float((np.abs(away) <= Z_OF_INTERVAL * np.hypot(sd, standard_error)).mean())
