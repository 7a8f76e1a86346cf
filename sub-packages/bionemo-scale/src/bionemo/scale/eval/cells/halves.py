# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Real cells cut in two: how well one half predicts the other is what the data let a model reach."""

from dataclasses import dataclass

import numpy as np

from bionemo.scale.eval.cells.populations import rows_by_label


MIN_CELLS = 4
"""Groups with fewer cells are not cut: a half needs two cells to have a spread."""


@dataclass(frozen=True, kw_only=True)
class Halves:
    """Two disjoint halves of the cells of each group that has cells enough."""

    names: tuple[str, ...]
    """Groups that were cut, sorted."""
    first: np.ndarray
    """Rows of the first halves, ascending; they have the odd cell."""
    second: np.ndarray
    """Rows of the second halves, ascending."""


def split_halves(labels: np.ndarray, rng: np.random.Generator) -> Halves:
    """Cut every group at random.

    Args:
        labels: [cells] group of a cell.
        rng: Draws the halves.
    """
    names: list[str] = []
    halves: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for name, members in rows_by_label(labels).items():
        rows = rng.permutation(members)
        if len(rows) < MIN_CELLS:
            continue
        names.append(name)
        middle = -(-len(rows) // 2)
        for half, part in zip(halves, (rows[:middle], rows[middle:]), strict=True):
            half.append(part)
    first, second = (np.sort(np.concatenate([np.empty(0, dtype=np.int64), *half])) for half in halves)
    return Halves(names=tuple(names), first=first, second=second)


def half_means(cells: np.ndarray, batch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the means of two disjoint halves, [2, G] float64; NaN with fewer than two cells.

    Args:
        cells: [cells, G].
        batch: [cells] labels; every batch is cut in two, to a cell.
        rng: Draws the halves.
    """
    order = np.lexsort((rng.random(len(cells)), batch.astype(str)))
    if len(order) < 2:
        return np.full((2, cells.shape[1]), np.nan)
    return np.stack([cells[order[first::2]].mean(axis=0, dtype=np.float64) for first in (0, 1)])
