# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Cell sets as a torch data set, and the sets predictions are made of."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix
from torch.utils.data import Dataset

from bionemo.scale.data.sets.controls import ControlMatcher, MatchLevel
from bionemo.scale.data.sets.covariates import SetCovariates
from bionemo.scale.data.sets.sampler import PROPORTIONAL, Sampling, SetPlan, SetSampler
from bionemo.scale.data.sets.shared_controls import first_of_each
from bionemo.scale.data.store.groups import GroupTable
from bionemo.scale.data.store.reader import Store
from bionemo.scale.types import Split


class GatheredSets(NamedTuple):
    """B sets of N cells as they come from the store, before :func:`~bionemo.scale.data.sets.collate.collate`."""

    expression: csr_matrix
    """[(C + B) * N, G] log1p expression, all C sets of controls, then the perturbed cells of all B sets."""
    cell_type: np.ndarray
    """[B] int64."""
    perturbation: np.ndarray
    """[B] int64."""
    batch: np.ndarray
    """[B] int64."""
    seed: np.ndarray
    """[B] int64."""
    mixture: "Mixture | None" = None
    """What else is known of sets of several batches, which differ in size; ``batch`` is then of their cells."""
    covariates: np.ndarray | None = None
    """[B, K] int64, ``None`` where there are none."""
    controls_of: np.ndarray | None = None
    """[B] int64, which set of controls each set starts from; ``None`` where each has its own, C = B."""


class Mixture(NamedTuple):
    """Sets of one size after the other, the largest first."""

    size: np.ndarray
    """[B] int64, cells of each set."""
    num_cells: np.ndarray
    """[B] int64, how many of them are no fillers; they come first."""
    weight: np.ndarray
    """[B] float32, share in the loss of the micro-batch: each place has the same, each set of a place."""
    num_places: int
    """Places of the micro-batch."""


class CellSetDataset(Dataset[GatheredSets]):
    """Sets of a split, matched with controls; place ``i`` is a function of the arguments and ``i`` alone.

    A place of a batch is one set of N cells or, where batches are mixed, also several smaller ones.

    Args:
        store: The store.
        split: Split to draw from.
        set_size: N, most cells of a set.
        seed: Order of cells and sets, and the draw of controls.
        sampling: What shares a set, and how often it is drawn.
        num_samples: Places of the data set, over as many epochs as it takes; ``None`` is one epoch.
        repeat_first_epoch: Every epoch is the first again, for a validation that is always the same.

    Raises:
        InputError: The split has no perturbed cells.
    """

    def __init__(
        self,
        store: Store,
        split: Split,
        set_size: int,
        *,
        seed: int,
        sampling: Sampling = PROPORTIONAL,
        num_samples: int | None = None,
        repeat_first_epoch: bool = False,
    ) -> None:
        self.store = store
        self.controls = ControlMatcher(store.groups)
        self.sampler = SetSampler(
            store.groups, split, set_size, seed=seed, sampling=sampling, pools=self.controls.pools
        )
        self._covariates = SetCovariates(store.groups, self.controls) if store.groups.covariates else None
        self._num_samples = self.sampler.num_places if num_samples is None else num_samples
        self._repeat_first_epoch = repeat_first_epoch

    def __len__(self) -> int:
        return self._num_samples

    def __getitem__(self, index: int) -> GatheredSets:
        """Return the sets of one place."""
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> GatheredSets:
        """Return the sets of a micro-batch in one read; torch's loader calls this."""
        for index in indices:
            if not 0 <= index < len(self):
                raise IndexError(f"expected a place in 0..{len(self) - 1}, got {index}")
        if self._repeat_first_epoch:
            indices = [index % self.sampler.num_places for index in indices]
        places = [self.sampler.place(index) for index in indices]
        sets = [
            _PlacedSet(plan, index, turn, 1 / (len(places) * len(place)))
            for index, place in zip(indices, places, strict=True)
            for turn, plan in enumerate(place)
        ]
        # Stable: sets of one size stay in the order of their places.
        sets.sort(key=lambda each: -len(each.plan.perturbed_rows))
        plans = [each.plan for each in sets]
        controls, controls_of = self._controls_of(sets)
        groups, group = self.store.groups, np.array([plan.group for plan in plans])
        of_cells = np.concatenate([plan.groups for plan in plans]) if self.sampler.is_mixed else group
        weights = np.array([each.weight for each in sets], dtype=np.float32)
        return GatheredSets(
            expression=self.store.read(np.concatenate([*controls, *(plan.perturbed_rows for plan in plans)])),
            cell_type=groups.cell_type[group].astype(np.int64),
            perturbation=_perturbation_ids(groups, group),
            batch=groups.batch[of_cells].astype(np.int64),
            seed=np.array([plan.seed for plan in plans], dtype=np.int64),
            mixture=_mixture(plans, weights, len(places)) if self.sampler.is_mixed else None,
            covariates=self._covariates_of(plans),
            controls_of=controls_of,
        )

    def _covariates_of(self, plans: Sequence[SetPlan]) -> np.ndarray | None:
        if self._covariates is None:
            return None
        return np.stack([self._covariates.of_set(plan.group, plan.seed) for plan in plans])

    def _controls_of(self, sets: Sequence["_PlacedSet"]) -> tuple[list[np.ndarray], np.ndarray | None]:
        """Return the store rows of each set of controls, and which of these each set starts from."""
        if not self.sampler.shares_controls:
            own = [self._draw_controls(each.plan, self.sampler.control_rng(each.place, each.turn)) for each in sets]
            return own, None
        keys = [(self.sampler.run(each.place), self.controls.pool(each.plan.group)) for each in sets]
        firsts, which = first_of_each(keys)
        shared = [self._draw_controls(sets[first].plan, self.sampler.shared_rng(*keys[first])) for first in firsts]
        return shared, which

    def _draw_controls(self, plan: SetPlan, rng: np.random.Generator) -> np.ndarray:
        if self.sampler.is_mixed:
            return self.controls.match_each(plan.groups, rng)
        return self.controls.match(plan.group, len(plan.perturbed_rows), rng).rows


