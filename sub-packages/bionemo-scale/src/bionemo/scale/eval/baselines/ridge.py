# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Ridge regression of a change on one-hot perturbation and one-hot cell type, in time linear in perturbations.

The normal equations of a one-hot factor are diagonal. The factor with more levels is therefore eliminated level by
level, and what is left (a Schur complement) is as large as the other factor has levels.
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy import sparse


Label = TypeVar("Label", bound=Hashable)
PENALTIES = (0.1, 1.0, 10.0, 100.0)
DEFAULT_PENALTY = 1.0
"""Penalty where a single context leaves nothing to hold out, or where held-out contexts do not prefer any."""
_TIE = 1e-9
"""Relative difference of squared errors that is rounding."""

Changes = dict[tuple[str, str, str], np.ndarray]
"""(dataset, cell type, perturbation) to the change of mean expression, [G] float64."""


@dataclass(frozen=True, kw_only=True)
class Ridge:
    """Linear model of the change of mean expression, ``intercept + effect(perturbation) + effect(cell type)``."""

    intercept: np.ndarray
    """[G] float64."""
    perturbation: dict[str, np.ndarray]
    """Effect of each training perturbation, [G]."""
    cell_type: dict[str, np.ndarray]
    """Effect of each training cell type, [G]."""
    penalty: float


def fit_ridge(changes: Changes) -> Ridge:
    """Fit the change of each (dataset, cell type, perturbation) on one-hot perturbation and one-hot cell type.

    The intercept is not penalised, and an unseen label has the effect 0. The penalty is the one of :data:`PENALTIES`
    with the smallest squared error when each context (dataset, cell type) is left out in turn;
    :data:`DEFAULT_PENALTY` with a single context, or where it is among the best.
    """
    perturbations = _number(key[2] for key in changes)
    cell_types = _number(key[1] for key in changes)
    contexts = _number(key[:2] for key in changes)
    # The factor with more levels is the one that is eliminated.
    swapped = len(cell_types) > len(perturbations)
    many, few = (cell_types, perturbations) if swapped else (perturbations, cell_types)
    rows = _Rows(
        many=np.array([many[key[1 if swapped else 2]] for key in changes]),
        few=np.array([few[key[2 if swapped else 1]] for key in changes]),
        targets=np.stack(list(changes.values())),
    )
    sums = rows.sums((len(many), len(few)))
    penalty = _choose_penalty(rows, sums, np.array([contexts[key[:2]] for key in changes]))
    solved = sums.solve(penalty)
    effects = (solved.few, solved.many) if swapped else (solved.many, solved.few)
    return Ridge(
        intercept=solved.intercept,
        perturbation=dict(zip(perturbations, effects[0], strict=True)),
        cell_type=dict(zip(cell_types, effects[1], strict=True)),
        penalty=penalty,
    )


def _number(names: Iterable[Label]) -> dict[Label, int]:
    return {name: row for row, name in enumerate(dict.fromkeys(names))}


@dataclass(frozen=True, kw_only=True)
class _Solution:
    intercept: np.ndarray
    """[G]."""
    many: np.ndarray
    """[levels, G] effects of the factor with more levels."""
    few: np.ndarray
    """[levels, G]."""


@dataclass(frozen=True, kw_only=True)
class _Sums:
    """What the normal equations need of some rows."""

    together: sparse.csr_matrix
    """[many, few] float64, rows that have both levels."""
    many: np.ndarray
    """[many, G], sum of the rows of each level."""
    few: np.ndarray
    """[few, G]."""

    def without(self, other: "_Sums") -> "_Sums":
        """Return the sums of the rows that are not among those of ``other``."""
        return _Sums(together=self.together - other.together, many=self.many - other.many, few=self.few - other.few)

    def solve(self, penalty: float) -> _Solution:
        """Solve for the factor with few levels and the intercept; the other factor's effects follow."""
        counts = self.together.sum(axis=1).A1
        inverse = 1 / (counts + penalty)
        weighted = self.together.multiply(inverse[:, None]).tocsr()
        size = 1 + len(self.few)
        matrix = np.empty((size, size))
        # counts - counts^2 inverse is penalty * counts * inverse, without the cancellation.
        matrix[0, 0] = penalty * (counts @ inverse)
        matrix[0, 1:] = matrix[1:, 0] = penalty * weighted.sum(axis=0).A1
        matrix[1:, 1:] = -(self.together.T @ weighted).toarray()
        matrix[1:, 1:] += np.diag(self.together.sum(axis=0).A1 + penalty)
        right = np.vstack([penalty * (inverse @ self.many)[None], self.few - weighted.T @ self.many])
        solved = np.linalg.solve(matrix, right)
        left = self.many - counts[:, None] * solved[0] - self.together @ solved[1:]
        return _Solution(intercept=solved[0], many=inverse[:, None] * left, few=solved[1:])


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """One row per change: its level of either factor, and its value."""

    many: np.ndarray
    """[rows] int64."""
    few: np.ndarray
    """[rows] int64."""
    targets: np.ndarray
    """[rows, G] float64."""

    def select(self, rows: np.ndarray) -> "_Rows":
        """Return some rows."""
        return _Rows(many=self.many[rows], few=self.few[rows], targets=self.targets[rows])

    def sums(self, levels: tuple[int, int]) -> _Sums:
        """Sum over the rows of each level."""
        many, few = (
            sparse.csr_matrix((np.ones(codes.size), (codes, np.arange(codes.size))), shape=(num, codes.size))
            for codes, num in ((self.many, levels[0]), (self.few, levels[1]))
        )
        return _Sums(together=many @ few.T, many=many @ self.targets, few=few @ self.targets)


def _choose_penalty(rows: _Rows, sums: _Sums, context: np.ndarray) -> float:
    distinct = np.unique(context)
    if len(distinct) < 2:
        return DEFAULT_PENALTY
    errors = dict.fromkeys(PENALTIES, 0.0)
    for held_out in distinct:
        left_out = rows.select(context == held_out)
        kept = sums.without(left_out.sums(sums.together.shape))
        for penalty in PENALTIES:
            solved = kept.solve(penalty)
            predicted = solved.intercept + solved.many[left_out.many] + solved.few[left_out.few]
            errors[penalty] += float(((predicted - left_out.targets) ** 2).sum())
    least = min(errors.values())
    tied = [penalty for penalty, error in errors.items() if error <= least * (1 + _TIE)]
    return DEFAULT_PENALTY if DEFAULT_PENALTY in tied else tied[0]
