# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The cells that may share a set, and the sizes of the sets that they are cut into."""

import numpy as np

from bionemo.scale.data.store.groups import GroupTable
from bionemo.scale.types import SetKind


SMALLEST_SET = 8
"""Cells that a smaller set than N has at least."""
_FULL_ENOUGH = 7, 8
"""A set may be begun when its own cells are this share of it; else they are cut into smaller sets."""


def set_sizes(set_size: int, sets: SetKind) -> tuple[int, ...]:
    """Return the sizes that sets have: N and, where batches are mixed, its half, quarter and so on.

    Args:
        set_size: N.
        sets: What may share a set. Cells of one batch alone are always filled up to N.
    """
    sizes = [set_size]
    while sets == "mixed" and sizes[-1] % 2 == 0 and sizes[-1] // 2 >= SMALLEST_SET:
        sizes.append(sizes[-1] // 2)
    return tuple(sizes)


def cut_sizes(num_cells: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
    """Cut populations into sets: as many of the largest size as they fill, and the rest into smaller ones.

    A set takes the rest where that fills it to seven eighths. What is left below the smallest size becomes one more
    set of it, filled up.

    Args:
        num_cells: [populations] int64.
        sizes: Descending, each half of the one before.

    Returns:
        [populations, sizes] int64, how many sets of each size.
    """
    counts = np.zeros((len(num_cells), len(sizes)), dtype=np.int64)
    counts[:, 0], rest = np.divmod(num_cells, sizes[0])
    part, whole = _FULL_ENOUGH
    for level, size in enumerate(sizes):
        fills = (rest * whole >= size * part) & (rest > 0)
        counts[:, level] += fills
        rest = np.where(fills, np.maximum(rest - size, 0), rest)
    counts[:, -1] += rest > 0
    return counts


class Populations:
    """Cells that may share a set: those of one group, or of all batches of a (data set, cell type, perturbation).

    Covariates are always the same.

    Args:
        groups: Groups of the store.
        chosen: [n] rows of the group table to draw from.
        sets: ``batch`` makes each group a population, ``mixed`` those that differ in their batch alone.
    """

    def __init__(self, groups: GroupTable, chosen: np.ndarray, sets: SetKind) -> None:
        chosen = np.asarray(chosen, dtype=np.int64)
        member = np.arange(len(chosen))
        if sets == "mixed" and len(chosen):
            labels = groups.labels_of(chosen, "dataset", "cell_type", "perturbation")
            member = np.unique(labels, axis=0, return_inverse=True)[1].reshape(-1)
        order = np.argsort(member, kind="stable")
        self._group, member = chosen[order], member[order]
        cells = groups.num_cells[self._group]
        self._ends = np.cumsum(cells)
        before = self._ends - cells
        self._to_row = groups.first_row[self._group] - before
        self._first_run = np.flatnonzero(np.diff(member, prepend=-1))
        self.size = np.add.reduceat(cells, self._first_run) if len(cells) else cells
        """[populations] int64, cells of each."""
        self._first_cell = before[self._first_run]
        self.num_groups = np.diff(self._first_run, append=len(cells))
        """[populations] int64, batches of each."""

    @property
    def first_groups(self) -> np.ndarray:
        """[populations] int64, row of the group table of each one's first batch."""
        return self._group[self._first_run]

    def __len__(self) -> int:
        return len(self.size)

    def groups_of(self, population: int) -> np.ndarray:
        """Return the rows of the group table that a population is made of."""
        first = self._first_run[population]
        return self._group[first : first + self.num_groups[population]]

    def place(self, population: int, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return where some cells of a population are.

        Args:
            population: Its number.
            positions: [n] int64, among its cells.

        Returns:
            [n] int64 store rows, and [n] int64 rows of the group table.
        """
        where = positions + self._first_cell[population]
        run = np.searchsorted(self._ends, where, side="right")
        return self._to_row[run] + where, self._group[run]
