# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The table of groups of a store: labels, split and place of the cells that sets are drawn from."""

from dataclasses import dataclass, field
from typing import Any, SupportsIndex

import numpy as np

from bionemo.scale.types import Group, Split


_ARRAYS = {
    "dataset": np.int32,
    "cell_type": np.int32,
    "perturbation": np.int32,
    "batch": np.int32,
    "split": np.str_,
    "first_row": np.int64,
    "num_cells": np.int64,
    "shard": np.int32,
}


@dataclass(frozen=True, kw_only=True)
class GroupTable:
    """One row a group, ordered by ``first_row``; rows of a group are consecutive in the store.

    Control groups have the split ``train``, whatever is matched with them, but where a split file holds the controls
    of a cell type out.
    """

    dataset: np.ndarray
    """[groups] int32, row in ``datasets``."""
    cell_type: np.ndarray
    """[groups] int32, row in ``cell_types``."""
    perturbation: np.ndarray
    """[groups] int32, row in ``perturbations``; -1 for control."""
    batch: np.ndarray
    """[groups] int32, row in ``batches``."""
    split: np.ndarray
    """[groups] strings, comparable with :class:`~bionemo.scale.types.Split`."""
    first_row: np.ndarray
    """[groups] int64, store row of the first cell."""
    num_cells: np.ndarray
    """[groups] int64."""
    shard: np.ndarray
    """[groups] int32, number of the pair of shards that holds the cells."""
    datasets: tuple[str, ...]
    cell_types: tuple[str, ...]
    perturbations: tuple[str, ...]
    batches: tuple[str, ...]
    control: str
    covariate: np.ndarray = field(default_factory=lambda: np.empty((0, 0), dtype=np.int32))
    """[groups, K] int32, row in each of the K ``covariates``; of no size where there are none."""
    covariates: tuple[tuple[str, ...], ...] = ()

    def __len__(self) -> int:
        return len(self.first_row)

    @property
    def is_control(self) -> np.ndarray:
        """[groups] bool."""
        return self.perturbation < 0

    def label(self, index: SupportsIndex) -> Group:
        """Return the labels of a group by name."""
        perturbation = int(self.perturbation[index])
        return Group(
            dataset=self.datasets[self.dataset[index]],
            cell_type=self.cell_types[self.cell_type[index]],
            perturbation=self.control if perturbation < 0 else self.perturbations[perturbation],
            batch=self.batches[self.batch[index]],
            covariates=self.covariates_of(index),
        )

    def covariates_of(self, index: SupportsIndex) -> tuple[str, ...]:
        """Return a group's value of each covariate."""
        codes = self.covariate[index].tolist() if self.covariates else []
        return tuple(names[code] for names, code in zip(self.covariates, codes, strict=True))

    def labels_of(self, chosen: np.ndarray, *names: str) -> np.ndarray:
        """Return [n, names + K] int64, codes of some labels and of all covariates: rows are equal where these are."""
        columns = [getattr(self, name)[chosen] for name in names]
        columns += list(self.covariate[chosen].T) if self.covariates else []
        return np.stack(columns, axis=1).astype(np.int64)

    def perturbed_in(self, split: Split) -> np.ndarray:
        """Return the indices of the perturbed groups of a split, ascending."""
        return np.flatnonzero((self.split == split) & ~self.is_control)

    def training_controls(self) -> np.ndarray:
        """Return the indices of the control groups that training may use, ascending."""
        return np.flatnonzero((self.split == Split.TRAIN) & self.is_control)

    def held_out_controls(self, chosen: np.ndarray) -> np.ndarray:
        """Return the control groups, ascending, that share data set and cell type with some groups and are held out.

        Args:
            chosen: [n] int64, indices of groups.
        """
        contexts = set(map(tuple, np.stack([self.dataset[chosen], self.cell_type[chosen]], axis=1).tolist()))
        held_out = np.flatnonzero((self.split != Split.TRAIN) & self.is_control)
        own = [(int(self.dataset[i]), int(self.cell_type[i])) in contexts for i in held_out.tolist()]
        return held_out[np.array(own, dtype=bool)]

    def rows(self, index: SupportsIndex) -> np.ndarray:
        """Return the store rows of a group's cells, [num_cells] int64."""
        first = int(self.first_row[index])
        return np.arange(first, first + int(self.num_cells[index]))

    def to_columns(self) -> dict[str, list[Any]]:
        """Return the arrays as lists, for JSON."""
        columns = {name: getattr(self, name).tolist() for name in _ARRAYS}
        return {**columns, "covariate": self.covariate.tolist()} if self.covariates else columns

    @classmethod
    def from_columns(cls, columns: dict[str, list[Any]], **vocabularies: Any) -> "GroupTable":
        """Build the table from :meth:`to_columns` and the vocabularies.

        Args:
            columns: Lists by array name.
            **vocabularies: ``datasets``, ``cell_types``, ``perturbations``, ``batches``, ``control`` and, if there are
                any, ``covariates``.

        Raises:
            ValueError: Columns differ in length, a label or a split is unknown, or rows overlap.
        """
        arrays: dict[str, Any] = {name: np.asarray(columns[name], dtype=dtype) for name, dtype in _ARRAYS.items()}
        if vocabularies.get("covariates"):
            codes = np.asarray(columns["covariate"], dtype=np.int32)
            arrays["covariate"] = codes.reshape(-1, len(vocabularies["covariates"]))
        table = cls(**arrays, **vocabularies)
        table._check()
        return table

    def _check_covariates(self) -> None:
        if self.covariates and len(self.covariate) != len(self):
            raise ValueError(f"covariate must have {len(self)} entries, one a group")
        for column, names in enumerate(self.covariates):
            codes = self.covariate[:, column]
            if ((codes < 0) | (codes >= len(names))).any():
                raise ValueError(f"covariate must be rows of {len(names)} labels, found others")

    def _check(self) -> None:
        for name in _ARRAYS:
            if getattr(self, name).shape != self.first_row.shape or self.first_row.ndim != 1:
                raise ValueError(f"{name} must have {len(self.first_row)} entries, one a group")
        for name, known, lowest in (
            ("dataset", self.datasets, 0),
            ("cell_type", self.cell_types, 0),
            ("perturbation", self.perturbations, -1),
            ("batch", self.batches, 0),
        ):
            codes = getattr(self, name)
            if ((codes < lowest) | (codes >= len(known))).any():
                raise ValueError(f"{name} must be rows of {len(known)} labels, found others")
        self._check_covariates()
        unknown = set(self.split.tolist()) - set(Split)
        if unknown:
            raise ValueError(f"split must be train, val or test, found {min(unknown)!r}")
        ends = np.cumsum(self.num_cells)
        if (self.num_cells < 0).any() or not np.array_equal(self.first_row, ends - self.num_cells):
            raise ValueError("expected groups one after the other, found rows that overlap or are left out")
        if len(self.shard) and (self.shard[0] < 0 or (np.diff(self.shard) < 0).any()):
            raise ValueError("expected groups in the order of their files")
