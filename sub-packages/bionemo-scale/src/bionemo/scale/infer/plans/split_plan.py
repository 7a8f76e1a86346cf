# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Predicts a split of a store: as many cells of every held-out group as were measured, from matched controls."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.sparse import csr_matrix

from bionemo.scale.data.sets.controls import ControlMatcher
from bionemo.scale.data.sets.dataset import PredictionSet, prediction_sets
from bionemo.scale.data.sets.mixed_prediction import MixedPredictionSet, mixed_prediction_sets
from bionemo.scale.data.store.reader import Store
from bionemo.scale.infer.plans.plan import (
    READ_ROWS,
    ControlPool,
    ControlSet,
    held_out_controls,
    named_obs,
    note_few,
    number_populations,
)
from bionemo.scale.types import Group, GroupMeans, InputError, SetKind, Split


class _Begin(NamedTuple):
    """Control cells that go through the network together."""

    rows: np.ndarray
    """[n] int64 store rows."""
    groups: np.ndarray
    """[n] int64, row of the group table that each stands for."""
    num_cells: int
    """Cells that are no fillers; they come first, those of a group together."""
    is_mixed: bool
    seed: int


def _of_one(item: PredictionSet) -> _Begin:
    size = len(item.control_rows)
    return _Begin(item.control_rows, np.full(size, item.group), size, False, item.seed)


def _of_several(item: MixedPredictionSet) -> _Begin:
    return _Begin(item.control_rows, item.groups, item.num_cells, True, item.seed)


