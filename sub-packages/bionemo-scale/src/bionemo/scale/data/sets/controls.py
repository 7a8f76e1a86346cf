# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Control cells for a group: the same dataset and cell type, and the same batch where there are any."""

from typing import Literal, NamedTuple, SupportsIndex

import numpy as np

from bionemo.scale.data.store.groups import GroupTable
from bionemo.scale.types import InputError


MatchLevel = Literal["batch", "cell_type"]


class MatchedControls(NamedTuple):
    """Controls drawn for a group."""

    rows: np.ndarray
    """[n] int64 store rows."""
    level: MatchLevel
    """``cell_type`` when the batch has no control, so that they come from other batches."""


class _Pool(NamedTuple):
    """Runs of consecutive rows to draw from."""

    first_rows: np.ndarray
    ends: np.ndarray
    """[runs] int64, cells up to and with each run."""

    def rows_at(self, positions: np.ndarray) -> np.ndarray:
        run = np.searchsorted(self.ends, positions, side="right")
        before = np.where(run > 0, self.ends[run - 1], 0)
        return self.first_rows[run] + positions - before


class ControlMatcher:
    """Draws matched controls; every split shares them.

    Args:
        groups: Groups of the store.
        allow_missing: Groups without any control are taken for fallbacks, in a store whose controls are elsewhere.

    Raises:
        InputError: A perturbed group has no control cell in its dataset and cell type.
    """

    def __init__(self, groups: GroupTable, *, allow_missing: bool = False) -> None:
        self._pools: list[_Pool] = []
        by_batch: dict[tuple[int, ...], list[int]] = {}
        by_cell_type: dict[tuple[int, ...], list[int]] = {}
        context = np.stack([groups.dataset, groups.cell_type, groups.batch], axis=1).tolist()
        for index in np.flatnonzero(groups.is_control).tolist():
            dataset, cell_type, batch = context[index]
            by_batch.setdefault((dataset, cell_type, batch), []).append(index)
            by_cell_type.setdefault((dataset, cell_type), []).append(index)
        batch_pools = {key: self._add_pool(groups, members) for key, members in by_batch.items()}
        cell_type_pools = {key: self._add_pool(groups, members) for key, members in by_cell_type.items()}
        self._pool_of_group = np.full(len(groups), -1, dtype=np.int64)
        self._is_fallback = np.zeros(len(groups), dtype=bool)
        for index, (dataset, cell_type, batch) in enumerate(context):
            pool = batch_pools.get((dataset, cell_type, batch))
            self._is_fallback[index] = pool is None
            pool = cell_type_pools.get((dataset, cell_type)) if pool is None else pool
            if pool is None and allow_missing:
                continue
            if pool is None:
                raise InputError(
                    f"dataset {groups.datasets[dataset]!r}, cell type {groups.cell_types[cell_type]!r}: expected "
                    f"control cells ({groups.control!r}) to match with, found none"
                )
            self._pool_of_group[index] = pool

    @property
    def is_fallback(self) -> np.ndarray:
        """[groups] bool, whose controls come from other batches."""
        return self._is_fallback

    def pool(self, group: SupportsIndex) -> int:
        """Return the number of the pool that a group's controls are drawn from; groups may share one."""
        return int(self._pool_of_group[group])

    def pool_rows(self, pool: int) -> np.ndarray:
        """Return [n] int64 store rows of all cells of a pool."""
        return self._pools[pool].rows_at(np.arange(int(self._pools[pool].ends[-1])))

    def match(self, group: SupportsIndex, num_cells: int, rng: np.random.Generator) -> MatchedControls:
        """Draw controls for a group.

        Args:
            group: Row of the group table; a control group gets cells of its own pool.
            num_cells: How many. Each is drawn once if there are enough, else all are used as evenly as possible.
            rng: Source of the draw.
        """
        pool = self._pools[self._pool_of_group[group]]
        size = int(pool.ends[-1])
        rounds, rest = divmod(num_cells, size)
        positions = [rng.permutation(size) for _ in range(rounds)]
        positions.append(rng.choice(size, size=rest, replace=False))
        level: MatchLevel = "cell_type" if self._is_fallback[group] else "batch"
        return MatchedControls(rows=pool.rows_at(np.concatenate(positions)), level=level)

    def match_each(self, cell_groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Draw one control for each of some cells, each of the cell's own batch where that has any.

        Args:
            cell_groups: [n] rows of the group table, of the cells.
            rng: Source of the draw.

        Returns:
            [n] int64 store rows. Cells that share a pool of controls get each of it once if there are enough.
        """
        pools = self._pool_of_group[cell_groups]
        rows = np.empty(len(pools), dtype=np.int64)
        for pool in np.unique(pools).tolist():
            places = np.flatnonzero(pools == pool)
            rows[places] = self.match(cell_groups[places[0]], len(places), rng).rows
        return rows

    def _add_pool(self, groups: GroupTable, members: list[int]) -> int:
        self._pools.append(_Pool(groups.first_row[members], np.cumsum(groups.num_cells[members])))
        return len(self._pools) - 1
