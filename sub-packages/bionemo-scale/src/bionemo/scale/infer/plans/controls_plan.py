# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Predicts a screen: every control cell of a file or store carried to every perturbation that is asked for."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from bionemo.scale.infer.controls.control_cells import ControlCells
from bionemo.scale.infer.plans.parts import cut
from bionemo.scale.infer.plans.plan import (
    ControlPool,
    ControlSet,
    check_labels,
    named_obs,
    note_few,
    number_populations,
    number_runs,
)
from bionemo.scale.types import DataCard, Group, GroupMeans


SHARED_CELLS = 1024
"""Control cells that go through all perturbations together: a part of a prediction encodes each of its controls
once."""


class ControlsPlan:
    """Every control cell of a file carried to every perturbation that is asked for.

    A set of controls has the same random numbers under every perturbation: what differs between two predictions of it
    is the perturbation alone. Neighbouring sets go through all perturbations before the next are taken up.
    """

    def __init__(
        self,
        cells: ControlCells,
        card: DataCard,
        perturbations: Sequence[str],
        *,
        source: Path,
        set_size: int,
        seed: int,
        are_trained: bool = False,
    ):
        """Plan the perturbations of some cells.

        Args:
            cells: The controls.
            card: Of the model.
            perturbations: Their labels.
            source: Where the cells are from, for messages.
            set_size: Cells that go through the network together.
            seed: Of random numbers.
            are_trained: Whether the cells are controls of the training data.

        Raises:
            InputError: If a label is not one the model was trained on.
        """
        self._cells, self._set_size, self._seed, self._card = cells, set_size, seed, card
        self._are_trained = are_trained
        self._pools: dict[int, ControlPool] = {}
        check_labels(perturbations, card.perturbations, kind="perturbation", source="--perturbations")
        hint = "; --allow-unknown predicts it under the unknown label"
        check_labels(sorted(set(cells.cell_type)), card.cell_types, kind="cell type", source=str(source), hint=hint)
        check_labels(sorted(set(cells.batch)), card.batches, kind="batch", source=str(source), hint=hint)
        self._cell_types = np.array([card.cell_types.index(name) for name in cells.cell_type])
        self._batches = np.array([card.batches.index(name) for name in cells.batch])
        self._pieces = list(self._cut())
        lengths = np.array([len(piece) for piece in self._pieces])
        first = np.array([piece[0] for piece in self._pieces])
        context = self._cell_types[first] * len(card.batches) + self._batches[first]
        together = number_populations(context, lengths)
        blocks = [part.sets for part in cut(lengths, together, SHARED_CELLS)]
        asked = np.array([card.perturbations.index(name) for name in perturbations])
        self.control_set = np.concatenate([np.tile(block, len(asked)) for block in blocks])
        turn = np.concatenate([np.repeat(np.arange(len(asked)), len(block)) for block in blocks])
        self.perturbation = asked[turn]
        self.sizes = lengths[self.control_set]
        self.population = number_runs(together[self.control_set] * len(asked) + turn)
        self.obs = self._labels(card)
        few = note_few(Counter(zip(cells.cell_type.tolist(), cells.batch.tolist(), strict=True)))
        self.notes = (*cells.notes, *few)

    def controls(self, numbers: Sequence[int]) -> Iterator[ControlSet]:
        """Yield some of the control sets."""
        for number in numbers:
            members = self._pieces[number]
            yield ControlSet(
                expression=self._cells.expression[members],
                cell_type=int(self._cell_types[members[0]]),
                batch=int(self._batches[members[0]]),
                seed=int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0]) >> 1,
            )

    def group(self, number: int) -> Group:
        """Return the labels of a set's population, without a data set."""
        first, card = self._pieces[self.control_set[number]][0], self._card
        return Group(
            dataset="",
            cell_type=card.cell_types[self._cell_types[first]],
            perturbation=card.perturbations[self.perturbation[number]],
            batch=card.batches[self._batches[first]],
        )

    def control_pool(self, number: int) -> ControlPool:
        """Return the controls that the change of a set's population is counted from: those of its labels."""
        first = self._pieces[self.control_set[number]][0]
        context = int(self._cell_types[first] * len(self._card.batches) + self._batches[first])
        if context not in self._pools:
            here = (self._cell_types == self._cell_types[first]) & (self._batches == self._batches[first])
            mean = np.asarray(self._cells.expression[np.flatnonzero(here)].mean(axis=0, dtype=np.float64)).ravel()
            self._pools[context] = ControlPool(number=context, mean=mean.astype(np.float32), num_cells=int(here.sum()))
        return self._pools[context]

    def control_groups(self) -> GroupMeans | None:
        """Return the pseudobulks of the cells by cell type and batch, without a data set."""
        if self._are_trained:
            return None
        card, cells = self._card, self._cells.expression
        labels = list(zip(self._cell_types.tolist(), self._batches.tolist(), strict=True))
        contexts = sorted(set(labels))
        members = [np.flatnonzero([label == context for label in labels]) for context in contexts]
        return GroupMeans(
            groups=tuple(Group("", card.cell_types[t], card.control, card.batches[b]) for t, b in contexts),
            means=np.stack([np.asarray(cells[rows].mean(axis=0, dtype=np.float64)).ravel() for rows in members]),
            counts=np.array([len(rows) for rows in members], dtype=np.int64),
        )

    def _cut(self) -> Iterator[np.ndarray]:
        """Yield the members of each control set."""
        contexts = sorted(set(zip(self._cell_types.tolist(), self._batches.tolist(), strict=True)))
        for cell_type, batch in contexts:
            members = np.flatnonzero((self._cell_types == cell_type) & (self._batches == batch))
            for first in range(0, len(members), self._set_size):
                yield members[first : first + self._set_size]

    def _labels(self, card: DataCard) -> pd.DataFrame:
        """Return the labels as codes: a screen has millions of rows and few labels."""
        everyone = np.concatenate([self._pieces[number] for number in self.control_set.tolist()])
        codes = {
            "cell_type": (self._cell_types[everyone], card.cell_types),
            "perturbation": (np.repeat(self.perturbation, self.sizes), card.perturbations),
            "batch": (self._batches[everyone], card.batches),
        }
        obs = named_obs(
            pd.DataFrame({name: pd.Categorical.from_codes(rows, names) for name, (rows, names) in codes.items()}), card
        )
        obs.index = [f"predicted-{i}" for i in range(len(obs))]
        name_codes, names = pd.factorize(self._cells.names)
        obs["control_cell"] = pd.Categorical.from_codes(name_codes[everyone], names)
        return obs
