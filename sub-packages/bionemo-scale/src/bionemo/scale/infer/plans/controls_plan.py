# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Predicts a screen: every control cell of a file or store carried to every perturbation that is asked for."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from bionemo.scale.data.sets.populations import cut_sizes, set_sizes
from bionemo.scale.data.store.format import covariate_column
from bionemo.scale.data.store.reader import Store
from bionemo.scale.infer.controls.control_cells import ControlCells
from bionemo.scale.infer.plans.parts import cut
from bionemo.scale.infer.plans.plan import (
    ControlPool,
    ControlSet,
    check_labels,
    held_out_controls,
    named_obs,
    note_few,
    number_populations,
    number_runs,
)
from bionemo.scale.types import DataCard, Group, GroupMeans, SetKind


SHARED_CELLS = 1024
"""Control cells that go through all perturbations together: a part of a prediction encodes each of its controls
once."""


class _Pieces(NamedTuple):
    """Neighbouring cells of one context in a control set, for every perturbation alike; those of a block together."""

    control_set: np.ndarray
    first: np.ndarray
    size: np.ndarray
    population: np.ndarray
    """[pieces] int64, never falling; as :attr:`bionemo.scale.infer.plans.plan.Plan.population`."""
    block: np.ndarray
    """[pieces] int64, never falling: which go through all perturbations before the next."""


def _blocks(sizes: np.ndarray, population: np.ndarray) -> np.ndarray:
    """Number the blocks of sets that go through all perturbations together."""
    parts = cut(sizes, population, SHARED_CELLS)
    return np.repeat(np.arange(len(parts)), [len(part.sets) for part in parts])


