# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""How many real changes are closer to a predicted one than its own, of many perturbations by every distance at once.

Ranks compare all predicted with all real changes, so they take time that is quadratic in the perturbations by
definition. Here one pass over the pairs serves all ranks (:func:`~bionemo.scale.eval.metrics.formulas.\
discrimination_score`, :func:`~bionemo.scale.eval.metrics.unseen.centroid_accuracy` and
:func:`~bionemo.scale.eval.metrics.unseen.panel_discrimination`) and keeps no matrix of distances.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import get_args

import numpy as np
from jaxtyping import Bool, Float, Int

from bionemo.scale.eval.metrics.formulas import DiscriminationMetric


@dataclass(frozen=True, kw_only=True)
class Nearness:
    """[P] ranks by one distance."""

    closer: np.ndarray
    """Real changes that are closer to the predicted one than its own; NaN where its own has no distance."""
    equal: np.ndarray
    """Real changes as far away as its own, which is among them."""

    @property
    def score(self) -> Float[np.ndarray, " P"]:
        """``1 - r / P``, as :func:`~bionemo.scale.eval.metrics.formulas.discrimination_score`."""
        return self._of(1 - self.closer / len(self.closer))

    @property
    def mean_score(self) -> Float[np.ndarray, " P"]:
        """``1 - r / P``, r averaged over all orders of equal distances."""
        return self._of(1 - (self.closer + (self.equal - 1) / 2) / len(self.closer))

    @property
    def share_farther(self) -> Float[np.ndarray, " P"]:
        """``1 - r / (P - 1)``, equal distances counting one half; NaN for P = 1."""
        return self._of(1 - (self.closer + (self.equal - 1) / 2) / max(len(self.closer) - 1, 1))

    def _of(self, values: np.ndarray) -> np.ndarray:
        return values if len(values) > 1 else np.full(len(values), np.nan)


@dataclass(frozen=True, kw_only=True)
class AllNearness:
    """Ranks by each distance."""

    whole: dict[DiscriminationMetric, Nearness]
    """Over all genes."""
    without_own: dict[DiscriminationMetric, Nearness]
    """Without the gene that the perturbation is named after, where there is one. As in cell-eval, the cosine of a
    change of nothing is 0."""
    panel: Nearness
    """By L1 over the genes that no perturbation targets; NaN where there is none."""


def all_nearness(
    pred: Float[np.ndarray, "P G"],
    real: Float[np.ndarray, "P G"],
    *,
    own_gene: Int[np.ndarray, " P"],
    targets: Bool[np.ndarray, " G"],
) -> AllNearness:
    """Rank the own real change of every predicted change among all real ones.

    Args:
        pred: Predicted minus control means, log1p.
        real: Real minus control means, log1p.
        own_gene: Column of the gene that a perturbation is named after, -1 for none.
        targets: Whether any perturbation of the evaluation targets a gene.
    """
    pair = _Changes(pred=pred, real=real, own_gene=own_gene, targets=targets)
    blocks = [pair.ranks(slice(first, first + _ROWS_AT_ONCE)) for first in range(0, len(pred), _ROWS_AT_ONCE)]
    closer, equal = np.concatenate(blocks, axis=2)
    if targets.all():
        closer[-1] = np.nan
    found = [Nearness(closer=closer[kind], equal=equal[kind]) for kind in range(7)]
    names: tuple[DiscriminationMetric, ...] = get_args(DiscriminationMetric)
    return AllNearness(
        whole=dict(zip(names, found[:3], strict=True)),
        without_own=dict(zip(names, found[3:6], strict=True)),
        panel=found[6],
    )


_ROWS_AT_ONCE = 32
"""Predicted changes that are compared with a real one while it is in the cache."""
_CANCELLED = 1e-6
"""Where less than this share of a squared norm is left without a gene, what is left is summed anew."""


