# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a prediction is made of: sets of control cells, each under a perturbation."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from bionemo.scale.data.store.format import covariate_column
from bionemo.scale.data.store.reader import Store
from bionemo.scale.files.suggest import suggest
from bionemo.scale.infer.controls.control_cells import contexts_of
from bionemo.scale.population import note_few_controls
from bionemo.scale.types import DataCard, Group, GroupMeans, InputError


READ_ROWS = 4096
"""Cells read at once when many are needed."""
POPULATION_CELLS = 512
"""Most cells whose zeros are placed together, and whose means are exact; larger populations are divided."""


@dataclass(frozen=True, kw_only=True)
class ControlSet:
    """Control cells that go through the network together, whatever perturbation they are carried to."""

    expression: csr_matrix
    """[n, G] log1p."""
    cell_type: int
    batch: int | np.ndarray
    """[n] int64, one a cell, where the cells are of several batches."""
    seed: int
    covariates: tuple[int, ...] = ()
    """Row of each covariate's value in the data card."""

    def part(self, first: int, size: int) -> "ControlSet":
        """Return some neighbouring cells."""
        if size == self.expression.shape[0]:
            return self
        of_cells = self.batch if isinstance(self.batch, int) else self.batch[first : first + size]
        return replace(self, expression=self.expression[first : first + size], batch=of_cells)


class ControlPool(NamedTuple):
    """The control cells whose mean the change of a population is counted from."""

    number: int
    """Which one it is in its plan."""
    mean: np.ndarray
    """[G] float32."""
    num_cells: int


@runtime_checkable
class Plan(Protocol):
    """Populations to predict: sets of cells, each a control set under a perturbation."""

    obs: pd.DataFrame
    """Labels of every predicted cell, in the order of the sets."""
    sizes: np.ndarray
    """[sets] int64, cells of each set."""
    control_set: np.ndarray
    """[sets] int64, the number of the control set that each begins as a part of."""
    first: np.ndarray
    """[sets] int64, where in its control set that part begins."""
    control_sizes: np.ndarray
    """[control sets] int64, cells of each, fillers that no set takes included."""
    perturbation: np.ndarray
    """[sets] int64, rows of the data card's perturbations."""
    notes: tuple[str, ...]
    """What the user should know of the control cells."""
    population: np.ndarray
    """[sets] int64, never falling: sets of one number are neighbours of one cell type, perturbation and batch, and get
    their zeros together."""

    @property
    def identity(self) -> str:
        """Hash of the control cells' expression, and of whatever else is read of where they are from."""

    def controls(self, numbers: Sequence[int]) -> Iterator[ControlSet]:
        """Yield some of the control sets, reading their cells as they are needed."""

    def group(self, number: int) -> Group:
        """Return the labels of a set's population; no data set ("") where none is known."""

    def control_pool(self, number: int) -> ControlPool:
        """Return the controls that the change of a set's population is counted from."""

    def population_mean(self, number: int) -> np.ndarray | None:
        """Return [G] the mean of all controls that a set's were drawn from, ``None`` where it stands for its own."""

    def control_groups(self) -> GroupMeans | None:
        """Return the pseudobulks of the controls at hand, ``None`` where they are those of the training data."""


def held_out_controls(store: Store, chosen: np.ndarray) -> GroupMeans | None:
    """Return the pseudobulks of the controls that are no training data, of the contexts of some groups.

    The controls of a store are those of the training data, but for those that a split file holds out. They were
    measured before anything is predicted, so that predictions may start from them.

    Args:
        store: The store.
        chosen: [n] int64, indices of groups.

    Returns:
        ``None`` where there are none.
    """
    held_out = store.groups.held_out_controls(chosen)
    return store.pseudobulks(held_out) if len(held_out) else None


def number_populations(labels: np.ndarray, sizes: np.ndarray, population_cells: int = POPULATION_CELLS) -> np.ndarray:
    """Number the populations of sets: neighbours of one label are one population, or several of about the same size.

    Args:
        labels: [sets] int64.
        sizes: [sets] int64, cells of each.
        population_cells: About the most cells of a population.

    Returns:
        [sets] int64, from 0 on, never falling.
    """
    runs, pieces = number_runs(labels), np.zeros(len(sizes), dtype=np.int64)
    for run in range(int(runs[-1]) + 1):
        members = np.flatnonzero(runs == run)
        count = -(-int(sizes[members].sum()) // population_cells)
        for number, piece in enumerate(np.array_split(members, min(count, len(members)))):
            pieces[piece] = number
    return number_runs(runs * (int(pieces.max()) + 1) + pieces)


def number_runs(values: np.ndarray) -> np.ndarray:
    """Number runs of equal neighbours from 0 on."""
    return np.cumsum(np.diff(values, prepend=values[0]) != 0)


def note_few(counts: Mapping[tuple[str, str], int]) -> tuple[str, ...]:
    """Return what the user should know of (cell type, batch) pairs with few control cells."""
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
    names |= {covariate_column(number): key for number, key in enumerate(card.keys.covariates)}
    # One column can play two parts, a batch that is the context too.
    columns = {column: table[label].astype("category").array for label, column in names.items()}
    return pd.DataFrame(columns)


def predicted_contexts(plan: Plan, card: DataCard) -> list[str]:
    """Return the contexts of a plan's cells: their cell types with their covariates."""
    columns = [card.keys.cell_type, *card.keys.covariates]
    table = plan.obs[columns].drop_duplicates().astype(str)
    return contexts_of([table[key].to_numpy(dtype=object) for key in columns]).tolist()
