# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Which cells make the sets of an epoch: plans, as a pure function of (seed, index).

A plan says what to read and opens no file. What is numbered are the places of batches, over all epochs: ``index //
num_places`` is the epoch. A place holds one set of N cells, or several smaller sets of one size that have as many.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

from bionemo.scale.data.sets.populations import Populations, cut_sizes, set_sizes
from bionemo.scale.data.sets.shared_controls import in_runs
from bionemo.scale.data.store.blind import Fold
from bionemo.scale.data.store.groups import GroupTable
from bionemo.scale.types import InputError, SetKind, Split


Weighting = Literal["proportional", "uniform", "tempered"]

# What a random stream is for: the first numbers of its seed, so that no two uses share one.
_ORDER, _GROUPS, _CELLS, _SET, _CONTROLS, _CONTROL_GROUPS, _SHARED_CONTROLS = range(7)
_FEWEST_CACHED, _MOST_CACHED = 64, 4096
"""Permutations that are kept; of larger populations, fewer."""
_CACHED_CELLS = 1 << 22
_SPLIT_NUMBER = {split: number for number, split in enumerate(Split)}
RUN_PLACES = 16
"""Places of sets of one size that follow one another, so that few micro-batches hold sets of several sizes."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """What shares a set, and how often it is drawn."""

    sets: SetKind = "batch"
    """``mixed`` also has sets of less than N cells, for what is left of a population; see
    :func:`bionemo.scale.data.sets.populations.cut_sizes`."""
    weighting: Weighting = "proportional"
    """``uniform`` is ``tempered`` with exponent 0."""
    exponent: float = 0.5
    """Exponent of ``tempered`` weighting: 1 follows the cells, 0 treats populations alike."""
    control_share: float = 0.0
    """Share of an epoch's sets that are of controls, in [0, 1)."""
    share_controls: int = 1
    """Sets that follow one another and start from the same controls, as far as the sets of an epoch allow; see
    :mod:`bionemo.scale.data.sets.shared_controls`. 1 draws controls for each set; mixed sets always have their own."""
    blind: Fold | None = None
    """Training groups that are left out, to validate with; see :mod:`bionemo.scale.data.store.blind`."""

    def __post_init__(self) -> None:
        if not 0 <= self.control_share < 1:
            raise ValueError(f"control_share must be in [0, 1), got {self.control_share}")
        if self.share_controls < 1:
            raise ValueError(f"share_controls must be at least 1, got {self.share_controls}")


PROPORTIONAL = Sampling()


class SetPlan(NamedTuple):
    """One set, not yet read."""

    group: int
    """Row of the group table; of the first cell, where they differ in their batch."""
    perturbed_rows: np.ndarray
    """[n] int64 store rows; n is N or, where batches are mixed, one of the smaller sizes."""
    groups: np.ndarray
    """[n] int64, rows of the group table that the cells belong to."""
    num_cells: int
    """The first ``num_cells`` rows are the set's share of its population; the others fill the set up.

    Fillers are other cells of the population where it has that many, and repeat its cells as evenly as possible
    otherwise.
    """
    seed: int
    """In [0, 2**31), for whatever is random in the set."""


class _Cuts(NamedTuple):
    """Populations cut into sets: a row for each population and size of which it has sets."""

    population: np.ndarray
    level: np.ndarray
    """[cuts] which of the sizes."""
    pieces: np.ndarray
    """[cuts] sets of that size."""
    first: np.ndarray
    """[cuts] position among the population's permuted cells that the first of them begins at."""
    own: np.ndarray
    """[cuts] cells of the population in these sets, fillers aside."""


class _EpochPlan(NamedTuple):
    cut: np.ndarray
    """[sets] row of the cuts."""
    cycle: np.ndarray
    """[sets] how often the population's cells of that size have been used up before."""
    piece: np.ndarray
    """[sets] which of the cut's sets."""
    starts: np.ndarray
    """[num_places + 1] first set of each place."""


