# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Tests of every perturbation and gene of a context, as arrays.

A table of them names the perturbation, the control and the gene in each row, which takes more memory than all its
numbers. It is made of some perturbations at a time, where a file or cell-eval asks for it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from jaxtyping import Int


LABELS = ("target", "reference", "feature")
"""Columns of pdex that are no numbers: perturbation, control and gene."""
_ROWS_AT_ONCE = 1 << 18
"""Rows of a table that are in memory together."""


@dataclass(frozen=True, kw_only=True)
class GeneTests:
    """Tests of P perturbations against one control, gene by gene."""

    names: tuple[str, ...]
    """The perturbations, sorted."""
    listed: Int[np.ndarray, " P"]
    """Rows of the perturbations in the order in which pdex lists them."""
    genes: tuple[str, ...]
    control: str
    columns: Mapping[str, np.ndarray]
    """Name in pdex's table to [P, G] numbers, in its order."""

    @classmethod
    def of_frame(cls, frame: pl.DataFrame, num_genes: int) -> "GeneTests":
        """Return the tests of a table that has all genes of a perturbation together.

        Args:
            frame: Of pdex.
            num_genes: Rows of each perturbation.
        """
        targets = frame["target"].gather_every(num_genes).to_list()
        order = np.argsort(np.array(targets, dtype=object), kind="stable")
        numbers = [name for name in frame.columns if name not in LABELS]
        return cls(
            names=tuple(targets[row] for row in order),
            listed=np.argsort(order),
            genes=tuple(frame["feature"][:num_genes].to_list()),
            control=str(frame["reference"][0]),
            columns={name: frame[name].to_numpy().reshape(len(targets), num_genes)[order] for name in numbers},
        )

    def numbers(self, column: str) -> np.ndarray:
        """Return a column, [P, G] float64."""
        return self.columns[column].astype(np.float64, copy=False)

    def part(self, rows: slice) -> "GeneTests":
        """Return the tests of some perturbations, listed as they are sorted."""
        columns = {name: values[rows] for name, values in self.columns.items()}
        names = self.names[rows]
        return replace(self, names=names, listed=np.arange(len(names)), columns=columns)

    def only(self, *names: str) -> "GeneTests":
        """Return the same with some columns alone, so that others can be let go."""
        return replace(self, columns={name: self.columns[name] for name in names})

    def frame(self) -> pl.DataFrame:
        """Return one row for each perturbation and gene, with pdex's columns."""
        return self._frame(self.listed)

    def frames(self) -> Iterator[pl.DataFrame]:
        """Yield the same table in parts, some perturbations at a time."""
        step = max(1, _ROWS_AT_ONCE // len(self.genes))
        for first in range(0, len(self.listed), step):
            yield self._frame(self.listed[first : first + step])

    def _frame(self, rows: np.ndarray) -> pl.DataFrame:
        num, genes = len(rows), pl.Series(self.genes, dtype=pl.String)
        labels = {
            "target": pl.Series([self.names[row] for row in rows], dtype=pl.String).gather(
                np.repeat(np.arange(num), len(genes))
            ),
            "reference": pl.repeat(self.control, num * len(genes), eager=True),
            "feature": genes.gather(np.tile(np.arange(len(genes)), num)),
        }
        return pl.DataFrame({**labels, **{name: values[rows].reshape(-1) for name, values in self.columns.items()}})