def _covariate_codes(cells: ControlCells, card: DataCard, *, source: Path, hint: str) -> np.ndarray:
    """Return [cells, K] int64, rows of the covariates of a data card.

    Raises:
        InputError: A value is not one the model was trained on.
    """
    codes = np.empty((len(cells.cell_type), len(card.covariates)), dtype=np.int64)
    for number, (key, known, values) in enumerate(
        zip(card.keys.covariates, card.covariates, cells.covariates, strict=True)
    ):
        check_labels(sorted(set(values)), known, kind=key, source=str(source), hint=hint)
        codes[:, number] = [known.index(value) for value in values]
    return codes


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
        store: Store | None = None,
        sets: SetKind = "batch",
    ):
        """Plan the perturbations of some cells.

        Args:
            cells: The controls.
            card: Of the model.
            perturbations: Their labels.
            source: Where the cells are from, for messages.
            set_size: Cells that go through the network together.
            seed: Of random numbers.
            store: Of the training data, where the cells are controls of it.
            sets: What shared a set when the network was trained.

        Raises:
            InputError: If a label is not one the model was trained on.
        """
        self._cells, self._set_size, self._seed, self._card = cells, set_size, seed, card
        self._store = store
        self._is_measured = np.ones(len(cells.names), bool) if cells.is_again is None else ~cells.is_again
        self._pools: dict[int, ControlPool] = {}
        check_labels(perturbations, card.perturbations, kind="perturbation", source="--perturbations")
        hint = "; --allow-unknown predicts it under the unknown label"
        check_labels(sorted(set(cells.cell_type)), card.cell_types, kind="cell type", source=str(source), hint=hint)
        check_labels(sorted(set(cells.batch)), card.batches, kind="batch", source=str(source), hint=hint)
        self._cell_types = np.array([card.cell_types.index(name) for name in cells.cell_type])
        self._batches = np.array([card.batches.index(name) for name in cells.batch])
        self._covariates = _covariate_codes(cells, card, source=source, hint=hint)
        # Cells of one number share cell type and covariates: those that may share a set.
        self._populations = np.unique(
            np.column_stack([self._cell_types, self._covariates]), axis=0, return_inverse=True
        )[1].reshape(-1)
        self._context = self._populations * len(card.batches) + self._batches
        self._is_mixed = sets == "mixed"
        pieces = self._cut_mixed() if self._is_mixed else self._cut()
        asked = np.array([card.perturbations.index(name) for name in perturbations])
        blocks = np.split(np.arange(len(pieces.size)), np.flatnonzero(np.diff(pieces.block)) + 1)
        piece = np.concatenate([np.tile(block, len(asked)) for block in blocks])
        turn = np.concatenate([np.repeat(np.arange(len(asked)), len(block)) for block in blocks])
        self.control_sizes = np.array([len(members) for members in self._members])
        self.control_set, self.first, self.sizes = pieces.control_set[piece], pieces.first[piece], pieces.size[piece]
        self.perturbation = asked[turn]
        self.population = number_runs(pieces.population[piece] * len(asked) + turn)
        self.obs = self._labels(card)
        contexts, batches = (values[self._is_measured].tolist() for values in (cells.context, cells.batch))
        few = note_few(Counter(zip(contexts, batches, strict=True)))
        self.notes = (*cells.notes, *few)

    @property
    def identity(self) -> str:
        """Hash of the cells' expression, and of the store that they are from, if any."""
        matrix, found = self._cells.expression, hashlib.sha256()
        for part in (matrix.indptr, matrix.indices, matrix.data):
            found.update(np.ascontiguousarray(part).data)
        if self._store is not None:
            found.update(self._store.identity.encode())
        return found.hexdigest()

    def controls(self, numbers: Sequence[int]) -> Iterator[ControlSet]:
        """Yield some of the control sets."""
        for number in numbers:
            members = self._members[number]
            yield ControlSet(
                expression=self._cells.expression[members],
                cell_type=int(self._cell_types[members[0]]),
                batch=self._batches[members] if self._is_mixed else int(self._batches[members[0]]),
                seed=int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0]) >> 1,
                covariates=tuple(self._covariates[members[0]].tolist()),
            )

    def group(self, number: int) -> Group:
        """Return the labels of a set's population, without a data set."""
        first, card = self._own_cells(number)[0], self._card
        return Group(
            dataset="",
            cell_type=card.cell_types[self._cell_types[first]],
            perturbation=card.perturbations[self.perturbation[number]],
            batch=card.batches[self._batches[first]],
            covariates=self._names(int(first)),
        )

    def _names(self, cell: int) -> tuple[str, ...]:
        """Return the covariates of a control cell."""
        codes = self._covariates[cell].tolist()
        return tuple(names[code] for names, code in zip(self._card.covariates, codes, strict=True))

    def control_pool(self, number: int) -> ControlPool:
        """Return the controls that the change of a set's population is counted from: those of its labels."""
        context = int(self._context[self._own_cells(number)[0]])
        if context not in self._pools:
            here = (self._context == context) & self._is_measured
            mean = np.asarray(self._cells.expression[np.flatnonzero(here)].mean(axis=0, dtype=np.float64)).ravel()
            self._pools[context] = ControlPool(number=context, mean=mean.astype(np.float32), num_cells=int(here.sum()))
        return self._pools[context]

    def population_mean(self, number: int) -> None:
        """Return nothing: each set stands for its own cells."""

    def control_groups(self) -> GroupMeans | None:
        """Return the pseudobulks of the cells by cell type, covariates and batch, without a data set.

        Of a store: of all cells of its held-out controls, ``None`` where all were trained.
        """
        if self._store is not None:
            asked = np.isin(self._store.groups.cell_type, self._cell_types)
            return held_out_controls(self._store, np.flatnonzero(asked))
        card, cells = self._card, self._cells.expression
        # As they were measured: under another time they say nothing of the expression at that time.
        measured = list(zip(*(self._cells.measured or self._cells.covariates), strict=True)) or [()] * len(
            self._batches
        )
        labels = list(zip(self._cell_types.tolist(), self._batches.tolist(), measured, strict=True))
        contexts, is_measured = sorted(set(labels)), self._is_measured
        members = [np.flatnonzero(is_measured & [label == context for label in labels]) for context in contexts]
        return GroupMeans(
            groups=tuple(Group("", card.cell_types[t], card.control, card.batches[b], own) for t, b, own in contexts),
            means=np.stack([np.asarray(cells[rows].mean(axis=0, dtype=np.float64)).ravel() for rows in members]),
            counts=np.array([len(rows) for rows in members], dtype=np.int64),
        )

    def _own_cells(self, number: int) -> np.ndarray:
        """Return the control cells that a set of the plan takes."""
        first = self.first[number]
        return self._members[self.control_set[number]][first : first + self.sizes[number]]

    def _cut(self) -> "_Pieces":
        """Make control sets of one batch each, and every one a piece."""
        self._members = []
        for context in np.unique(self._context).tolist():
            members = np.flatnonzero(self._context == context)
            self._members += [
                members[first : first + self._set_size] for first in range(0, len(members), self._set_size)
            ]
        sizes = np.array([len(members) for members in self._members])
        population = number_populations(np.array([self._context[members[0]] for members in self._members]), sizes)
        number = np.arange(len(sizes))
        return _Pieces(number, np.zeros_like(number), sizes, population, _blocks(sizes, population))

    def _cut_mixed(self) -> "_Pieces":
        """Make control sets of all batches of a cell type, of the sizes that training has, and pieces of one batch."""
        self._members, found = [], []
        sizes = set_sizes(self._set_size, "mixed")
        for population in np.unique(self._populations).tolist():
            cells = np.flatnonzero(self._populations == population)
            cells = np.random.default_rng([self._seed, *self._key(int(cells[0]))]).permutation(cells)
            first = 0
            for size in np.repeat(sizes, cut_sizes(np.array([len(cells)]), sizes)[0]).tolist():
                members = cells[np.arange(first, first + size) % len(cells)]
                own = members[: min(size, len(cells) - first)]
                own[:] = own[np.argsort(self._context[own], kind="stable")]
                begins = np.flatnonzero(np.diff(self._context[own], prepend=-1))
                lengths = np.diff(begins, append=len(own))
                number = np.full(len(begins), len(self._members))
                found.append(np.stack([number, begins, lengths, self._context[own[begins]]]))
                self._members.append(members)
                first += size
        number, begins, lengths, context = np.concatenate(found, axis=1)
        of_sets = np.array([len(members) for members in self._members])
        block = _blocks(of_sets, np.arange(len(of_sets)))[number]
        order = np.lexsort((number, context, block))
        populations = number_populations((block * (1 + context.max()) + context)[order], lengths[order])
        return _Pieces(number[order], begins[order], lengths[order], populations, block[order])

    def _key(self, cell: int) -> list[int]:
        """Return the codes of a cell's type and covariates."""
        return [int(self._cell_types[cell]), *self._covariates[cell].tolist()]

    def _labels(self, card: DataCard) -> pd.DataFrame:
        """Return the labels as codes: a screen has millions of rows and few labels."""
        everyone = np.concatenate([self._own_cells(number) for number in range(len(self.sizes))])
        codes = {
            "cell_type": (self._cell_types[everyone], card.cell_types),
            "perturbation": (np.repeat(self.perturbation, self.sizes), card.perturbations),
            "batch": (self._batches[everyone], card.batches),
            **{
                covariate_column(number): (self._covariates[everyone, number], names)
                for number, names in enumerate(card.covariates)
            },
        }
        obs = named_obs(
            pd.DataFrame({name: pd.Categorical.from_codes(rows, names) for name, (rows, names) in codes.items()}), card
        )
        obs.index = [f"predicted-{i}" for i in range(len(obs))]
        name_codes, names = pd.factorize(self._cells.names)
        obs["control_cell"] = pd.Categorical.from_codes(name_codes[everyone], names)
        return obs