@dataclass(frozen=True, kw_only=True)
class _Changes:
    """All pairs of a predicted and a real change."""

    pred: np.ndarray
    real: np.ndarray
    own_gene: np.ndarray
    targets: np.ndarray

    @cached_property
    def _parts(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Predicted and real changes of the genes that nobody targets, and of those that somebody does."""
        # Most evaluations target no gene that is measured, and need no copies.
        return [(_picked(self.pred, part), _picked(self.real, part)) for part in (~self.targets, self.targets)]

    @cached_property
    def _squares(self) -> tuple[np.ndarray, np.ndarray]:
        """[P] squared norms of predicted and real changes."""
        return (self.pred**2).sum(axis=1), (self.real**2).sum(axis=1)

    def ranks(self, rows: slice) -> np.ndarray:
        """Return [2, 7, R], by each distance how many real changes are closer than its own, and how many are equal."""
        found = self._distances(rows)
        own = found[:, np.arange(found.shape[1]), np.arange(len(self.pred))[rows]][:, :, None]
        closer = np.where(np.isfinite(own[:, :, 0]), (found < own).sum(axis=2), np.nan)
        return np.stack([closer, (found == own).sum(axis=2)])

    def _distances(self, rows: slice) -> np.ndarray:
        """Return [7, R, P]: L1, squared L2 and minus the cosine, the same without own genes, and L1 of the panel."""
        sums = np.zeros((2, 3, len(self.own_gene[rows]), len(self.real)))
        for (pred, real), out in zip(self._parts, sums, strict=True):
            _kernel()(pred[rows], real, out)
        whole = sums.sum(axis=0)
        without = whole.copy()
        squares = self._squares[0][rows, None], self._squares[1][None]
        rest = [np.broadcast_to(square, whole[0].shape).copy() for square in squares]
        for row in np.flatnonzero(self.own_gene[rows] >= 0).tolist():
            self._leave_out(row + rows.start, without[:, row], [square[row] for square in rest])
        norms = np.sqrt(rest[0] * rest[1])
        with np.errstate(divide="ignore", invalid="ignore"):
            whole[2] /= -np.sqrt(squares[0] * squares[1])
            without[2] = np.where(norms == 0, 0.0, without[2] / -norms)
        return np.concatenate([whole, without, sums[:1, 0]])

    def _leave_out(self, row: int, sums: np.ndarray, squares: list[np.ndarray]) -> None:
        """Take the own gene of a predicted change out of its [3, P] sums and of both [P] squared norms."""
        gene = self.own_gene[row]
        pred, real = self.pred[row, gene], self.real[:, gene]
        sums -= [np.abs(pred - real), (pred - real) ** 2, pred * real]
        before = [square.copy() for square in squares]
        for square, value in zip(squares, (pred, real), strict=True):
            square -= value**2
        lost = (squares[0] < _CANCELLED * before[0]) | (squares[1] < _CANCELLED * before[1])
        if lost.any():
            kept = np.arange(self.real.shape[1]) != gene
            pred, real = self.pred[row, kept], self.real[lost][:, kept]
            sums[2, lost] = real @ pred
            squares[0][lost], squares[1][lost] = pred @ pred, (real**2).sum(axis=1)


def _picked(values: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return values if columns.all() else np.compress(columns, values, axis=1)


@cache
def _kernel() -> Callable[[np.ndarray, np.ndarray, np.ndarray], None]:
    """Return :func:`_sum_up`, compiled."""
    import numba

    # Without leave to reorder sums, a processor adds one number at a time. NaN keeps its meaning. A decorator that
    # checks types cannot be compiled.
    return numba.njit(fastmath={"reassoc", "contract", "nsz"})(inspect.unwrap(_sum_up))


def _sum_up(pred: np.ndarray, real: np.ndarray, out: np.ndarray) -> None:
    """Write [3, R, P] sums over genes: absolute and squared differences, and products."""
    for other in range(real.shape[0]):
        for row in range(pred.shape[0]):
            total, squared, product = 0.0, 0.0, 0.0
            for gene in range(real.shape[1]):
                away = pred[row, gene] - real[other, gene]
                total += abs(away)
                squared += away * away
                product += pred[row, gene] * real[other, gene]
            out[0, row, other], out[1, row, other], out[2, row, other] = total, squared, product