class SetSampler:
    """Plans the sets of a split.

    Cells that share every label are a population or, where batches are mixed, those that share all labels but the
    batch. With ``proportional`` weighting an epoch uses every cell: each population's cells are permuted and cut into
    sets, and the sets of all populations are shuffled. Otherwise as many sets are drawn, each from a population chosen
    with probability proportional to ``num_cells ** exponent``, and a population's cells are used up before they come
    again.

    A share of the sets can be of controls, so that a model learns what its contexts look like when nothing is done to
    them, held-out ones too. They come on top of an epoch's perturbed sets, from populations drawn in proportion to
    their cells.

    Args:
        groups: Groups of the store.
        split: The split whose perturbed groups are sampled; controls as targets are those of training.
        set_size: N, most cells of a set.
        seed: Every plan is a function of it and of the index of the place.
        sampling: What shares a set, and how often it is drawn.
        pools: [groups] int64, which controls each group is matched with; needed where sets share controls.

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
        pools: np.ndarray | None = None,
    ) -> None:
        if set_size < 1:
            raise ValueError(f"set_size must be at least 1, got {set_size}")
        self.set_size = set_size
        self.sizes = set_sizes(set_size, sampling.sets)
        self.is_mixed = sampling.sets == "mixed"
        self.seed = seed
        self._split = _SPLIT_NUMBER[split]
        self._weighting = sampling.weighting
        self._exponent = 0.0 if sampling.weighting == "uniform" else sampling.exponent
        perturbed = groups.perturbed_in(split)
        if not len(perturbed):
            raise InputError(f"the store has no perturbed cells in the {split.value} split")
        controls = groups.training_controls() if sampling.control_share else np.empty(0, dtype=np.int64)
        # Perturbed populations have other labels than those of controls, and come first.
        parts = [Populations(groups, chosen, sampling.sets) for chosen in (perturbed, controls)]
        self._parts = parts
        self._num_perturbed = len(parts[0])
        self._cells = np.concatenate([part.size for part in parts])
        self._cuts = self._cut_all()
        self._run = 1 if self.is_mixed or pools is None else sampling.share_controls
        if pools is not None and self._run > 1:
            self._pool_of_cut = pools[np.concatenate([part.first_groups for part in parts])[self._cuts.population]]
        self._num_perturbed_cuts = int((self._cuts.population < self._num_perturbed).sum())
        self._draws = self._plan_draws(sampling.control_share)
        self.num_places = int((-(-self._draws.sum(axis=0) // self._sets_a_place)).sum())
        """Places of batches an epoch; as many as sets, unless some are of less than N cells."""
        self._add_caches()

    def _add_caches(self) -> None:
        # Per instance, so that a forgotten sampler takes its plans with it; workers rebuild them.
        self._epoch_plan = lru_cache(maxsize=2)(self._plan_epoch)
        kept = min(max(_CACHED_CELLS // int(self._cells.max()), _FEWEST_CACHED), _MOST_CACHED)
        self._permutation = lru_cache(maxsize=kept)(self._permute)

    def __getstate__(self) -> dict:
        return {name: value for name, value in self.__dict__.items() if name not in ("_epoch_plan", "_permutation")}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._add_caches()

    @property
    def num_sets(self) -> int:
        """Sets an epoch."""
        return int(self._draws.sum())

    def padding_share(self) -> float:
        """Return the expected share of rows that fill perturbed sets up, in [0, 1)."""
        perturbed = slice(0, self._num_perturbed_cuts)
        level, pieces = self._cuts.level[perturbed], self._cuts.pieces[perturbed]
        sets = pieces.astype(np.float64)
        if self._weighting != "proportional":
            weights = self._weights(perturbed, self._exponent)
            sets = self._draws[0][level] * weights / np.bincount(level, weights)[level]
        rows = sets * np.array(self.sizes)[level]
        return 1.0 - float((sets * self._cuts.own[perturbed] / pieces).sum() / rows.sum())

    def count_cells(self, places: range) -> tuple[int, int]:
        """Return how many cells of some places fill no set up, and how many there are in all; controls not counted.

        Args:
            places: Numbers of places, counted over all epochs.
        """
        own = rows = 0
        for epoch in range(places.start // self.num_places, -(-places.stop // self.num_places)):
            order, before = self._epoch_plan(epoch), epoch * self.num_places
            first, last = max(places.start - before, 0), min(places.stop - before, self.num_places)
            sets = slice(int(order.starts[first]), int(order.starts[last]))
            cut = order.cut[sets]
            size = np.array(self.sizes)[self._cuts.level[cut]]
            left = self._cells[self._cuts.population[cut]] - self._cuts.first[cut] - order.piece[sets] * size
            own, rows = own + int(np.minimum(size, left).sum()), rows + int(size.sum())
        return own, rows

    def place(self, index: int) -> tuple[SetPlan, ...]:
        """Return the sets of a place; the answer depends on the arguments of the sampler and ``index`` alone.

        Args:
            index: Number of the place, counted over all epochs.
        """
        epoch, place = divmod(index, self.num_places)
        order = self._epoch_plan(epoch)
        sets = range(int(order.starts[place]), int(order.starts[place + 1]))
        return tuple(self._set(epoch, order, number, key=self._key(index, turn)) for turn, number in enumerate(sets))

    def control_rng(self, index: int, turn: int = 0) -> np.random.Generator:
        """Return the stream that draws the controls of a set, by its place and its number there."""
        return np.random.default_rng(_source(_CONTROLS, self._split, self.seed, *self._key(index, turn)))

    @property
    def shares_controls(self) -> bool:
        """Whether sets may start from the same controls."""
        return self._run > 1

    def run(self, index: int) -> int:
        """Return the number of the run that a place is in; its sets of one pool start from the same controls."""
        return index // self._run

    def shared_rng(self, run: int, pool: int) -> np.random.Generator:
        """Return the stream that draws the controls that sets of a run share."""
        return np.random.default_rng(_source(_SHARED_CONTROLS, self._split, self.seed, run, pool))

    def _key(self, index: int, turn: int) -> tuple[int, ...]:
        # Sets of one batch were numbered by their place before there were others.
        return (index, turn) if self.is_mixed else (index,)

    def _set(self, epoch: int, order: _EpochPlan, number: int, *, key: tuple[int, ...]) -> SetPlan:
        cut = int(order.cut[number])
        population, size = int(self._cuts.population[cut]), self.sizes[self._cuts.level[cut]]
        cells = self._permutation(epoch, population, int(order.cycle[number]))
        first = int(self._cuts.first[cut]) + int(order.piece[number]) * size
        positions = cells[first : first + size]
        if len(positions) < size:
            # Continuing at the start of the permutation fills with other cells first, then repeats all evenly.
            positions = cells[np.arange(first, first + size) % len(cells)]
        is_control = population >= self._num_perturbed
        part = self._parts[is_control]
        rows, groups = part.place(population - self._num_perturbed * is_control, positions)
        seed = int(_source(_SET, self._split, self.seed, *key).generate_state(1)[0]) >> 1
        return SetPlan(int(groups[0]), rows, groups, min(size, len(cells) - first), seed)

    @property
    def _sets_a_place(self) -> np.ndarray:
        return self.set_size // np.array(self.sizes)

    def _cut_all(self) -> _Cuts:
        sizes = np.array(self.sizes)
        counts = cut_sizes(self._cells, self.sizes)
        first = np.cumsum(counts * sizes, axis=1) - counts * sizes
        own = np.minimum(first + counts * sizes, self._cells[:, None]) - first
        population, level = np.nonzero(counts)
        return _Cuts(population, level, *(table[population, level] for table in (counts, first, own)))

    def _plan_draws(self, control_share: float) -> np.ndarray:
        """Return [2, sizes] int64, the sets of each size in an epoch, perturbed and of controls."""
        perturbed, controls = slice(0, self._num_perturbed_cuts), slice(self._num_perturbed_cuts, None)
        whole = np.bincount(self._cuts.level[perturbed], self._cuts.pieces[perturbed], minlength=len(self.sizes))
        rows = float((whole * self.sizes).sum())
        draws = np.zeros((2, len(self.sizes)), dtype=np.int64)
        draws[0] = whole
        if self._weighting != "proportional":
            draws[0] = np.maximum(self._share_out(perturbed, self._exponent, rows), np.minimum(whole, 1))
        if control_share:
            draws[1] = self._share_out(controls, 1.0, rows * control_share / (1 - control_share))
        return draws

    def _share_out(self, cuts: slice, exponent: float, rows: float) -> np.ndarray:
        """Return [sizes] how many sets of each size have these rows together."""
        weights = self._weights(cuts, exponent)
        of_level = np.bincount(self._cuts.level[cuts], weights, minlength=len(self.sizes)) / weights.sum()
        return np.array([round(rows / size * share) for size, share in zip(self.sizes, of_level, strict=True)])

    def _weights(self, cuts: slice, exponent: float) -> np.ndarray:
        """Return how often each cut is drawn: its population's weight, by the share of its cells that it has."""
        cells = self._cells[self._cuts.population[cuts]].astype(np.float64)
        return cells**exponent * (self._cuts.own[cuts] / cells)

    def _plan_epoch(self, epoch: int) -> _EpochPlan:
        cut = np.concatenate([self._perturbed_cuts(epoch), self._control_cuts(epoch)])
        use = _count_before(cut)
        rng = self._rng(_ORDER, epoch)
        order = rng.permutation(len(cut))
        starts = np.arange(len(cut) + 1)
        if self.is_mixed:
            arranged, starts = self._into_places(self._cuts.level[cut[order]], rng)
            order = order[arranged]
        elif self._run > 1:
            pool = self._pool_of_cut[cut[order]]
            order = order[in_runs(pool, length=self._run, first=epoch * self.num_places, rng=rng)]
        cut, use = cut[order], use[order]
        cycle, piece = np.divmod(use, self._cuts.pieces[cut])
        return _EpochPlan(cut.astype(np.int32), cycle.astype(np.int32), piece.astype(np.int32), starts)

    def _into_places(self, level: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Arrange sets so that those of a place have one size, and so have most neighbours.

        Args:
            level: [sets] which size each has.
            rng: Source of the order of the runs.

        Returns:
            [sets] the order of the sets, and [places + 1] the first set of each place.
        """
        place = _count_before(level) // self._sets_a_place[level]
        run = place // RUN_PLACES
        runs = np.array([run[level == number].max(initial=-1) + 1 for number in range(len(self.sizes))])
        turn = rng.permutation(int(runs.sum()))[(np.cumsum(runs) - runs)[level] + run]
        order = np.argsort(turn, kind="stable")
        # Sorted stably, the sets of a run stay in the order of their places.
        begins = np.flatnonzero((np.diff(turn[order], prepend=-1) != 0) | (np.diff(place[order], prepend=-1) != 0))
        return order, np.append(begins, len(level))

    def _perturbed_cuts(self, epoch: int) -> np.ndarray:
        cuts = slice(0, self._num_perturbed_cuts)
        if self._weighting == "proportional":
            return np.repeat(np.arange(self._num_perturbed_cuts), self._cuts.pieces[cuts])
        return self._draw(cuts, self._exponent, self._draws[0], rng=self._rng(_GROUPS, epoch))

    def _control_cuts(self, epoch: int) -> np.ndarray:
        if not self._draws[1].any():
            return np.empty(0, dtype=np.int64)
        controls = slice(self._num_perturbed_cuts, None)
        drawn = self._draw(controls, 1.0, self._draws[1], rng=self._rng(_CONTROL_GROUPS, epoch))
        return self._num_perturbed_cuts + drawn

    def _draw(self, cuts: slice, exponent: float, draws: np.ndarray, *, rng: np.random.Generator) -> np.ndarray:
        """Return as many cuts of each size as are asked for, counted from the first of ``cuts``."""
        weights, level = self._weights(cuts, exponent), self._cuts.level[cuts]
        drawn = []
        for number in np.flatnonzero(draws).tolist():
            members = np.flatnonzero(level == number)
            chances = weights[members] / weights[members].sum()
            drawn.append(rng.choice(members, size=int(draws[number]), p=chances))
        return np.concatenate(drawn)

    def _permute(self, epoch: int, population: int, cycle: int) -> np.ndarray:
        return self._rng(_CELLS, epoch, population, cycle).permutation(int(self._cells[population]))

    def _rng(self, stream: int, *key: int) -> np.random.Generator:
        return np.random.default_rng(_source(stream, self._split, self.seed, *key))


def _source(*numbers: int) -> np.random.SeedSequence:
    """Return the source of a random stream; of 32-bit numbers numpy makes it from an array twice as fast."""
    is_short = 0 <= min(numbers) and max(numbers) < 1 << 32
    return np.random.SeedSequence(np.array(numbers, dtype=np.uint32) if is_short else numbers)


def _count_before(values: np.ndarray) -> np.ndarray:
    """For each element, how many equal ones come before it."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    lengths = np.diff(starts, append=len(values))
    before = np.empty(len(values), dtype=np.int64)
    before[order] = np.arange(len(values)) - np.repeat(starts, lengths)
    return before
