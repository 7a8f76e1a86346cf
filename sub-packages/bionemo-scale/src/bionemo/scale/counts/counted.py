# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Measured cells back from log1p to the counts that they were, with their library sizes."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from bionemo.scale.types import InputError


LIBRARY_SIZE = "library_size"
"""obs column of files of counts."""
_WHOLE = 0.05
"""How near to a whole number a count is."""
_LARGEST = 1000
"""Counts above may be further from whole numbers: float32 does not hold them exactly."""
_MOST_BROKEN = 0.1
"""Share of cells whose counts may not come out whole: cells without a gene of one to four counts."""
_ROWS = 512


@dataclass(frozen=True, kw_only=True)
class Counted:
    """Counts of cells."""

    counts: np.ndarray
    """[cells, G] float32, whole numbers."""
    library_size: np.ndarray
    """[cells] float64; of a cell without counts the median of the others, NaN where there are none."""


def counted(expression: csr_matrix, target_sum: float) -> Counted:
    """Return the counts that log1p values were made of.

    ``log1p(count * target_sum / library_size)`` is undone: the values of a cell, before the logarithm, are multiples
    of what one count is worth (:func:`bionemo.scale.population.one_count`), and that says the library size.

    Args:
        expression: [cells, G] log1p; see :func:`check_counted`.
        target_sum: Library size that they were scaled to.
    """
    counts, unit = np.empty(expression.shape, dtype=np.float32), np.empty(expression.shape[0])
    for first in range(0, expression.shape[0], _ROWS):
        rows = slice(first, first + _ROWS)
        exact, unit[rows] = _in_counts(expression[rows])
        counts[rows] = np.round(exact)
    library_size = np.divide(target_sum, unit, out=np.full(len(unit), np.nan), where=unit > 0)
    if np.isfinite(library_size).any():
        library_size[~np.isfinite(library_size)] = np.nanmedian(library_size)
    return Counted(counts=counts, library_size=library_size)


def check_counted(expression: csr_matrix) -> None:
    """Refuse cells that are no scaled counts: smoothed, corrected or integrated ones have no library size.

    Args:
        expression: [cells, G] log1p.

    Raises:
        InputError: The values of more than a few cells are no multiples of one number.
    """
    exact, _ = _in_counts(expression)
    is_broken = ((np.abs(exact - np.round(exact)) > _WHOLE) & (exact < _LARGEST)).any(axis=1)
    if is_broken.mean() > _MOST_BROKEN:
        raise InputError(
            "--output counts: expected control cells of scaled counts, whose library sizes their values show, found "
            f"{is_broken.sum()} of {len(is_broken)} cells with values that are no multiples of one count; give raw "
            "counts"
        )


def whole_counts(expression: csr_matrix, target_sum: float) -> tuple[csr_matrix, np.ndarray]:
    """Return [cells, G] counts of measured cells and [cells] library sizes; see :func:`counted`."""
    found = counted(expression, target_sum)
    return csr_matrix(found.counts), found.library_size


def _in_counts(expression: csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Return [cells, G] expression in counts, and what one is worth in each cell, 0 in one without any."""
    # Late: who reads the columns of counts, or makes a page, needs no torch.
    from bionemo.scale.population import one_count_of_sparse

    expression = expression.astype(np.float64)
    values, unit = expression.toarray(), np.expm1(one_count_of_sparse(expression).numpy())
    return np.expm1(values) / np.where(unit > 0, unit, 1.0)[:, None], unit
