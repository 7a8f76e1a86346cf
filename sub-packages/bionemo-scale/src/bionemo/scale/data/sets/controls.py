# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Control cells for a group: the same dataset and cell type, and where there are any the same covariates and batch."""

from typing import Literal, NamedTuple, SupportsIndex

import numpy as np

from bionemo.scale.data.store.groups import GroupTable
from bionemo.scale.types import InputError


MatchLevel = Literal["batch", "cell_type", "other_covariates"]


_LEVELS: tuple[tuple[tuple[str, ...], bool], ...] = (
    (("dataset", "cell_type", "batch"), True),
    (("dataset", "cell_type"), True),
    (("dataset", "cell_type", "batch"), False),
    (("dataset", "cell_type"), False),
)
"""Labels that controls share with a group, and whether covariates are among them; the first that has any is taken."""
_NAMES: tuple[MatchLevel, ...] = ("batch", "cell_type", "other_covariates", "other_covariates")
_FIRST_OTHER = 2
"""Levels from here on have other covariates."""


class MatchedControls(NamedTuple):
    """Controls drawn for a group."""

    rows: np.ndarray
    """[n] int64 store rows."""
    level: MatchLevel
    """``cell_type`` when the batch has no control, so that they come from other batches; ``other_covariates`` when no
    control of the cell type has the covariates of the group."""


def _keys(groups: GroupTable, names: tuple[str, ...], *, with_covariates: bool) -> list[tuple[int, ...]]:
    """Return the codes of some labels of every group."""
    chosen = np.arange(len(groups))
    labels = groups.labels_of(chosen, *names)
    return list(map(tuple, (labels if with_covariates else labels[:, : len(names)]).tolist()))


class _Pool(NamedTuple):
    """Runs of consecutive rows to draw from."""

    offsets: np.ndarray
    """[runs] int64, from the positions of each run to its rows."""
    ends: np.ndarray
    """[runs] int64, cells up to and with each run."""

    def rows_at(self, positions: np.ndarray) -> np.ndarray:
        return self.offsets[np.searchsorted(self.ends, positions, side="right")] + positions


class ControlMatcher:
    """Draws matched controls; every split shares them.

    Those of a group's batch and covariates come first, then those of its covariates in other batches, then those of
    its batch with other covariates, then any of its dataset and cell type.

    Args:
        groups: Groups of the store.
        allow_missing: Groups without any control are taken for fallbacks, in a store whose controls are elsewhere.

    Raises:
        InputError: A perturbed group has no control cell in its dataset and cell type.
    """

    def __init__(self, groups: GroupTable, *, allow_missing: bool = False) -> None:
        self._pools: list[_Pool] = []
        self._members: list[list[int]] = []
        self._pool_of_group = np.full(len(groups), -1, dtype=np.int64)
        # What has no controls at all is counted among those that lack them in their batch.
        self._level = np.ones(len(groups), dtype=np.int64)
        for level, (names, with_covariates) in enumerate(_LEVELS if groups.covariates else _LEVELS[:_FIRST_OTHER]):
            if (self._pool_of_group < 0).any():
                self._match_level(_keys(groups, names, with_covariates=with_covariates), groups, level)
        missing = np.flatnonzero(self._pool_of_group < 0)
        if len(missing) and not allow_missing:
            label = groups.label(missing[0])
            raise InputError(
                f"dataset {label.dataset!r}, cell type {label.cell_type!r}: expected control cells "
                f"({groups.control!r}) to match with, found none"
            )

    def _match_level(self, keys: list[tuple[int, ...]], groups: GroupTable, level: int) -> None:
        """Give groups that have no controls yet those of the same key."""
        by_key: dict[tuple[int, ...], list[int]] = {}
        for index in np.flatnonzero(groups.is_control).tolist():
            by_key.setdefault(keys[index], []).append(index)
        pools: dict[tuple[int, ...], int] = {}
        for index in np.flatnonzero(self._pool_of_group < 0).tolist():
            key = keys[index]
            if key in by_key:
                if key not in pools:
                    pools[key] = self._add_pool(groups, by_key[key])
                self._pool_of_group[index], self._level[index] = pools[key], level

    @property
    def is_fallback(self) -> np.ndarray:
        """[groups] bool, whose controls come from other batches."""
        return np.array(["batch" not in names for names, _ in _LEVELS])[self._level]

    @property
    def has_other_covariates(self) -> np.ndarray:
        """[groups] bool, whose controls have other covariates than they have."""
        return self._level >= _FIRST_OTHER

    def control_groups(self, group: SupportsIndex) -> list[int]:
        """Return the groups of controls that a group is matched with; none in a store whose controls are elsewhere."""
        pool = self.pool(group)
        return self._members[pool] if pool >= 0 else []

    @property
    def pools(self) -> np.ndarray:
        """[groups] int64, number of the pool that each group's controls are drawn from."""
        return self._pool_of_group

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
        level = _NAMES[self._level[group]]
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
        self._members.append(members)
        num_cells = groups.num_cells[members]
        ends = np.cumsum(num_cells)
        self._pools.append(_Pool(groups.first_row[members] - (ends - num_cells), ends))
        return len(self._pools) - 1
