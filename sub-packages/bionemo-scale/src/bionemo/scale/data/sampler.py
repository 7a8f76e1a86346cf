# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Which cells make the sets of an epoch: plans, as a pure function of (seed, index).

A plan says what to read and opens no file. Sets are numbered over all epochs; ``index // num_sets`` is the epoch.
"""

from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

from bionemo.scale.data.groups import GroupTable
from bionemo.scale.types import InputError, Split


Weighting = Literal["proportional", "uniform", "tempered"]

# What a random stream is for: the first numbers of its seed, so that no two uses share one.
_ORDER, _GROUPS, _CELLS, _SET, _CONTROLS = range(5)
_CACHED_PERMUTATIONS = 64
_SPLIT_NUMBER = {split: number for number, split in enumerate(Split)}


class SetPlan(NamedTuple):
    """One set, not yet read."""

    group: int
    """Row of the group table."""
    perturbed_rows: np.ndarray
    """[N] int64 store rows."""
    num_cells: int
    """The first ``num_cells`` rows are the set's share of its group; the others fill the set up.

    Fillers are other cells of the group where it has that many, and repeat its cells as evenly as possible otherwise.
    """
    seed: int
    """In [0, 2**31), for whatever is random in the set."""


class _EpochPlan(NamedTuple):
    group: np.ndarray
    """[num_sets] position among the split's groups."""
    cycle: np.ndarray
    """[num_sets] how often the group's cells have been used up before."""
    piece: np.ndarray
    """[num_sets] which cut of the group's permuted cells."""


class SetSampler:
    """Plans the sets of a split.

    With ``proportional`` weighting an epoch uses every cell: each group's cells are permuted and cut into sets, and
    the sets of all groups are shuffled. Otherwise as many sets are drawn, each from a group chosen with probability
    proportional to ``num_cells ** exponent``, and a group's cells are used up before they come again.

    Args:
        groups: Groups of the store.
        split: The split whose perturbed groups are sampled.
        set_size: N, cells a set.
        seed: Every plan is a function of it and of the set's index.
        weighting: ``uniform`` is ``tempered`` with exponent 0.
        exponent: Exponent of ``tempered`` weighting: 1 follows the cells, 0 treats groups alike.

    Raises:
        InputError: The split has no perturbed cells.
    """

    def __init__(
        self,
        groups: GroupTable,
        split: Split,
        set_size: int,
        seed: int,
        weighting: Weighting = "proportional",
        exponent: float = 0.5,
    ) -> None:
        if set_size < 1:
            raise ValueError(f"set_size must be at least 1, got {set_size}")
        self.set_size = set_size
        self.seed = seed
        self._split = _SPLIT_NUMBER[split]
        self._weighting = weighting
        self._exponent = 0.0 if weighting == "uniform" else exponent
        self._group = groups.perturbed_in(split)
        if not len(self._group):
            raise InputError(f"the store has no perturbed cells in the {split.value} split")
        self._first_row = groups.first_row[self._group]
        self._size = groups.num_cells[self._group]
        self._pieces = -(-self._size // set_size)
        # Per instance, so that a forgotten sampler takes its plans with it; workers rebuild them.
        self._epoch_plan = lru_cache(maxsize=2)(self._plan_epoch)
        self._permutation = lru_cache(maxsize=_CACHED_PERMUTATIONS)(self._permute)

    def __getstate__(self) -> dict:
        return {name: value for name, value in self.__dict__.items() if name not in ("_epoch_plan", "_permutation")}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._epoch_plan = lru_cache(maxsize=2)(self._plan_epoch)
        self._permutation = lru_cache(maxsize=_CACHED_PERMUTATIONS)(self._permute)

    @property
    def num_sets(self) -> int:
        """Sets an epoch."""
        return int(self._pieces.sum())

    def padding_share(self) -> float:
        """Return the expected share of rows that fill sets up, in [0, 1)."""
        own = self._size / self._pieces
        weights = self._pieces if self._weighting == "proportional" else self._probabilities()
        return 1.0 - float(np.average(own, weights=weights)) / self.set_size

    def plan(self, index: int) -> SetPlan:
        """Return a set; the answer depends on the arguments of the sampler and ``index`` alone.

        Args:
            index: Number of the set, counted over all epochs.
        """
        epoch, slot = divmod(index, self.num_sets)
        order = self._epoch_plan(epoch)
        member = int(order.group[slot])
        rows = self._cut(epoch, member, int(order.cycle[slot]), int(order.piece[slot]))
        own = min(self.set_size, int(self._size[member]) - int(order.piece[slot]) * self.set_size)
        return SetPlan(group=int(self._group[member]), perturbed_rows=rows, num_cells=own, seed=self._set_seed(index))

    def control_rng(self, index: int) -> np.random.Generator:
        """Return the stream that draws the controls of a set."""
        return np.random.default_rng([_CONTROLS, self._split, self.seed, index])

    def _set_seed(self, index: int) -> int:
        return int(np.random.SeedSequence([_SET, self._split, self.seed, index]).generate_state(1)[0]) >> 1

    def _probabilities(self) -> np.ndarray:
        weights = self._size.astype(np.float64) ** self._exponent
        return weights / weights.sum()

    def _plan_epoch(self, epoch: int) -> _EpochPlan:
        if self._weighting == "proportional":
            group = np.repeat(np.arange(len(self._size)), self._pieces)
            use = np.arange(len(group)) - np.repeat(np.cumsum(self._pieces) - self._pieces, self._pieces)
            order = self._rng(_ORDER, epoch).permutation(len(group))
            group, use = group[order], use[order]
        else:
            group = self._rng(_GROUPS, epoch).choice(len(self._size), size=self.num_sets, p=self._probabilities())
            use = _count_before(group)
        cycle, piece = np.divmod(use, self._pieces[group])
        return _EpochPlan(group.astype(np.int32), cycle.astype(np.int32), piece.astype(np.int32))

    def _permute(self, epoch: int, member: int, cycle: int) -> np.ndarray:
        return self._rng(_CELLS, epoch, member, cycle).permutation(int(self._size[member]))

    def _cut(self, epoch: int, member: int, cycle: int, piece: int) -> np.ndarray:
        cells = self._permutation(epoch, member, cycle)
        first = piece * self.set_size
        # Continuing at the start of the permutation fills with other cells first, then repeats all evenly.
        positions = np.arange(first, first + self.set_size) % len(cells)
        return self._first_row[member] + cells[positions]

    def _rng(self, stream: int, *key: int) -> np.random.Generator:
        return np.random.default_rng([stream, self._split, self.seed, *key])


def _count_before(values: np.ndarray) -> np.ndarray:
    """For each element, how many equal ones come before it."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    lengths = np.diff(starts, append=len(values))
    before = np.empty(len(values), dtype=np.int64)
    before[order] = np.arange(len(values)) - np.repeat(starts, lengths)
    return before