class _PlacedSet(NamedTuple):
    plan: SetPlan
    place: int
    """Number of its place."""
    turn: int
    """Which of the place's sets it is."""
    weight: float
    """Share in the loss of the micro-batch."""


def _mixture(plans: Sequence[SetPlan], weights: np.ndarray, num_places: int) -> Mixture:
    return Mixture(
        size=np.array([len(plan.perturbed_rows) for plan in plans]),
        num_cells=np.array([plan.num_cells for plan in plans]),
        weight=weights,
        num_places=num_places,
    )


def _perturbation_ids(groups: GroupTable, chosen: np.ndarray) -> np.ndarray:
    """Return rows of the vocabulary, and its length for control groups."""
    rows = groups.perturbation[chosen].astype(np.int64)
    return np.where(rows < 0, len(groups.perturbations), rows)


class PredictionSet(NamedTuple):
    """A set to predict: some cells of a group and as many matched controls."""

    group: int
    """Row of the group table."""
    perturbed_rows: np.ndarray
    """[n] int64 store rows of the cells that were measured, n at most the set size."""
    control_rows: np.ndarray
    """[n] int64 store rows to start from."""
    level: MatchLevel
    """Which labels of the group they share."""
    seed: int
    """In [0, 2**31)."""


def prediction_sets(store: Store, split: Split, set_size: int, *, seed: int) -> Iterator[PredictionSet]:
    """Yield the perturbed groups of a split in store order, each cut into sets; the last of a group may be short.

    Args:
        store: The store.
        split: Split to predict; one without cells yields nothing.
        set_size: Most cells of a set.
        seed: Draw of the controls.
    """
    matcher = ControlMatcher(store.groups)
    for group in store.groups.perturbed_in(split).tolist():
        rows = store.groups.rows(group)
        for piece, first in enumerate(range(0, len(rows), set_size)):
            part = rows[first : first + set_size]
            source = np.random.SeedSequence([seed, group, piece])
            controls = matcher.match(group, len(part), np.random.default_rng(source))
            yield PredictionSet(group, part, controls.rows, controls.level, int(source.generate_state(1)[0]) >> 1)