def _pieces(begins: Sequence[_Begin]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Cut control sets by the groups that their cells stand for, without fillers.

    Returns:
        [sets] int64 each, the sets of a group one after the other: row of the group table, number of the control set,
        first cell in it, number of cells.
    """
    found: list[np.ndarray] = []
    for number, begin in enumerate(begins):
        own = begin.groups[: begin.num_cells]
        first = np.flatnonzero(np.diff(own, prepend=-1))
        sizes = np.diff(first, append=len(own))
        found.append(np.stack([own[first], np.full(len(first), number), first, sizes]))
    group, control_set, first, sizes = np.concatenate(found, axis=1)
    order = np.argsort(group, kind="stable")
    return group[order], control_set[order], first[order], sizes[order]


class SplitPlan:
    """As many cells of every held-out group as were measured, from matched controls."""

    def __init__(self, store: Store, split: Split, *, set_size: int, seed: int, sets: SetKind = "batch"):
        """Plan a split.

        Args:
            store: The store.
            split: What is predicted.
            set_size: Most cells that go through the network together.
            seed: Of the draw of controls.
            sets: What shared a set when the network was trained.

        Raises:
            InputError: If the split has no cells.
        """
        self.store = store
        self._matcher = ControlMatcher(store.groups)
        self._num_with: dict[int, np.ndarray] = {}
        self._control_means: dict[int, np.ndarray] = {}
        chosen = store.groups.perturbed_in(split)
        if not len(chosen):
            raise InputError(
                f"{store.path}: expected cells in the split {split.value}, found none; prepare the store with "
                "--split, or choose --perturbations"
            )
        if sets == "mixed":
            mixed = mixed_prediction_sets(store.groups, chosen, set_size, seed=seed, matcher=self._matcher)
            self._begins = [_of_several(item) for item in mixed]
        else:
            self._begins = [_of_one(item) for item in prediction_sets(store, split, set_size, seed=seed)]
        self.control_sizes = np.array([len(item.rows) for item in self._begins])
        group, self.control_set, self.first, self.sizes = _pieces(self._begins)
        self._group = group
        self.perturbation = store.groups.perturbation[group]
        self.population = number_populations(group, self.sizes)
        # A group's cells are all in its sets, which are neighbours.
        self.rows = np.concatenate([store.groups.rows(index) for index in np.unique(group)])
        """[cells] store rows of the measured cells, in the order of the predicted ones."""
        controls = store.obs(np.concatenate([self._control_rows(number) for number in range(len(group))]))
        self.obs = named_obs(store.obs(self.rows), store.card)
        self.obs.index = [f"predicted-{i}" for i in range(len(self.obs))]
        self.obs["control_cell"] = controls["cell"].to_numpy()
        self.notes = note_few(self._num_controls())

    @property
    def identity(self) -> str:
        """Hash of the store."""
        return self.store.identity

    def controls(self, numbers: Sequence[int]) -> Iterator[ControlSet]:
        """Yield some of the control sets, reading their cells as they are needed."""
        groups = self.store.groups
        for item in (self._begins[number] for number in numbers):
            of_cells = groups.batch[item.groups].astype(np.int64)
            yield ControlSet(
                expression=self.store.read(item.rows),
                cell_type=int(groups.cell_type[item.groups[0]]),
                batch=of_cells if item.is_mixed else int(of_cells[0]),
                seed=item.seed,
                covariates=tuple(groups.covariate[item.groups[0]].tolist()) if groups.covariates else (),
            )

    def group(self, number: int) -> Group:
        """Return the labels of a set's population."""
        return self.store.groups.label(self._group[number])

    def control_pool(self, number: int) -> ControlPool:
        """Return the controls that the change of a set's population is counted from."""
        pool = self._matcher.pool(self._group[number])
        return ControlPool(number=pool, mean=self._control_mean(pool), num_cells=len(self._matcher.pool_rows(pool)))

    def population_mean(self, number: int) -> np.ndarray:
        """Return [G] the mean of all controls that a set's were drawn from."""
        return self._control_mean(self._matcher.pool(self._group[number]))

    def control_groups(self) -> GroupMeans | None:
        """Return the pseudobulks of the contexts' controls that are held out, ``None`` where all were trained."""
        return held_out_controls(self.store, np.unique(self._group))

    def _control_rows(self, number: int) -> np.ndarray:
        first = self.first[number]
        return self._begins[self.control_set[number]].rows[first : first + self.sizes[number]]

    def _num_controls(self) -> dict[tuple[str, str], int]:
        """Return how many control cells the mean of each predicted (context, batch) is of."""
        counts = {}
        for group in np.unique(self._group).tolist():
            label = self.store.groups.label(group)
            counts[label.context, label.batch] = len(self._matcher.pool_rows(self._matcher.pool(group)))
        return counts

    def control_detection(self, groups: Sequence[int]) -> Float[np.ndarray, " G"]:
        """Return the share of the controls of some groups of the store, by index, that have each gene."""
        pools = {self._matcher.pool(group) for group in groups}
        having = sum((self._cells_with(pool) for pool in pools), np.zeros(self.store.num_genes))
        return having / sum(len(self._matcher.pool_rows(pool)) for pool in pools)

    def _cells_with(self, pool: int) -> np.ndarray:
        # Thousands of perturbations have the same controls.
        if pool not in self._num_with:
            self._num_with[pool] = self._sum_of_controls(self._matcher.pool_rows(pool), lambda cells: cells > 0)
        return self._num_with[pool]

    def _control_mean(self, pool: int) -> np.ndarray:
        if pool not in self._control_means:
            rows = self._matcher.pool_rows(pool)
            total = self._sum_of_controls(rows, lambda cells: cells)
            self._control_means[pool] = (total / len(rows)).astype(np.float32)
        return self._control_means[pool]

    def _sum_of_controls(self, rows: np.ndarray, of: Callable[[csr_matrix], csr_matrix]) -> np.ndarray:
        """Return the sum over cells of something of each value, [G] float64, reading some cells at a time."""
        pieces = [rows[first : first + READ_ROWS] for first in range(0, len(rows), READ_ROWS)]
        sums = (np.asarray(of(self.store.read(piece)).sum(axis=0, dtype=np.float64)).ravel() for piece in pieces)
        return sum(sums, np.zeros(self.store.num_genes))

    def control_rows(self) -> np.ndarray:
        """Return the store rows of all controls of the contexts (dataset and cell type) that are predicted.

        Where whole batches are left out, those of the same batches alone: a donor's change is counted from that
        donor's controls, if it has any of the cell type.
        """
        groups = self.store.groups
        predicted = np.unique(self._group).tolist()
        if self.store.is_split_by_batch:
            pools = sorted({self._matcher.pool(group) for group in predicted})
            return np.unique(np.concatenate([self._matcher.pool_rows(pool) for pool in pools]))
        contexts = {(int(groups.dataset[i]), int(groups.cell_type[i])) for i in predicted}
        chosen = [
            groups.rows(i)
            for i in np.flatnonzero(groups.is_control).tolist()
            if (int(groups.dataset[i]), int(groups.cell_type[i])) in contexts
        ]
        return np.concatenate(chosen)
