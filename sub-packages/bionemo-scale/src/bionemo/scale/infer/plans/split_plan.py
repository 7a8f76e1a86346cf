# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Predicts a split of a store: as many cells of every held-out group as were measured, from matched controls."""

from collections.abc import Iterator, Sequence

import numpy as np

from bionemo.scale.data.sets.controls import ControlMatcher
from bionemo.scale.data.sets.dataset import PredictionSet, prediction_sets
from bionemo.scale.data.store.reader import Store
from bionemo.scale.infer.plans.plan import READ_ROWS, ControlPool, ControlSet, named_obs, note_few, number_populations
from bionemo.scale.types import Group, InputError, Split


class SplitPlan:
    """As many cells of every held-out group as were measured, from matched controls."""

    def __init__(self, store: Store, split: Split, *, set_size: int, seed: int):
        """Plan a split.

        Raises:
            InputError: If the split has no cells.
        """
        self.store = store
        self._matcher = ControlMatcher(store.groups)
        self._control_means: dict[int, np.ndarray] = {}
        self._sets: list[PredictionSet] = list(prediction_sets(store, split, set_size, seed=seed))
        if not self._sets:
            raise InputError(f"{store.path}: expected cells in the split {split!r}, found none")
        self.sizes = np.array([len(item.control_rows) for item in self._sets])
        # Controls are drawn for every group anew: no two sets begin as the same cells.
        self.control_set = np.arange(len(self._sets))
        group = np.array([item.group for item in self._sets])
        self.perturbation = store.groups.perturbation[group]
        self.population = number_populations(group, self.sizes)
        self.rows = np.concatenate([item.perturbed_rows for item in self._sets])
        """[cells] store rows of the measured cells, in the order of the predicted ones."""
        controls = store.obs(np.concatenate([item.control_rows for item in self._sets]))
        self.obs = named_obs(store.obs(self.rows), store.card)
        self.obs.index = [f"predicted-{i}" for i in range(len(self.obs))]
        self.obs["control_cell"] = controls["cell"].to_numpy()
        self.notes = note_few(self._num_controls())

    def controls(self, numbers: Sequence[int]) -> Iterator[ControlSet]:
        """Yield some of the control sets, reading their cells as they are needed."""
        groups = self.store.groups
        for item in (self._sets[number] for number in numbers):
            yield ControlSet(
                expression=self.store.read(item.control_rows),
                cell_type=int(groups.cell_type[item.group]),
                batch=int(groups.batch[item.group]),
                seed=item.seed,
                population_mean=self._control_mean(self._matcher.pool(item.group)),
            )

    def group(self, number: int) -> Group:
        """Return the labels of a set's population."""
        return self.store.groups.label(self._sets[number].group)

    def control_pool(self, number: int) -> ControlPool:
        """Return the controls that the change of a set's population is counted from."""
        pool = self._matcher.pool(self._sets[number].group)
        return ControlPool(number=pool, mean=self._control_mean(pool), num_cells=len(self._matcher.pool_rows(pool)))

    def control_groups(self) -> None:
        """Return nothing: the controls of a store are those of the training data."""

    def _num_controls(self) -> dict[tuple[str, str], int]:
        """Return how many control cells the mean of each predicted (cell type, batch) is of."""
        counts = {}
        for group in sorted({item.group for item in self._sets}):
            label = self.store.groups.label(group)
            counts[label.cell_type, label.batch] = len(self._matcher.pool_rows(self._matcher.pool(group)))
        return counts

    def _control_mean(self, pool: int) -> np.ndarray:
        if pool not in self._control_means:
            rows = self._matcher.pool_rows(pool)
            pieces = [rows[first : first + READ_ROWS] for first in range(0, len(rows), READ_ROWS)]
            sums = (np.asarray(self.store.read(piece).sum(axis=0, dtype=np.float64)).ravel() for piece in pieces)
            total = sum(sums, np.zeros(self.store.num_genes))
            self._control_means[pool] = (total / len(rows)).astype(np.float32)
        return self._control_means[pool]

    def control_rows(self) -> np.ndarray:
        """Return the store rows of all controls of the contexts (dataset and cell type) that are predicted.

        Where whole batches are left out, those of the same batches alone: a donor's change is counted from that
        donor's controls, if it has any of the cell type.
        """
        groups = self.store.groups
        predicted = sorted({item.group for item in self._sets})
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
