# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Which cells make the sets of an epoch: plans, as a pure function of (seed, index).

A plan says what to read and opens no file. Sets are numbered over all epochs; ``index // num_sets`` is the epoch.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

from bionemo.scale.data.store.blind import Fold
from bionemo.scale.data.store.groups import GroupTable
from bionemo.scale.types import InputError, Split


Weighting = Literal["proportional", "uniform", "tempered"]

# What a random stream is for: the first numbers of its seed, so that no two uses share one.
_ORDER, _GROUPS, _CELLS, _SET, _CONTROLS, _CONTROL_GROUPS = range(6)
_CACHED_PERMUTATIONS = 64
_SPLIT_NUMBER = {split: number for number, split in enumerate(Split)}


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How often groups are drawn."""

    weighting: Weighting = "proportional"
    """``uniform`` is ``tempered`` with exponent 0."""
    exponent: float = 0.5
    """Exponent of ``tempered`` weighting: 1 follows the cells, 0 treats groups alike."""
    control_share: float = 0.0
    """Share of an epoch's sets that are of control groups, in [0, 1)."""
    blind: Fold | None = None
    """Training groups that are left out, to validate with; see :mod:`bionemo.scale.data.store.blind`."""

    def __post_init__(self) -> None:
        if not 0 <= self.control_share < 1:
            raise ValueError(f"control_share must be in [0, 1), got {self.control_share}")


PROPORTIONAL = Sampling()


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

    A share of the sets can be of control groups, so that a model learns what its contexts look like when nothing is
    done to them, held-out ones too. They come on top of an epoch's perturbed sets, from groups drawn in proportion to
    their cells.

    Args:
        groups: Groups of the store.
        split: The split whose perturbed groups are sampled; controls belong to every split.
        set_size: N, cells a set.
        seed: Every plan is a function of it and of the set's index.
        sampling: How often groups are drawn.

    Raises:
        InputError: The split has no perturbed cells.
    """

    def __init__(
        self,
        groups: GroupTable,
        split: Split,
        set_size: int,
        *,
        seed: int,
        sampling: Sampling = PROPORTIONAL,
    ) -> None:
        if set_size < 1:
            raise ValueError(f"set_size must be at least 1, got {set_size}")
        self.set_size = set_size
        self.seed = seed
        self._split = _SPLIT_NUMBER[split]
        self._weighting = sampling.weighting
        self._exponent = 0.0 if sampling.weighting == "uniform" else sampling.exponent
        control_share = sampling.control_share
        perturbed = groups.perturbed_in(split)
        if not len(perturbed):
            raise InputError(f"the store has no perturbed cells in the {split.value} split")
        controls = np.flatnonzero(groups.is_control) if control_share else np.empty(0, dtype=np.int64)
        # Members are the perturbed groups, then the control groups.
        self._num_perturbed = len(perturbed)
        self._group = np.concatenate([perturbed, controls])
        self._first_row = groups.first_row[self._group]
        self._size = groups.num_cells[self._group]
        self._pieces = -(-self._size // set_size)
        self._num_perturbed_sets = int(self._pieces[: self._num_perturbed].sum())
        self._num_control_sets = round(self._num_perturbed_sets * control_share / (1 - control_share))
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
        return self._num_perturbed_sets + self._num_control_sets

    def padding_share(self) -> float:
        """Return the expected share of rows that fill perturbed sets up, in [0, 1)."""
        pieces = self._pieces[: self._num_perturbed]
        own = self._size[: self._num_perturbed] / pieces
        weights = pieces if self._weighting == "proportional" else self._probabilities()
        return 1.0 - float(np.average(own, weights=weights)) / self.set_size

    def plan(self, index: int) -> SetPlan:
        """Return a set; the answer depends on the arguments of the sampler and ``index`` alone.

        Args:
            index: Number of the set, counted over all epochs.
        """
        epoch, slot = divmod(index, self.num_sets)
        order = self._epoch_plan(epoch)
        member = int(order.group[slot])
        rows = self._cut(epoch, member, int(order.cycle[slot]), piece=int(order.piece[slot]))
        own = min(self.set_size, int(self._size[member]) - int(order.piece[slot]) * self.set_size)
        return SetPlan(group=int(self._group[member]), perturbed_rows=rows, num_cells=own, seed=self._set_seed(index))

    def control_rng(self, index: int) -> np.random.Generator:
        """Return the stream that draws the controls of a set."""
        return np.random.default_rng([_CONTROLS, self._split, self.seed, index])

    def _set_seed(self, index: int) -> int:
        return int(np.random.SeedSequence([_SET, self._split, self.seed, index]).generate_state(1)[0]) >> 1

    def _probabilities(self) -> np.ndarray:
        weights = self._size[: self._num_perturbed].astype(np.float64) ** self._exponent
        return weights / weights.sum()

    def _plan_epoch(self, epoch: int) -> _EpochPlan:
        group = np.concatenate([self._perturbed_members(epoch), self._control_members(epoch)])
        use = _count_before(group)
        order = self._rng(_ORDER, epoch).permutation(len(group))
        group, use = group[order], use[order]
        cycle, piece = np.divmod(use, self._pieces[group])
        return _EpochPlan(group.astype(np.int32), cycle.astype(np.int32), piece.astype(np.int32))

    def _perturbed_members(self, epoch: int) -> np.ndarray:
        if self._weighting == "proportional":
            return np.repeat(np.arange(self._num_perturbed), self._pieces[: self._num_perturbed])
        rng = self._rng(_GROUPS, epoch)
        return rng.choice(self._num_perturbed, size=self._num_perturbed_sets, p=self._probabilities())

    def _control_members(self, epoch: int) -> np.ndarray:
        if not self._num_control_sets:
            return np.empty(0, dtype=np.int64)
        cells = self._size[self._num_perturbed :]
        drawn = self._rng(_CONTROL_GROUPS, epoch).choice(
            len(cells), size=self._num_control_sets, p=cells / cells.sum()
        )
        return self._num_perturbed + drawn

    def _permute(self, epoch: int, member: int, cycle: int) -> np.ndarray:
        return self._rng(_CELLS, epoch, member, cycle).permutation(int(self._size[member]))

    def _cut(self, epoch: int, member: int, cycle: int, *, piece: int) -> np.ndarray:
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
