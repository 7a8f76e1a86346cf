# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Which populations to predict, from which control cells."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from bionemo.scale.data.sets.controls import ControlMatcher
from bionemo.scale.data.sets.dataset import PredictionSet, prediction_sets
from bionemo.scale.data.store.reader import Store
from bionemo.scale.files.suggest import suggest
from bionemo.scale.infer.controls.control_cells import ControlCells
from bionemo.scale.infer.parts import cut
from bionemo.scale.population import note_few_controls
from bionemo.scale.types import DataCard, Group, GroupMeans, InputError, Split


READ_ROWS = 4096
"""Cells read at once when many are needed."""
POPULATION_CELLS = 512
"""Most cells whose zeros are placed together, and whose means are exact; larger populations are divided."""
SHARED_CELLS = 1024
"""Control cells that go through all perturbations together: a part of a prediction encodes each of its controls once."""


@dataclass(frozen=True, kw_only=True)
class ControlSet:
    """Control cells that go through the network together, whatever perturbation they are carried to."""

    expression: csr_matrix
    """[n, G] log1p."""
    cell_type: int
    batch: int
    seed: int
    population_mean: np.ndarray | None = None
    """[G] mean of all cells that the set's were drawn from; ``None`` where the set stands for its own cells."""


@runtime_checkable
class Plan(Protocol):
    """Populations to predict: sets of cells, each a control set under a perturbation."""

    obs: pd.DataFrame
    """Labels of every predicted cell, in the order of the sets."""
    sizes: np.ndarray
    """[sets] int64, cells of each set."""
    control_set: np.ndarray
    """[sets] int64, the number of the control set that each begins as."""
    perturbation: np.ndarray
    """[sets] int64, rows of the data card's perturbations."""
    notes: tuple[str, ...]
    """What the user should know of the control cells."""
    population: np.ndarray
    """[sets] int64, never falling: sets of one number are neighbours of one cell type, perturbation and batch, and get
    their zeros together."""

    def controls(self, numbers: Sequence[int]) -> Iterator[ControlSet]:
        """Yield some of the control sets, reading their cells as they are needed."""

    def group(self, number: int) -> Group:
        """Return the labels of a set's population; no data set ("") where none is known."""

    def control_groups(self) -> GroupMeans | None:
        """Return the pseudobulks of the controls at hand, ``None`` where they are those of the training data."""


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
        self._sets: list[PredictionSet] = list(prediction_sets(store, split, set_size, seed))
        if not self._sets:
            raise InputError(f"{store.path}: expected cells in the split {split!r}, found none")
        self.sizes = np.array([len(item.control_rows) for item in self._sets])
        # Controls are drawn for every group anew: no two sets begin as the same cells.
        self.control_set = np.arange(len(self._sets))
        group = np.array([item.group for item in self._sets])
        self.perturbation = store.groups.perturbation[group]
        self.population = _populations(group, self.sizes)
        self.rows = np.concatenate([item.perturbed_rows for item in self._sets])
        """[cells] store rows of the measured cells, in the order of the predicted ones."""
        controls = store.obs(np.concatenate([item.control_rows for item in self._sets]))
        self.obs = named_obs(store.obs(self.rows), store.card)
        self.obs.index = [f"predicted-{i}" for i in range(len(self.obs))]
        self.obs["control_cell"] = controls["cell"].to_numpy()
        self.notes = _note_few(self._num_controls())

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
            total = sum(np.asarray(self.store.read(piece).sum(axis=0, dtype=np.float64)).ravel() for piece in pieces)
            self._control_means[pool] = (total / len(rows)).astype(np.float32)
        return self._control_means[pool]

    def control_rows(self) -> np.ndarray:
        """Return the store rows of all controls of the contexts (dataset and cell type) that are predicted."""
        groups = self.store.groups
        predicted = sorted({item.group for item in self._sets})
        contexts = {(int(groups.dataset[i]), int(groups.cell_type[i])) for i in predicted}
        chosen = [
            groups.rows(i)
            for i in np.flatnonzero(groups.is_control).tolist()
            if (int(groups.dataset[i]), int(groups.cell_type[i])) in contexts
        ]
        return np.concatenate(chosen)


class ControlsPlan:
    """Every control cell of a file carried to every perturbation that is asked for.

    A set of controls has the same random numbers under every perturbation: what differs between two predictions of it is
    the perturbation alone. Neighbouring sets go through all perturbations before the next are taken up.
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
        together = _populations(context, lengths)
        blocks = [part.sets for part in cut(lengths, together, SHARED_CELLS)]
        asked = np.array([card.perturbations.index(name) for name in perturbations])
        self.control_set = np.concatenate([np.tile(block, len(asked)) for block in blocks])
        turn = np.concatenate([np.repeat(np.arange(len(asked)), len(block)) for block in blocks])
        self.perturbation = asked[turn]
        self.sizes = lengths[self.control_set]
        self.population = _number_runs(together[self.control_set] * len(asked) + turn)
        self.obs = self._labels(card)
        few = _note_few(Counter(zip(cells.cell_type.tolist(), cells.batch.tolist(), strict=True)))
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


def _populations(labels: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Number the populations of sets; neighbours of one label are one, or several of about the same size."""
    runs, pieces = _number_runs(labels), np.zeros(len(sizes), dtype=np.int64)
    for run in range(int(runs[-1]) + 1):
        members = np.flatnonzero(runs == run)
        count = -(-int(sizes[members].sum()) // POPULATION_CELLS)
        for number, piece in enumerate(np.array_split(members, min(count, len(members)))):
            pieces[piece] = number
    return _number_runs(runs * (int(pieces.max()) + 1) + pieces)


def _number_runs(values: np.ndarray) -> np.ndarray:
    """Number runs of equal neighbours from 0 on."""
    return np.cumsum(np.diff(values, prepend=values[0]) != 0)


def _note_few(counts: Mapping[tuple[str, str], int]) -> tuple[str, ...]:
    note = note_few_controls(counts)
    return () if note is None else (note,)


def check_labels(names: Sequence[str], known: Sequence[str], *, kind: str, source: str, hint: str = "") -> None:
    """Refuse labels that a model has no embedding for.

    Raises:
        InputError: Naming the first unknown label and the nearest known ones.
    """
    for name in names:
        if name not in known:
            raise InputError(f"{source}: unknown {kind} {name!r}; {suggest(name, known)}{hint}")


def named_obs(table: pd.DataFrame, card: DataCard) -> pd.DataFrame:
    """Return labels under the obs column names of the training data."""
    names = {"cell_type": card.keys.cell_type, "perturbation": card.keys.perturbation, "batch": card.keys.batch}
    # One column can play two parts, a batch that is the context too.
    columns = {column: table[label].astype("category").array for label, column in names.items()}
    return pd.DataFrame(columns)
