# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Labelled cells, the one thing that metrics, baselines and cell-eval are fed with."""

from dataclasses import dataclass, replace
from typing import TypeAlias

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from bionemo.scale.eval.cells.stored import StoredMatrix


Expression: TypeAlias = np.ndarray | sparse.csr_matrix | StoredMatrix

PERTURBATION = "perturbation"
"""obs column of the AnnData made by :func:`to_anndata`."""
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True, kw_only=True)
class Population:
    """Cells with their labels; expression is log1p of library-size normalised counts."""

    expression: Expression
    """[cells, G] float32, in memory or still in its file."""
    genes: tuple[str, ...]
    """Names of the G columns, in order."""
    perturbation: np.ndarray
    """[cells] str."""
    cell_type: np.ndarray
    """[cells] str, the context of a cell."""
    batch: np.ndarray
    """[cells] str."""
    unit: np.ndarray | None = None
    """[cells] float64, what one count of a cell is worth before log1p, of cells that were read as counts."""
    replicate: np.ndarray | None = None
    """[cells] str, donor, plate or culture, where a column was named."""
    measured_context: np.ndarray | None = None
    """[cells] str, the context that a cell was measured in, where controls stand in for those of other contexts."""

    def __len__(self) -> int:
        """Return the number of cells."""
        return self.expression.shape[0]

    def select(self, rows: np.ndarray) -> "Population":
        """Return the cells of a boolean mask or of an index, in that order."""
        stored = self.expression
        return replace(
            self,
            expression=stored.select(rows) if isinstance(stored, StoredMatrix) else stored[rows],
            perturbation=self.perturbation[rows],
            cell_type=self.cell_type[rows],
            batch=self.batch[rows],
            unit=None if self.unit is None else self.unit[rows],
            replicate=None if self.replicate is None else self.replicate[rows],
            measured_context=None if self.measured_context is None else self.measured_context[rows],
        )

    def with_genes(self, genes: tuple[str, ...]) -> "Population":
        """Return the same cells with columns picked and ordered by name; every name must be present."""
        if genes == self.genes:
            return self
        column = {gene: index for index, gene in enumerate(self.genes)}
        columns, stored = [column[gene] for gene in genes], self.expression
        picked = stored.with_columns(columns) if isinstance(stored, StoredMatrix) else stored[:, columns]
        return replace(self, expression=picked, genes=genes)

    def dense(self) -> np.ndarray:
        """Return the expression as a dense array, [cells, G] float32."""
        if isinstance(self.expression, np.ndarray):
            return self.expression
        out = np.empty(self.expression.shape, dtype=np.float32)
        self.copy_to(out)
        return out

    def copy_to(self, out: np.ndarray) -> None:
        """Write the expression into ``out``, [cells, G] float32, without another dense copy."""
        if isinstance(self.expression, StoredMatrix):
            self.expression.copy_to(out)
        elif isinstance(self.expression, np.ndarray):
            out[:] = self.expression
        else:
            for start in range(0, len(out), _ROWS_AT_ONCE):
                block = slice(start, start + _ROWS_AT_ONCE)
                out[block] = self.expression[block].toarray()

    def pairs(self) -> set[tuple[str, str]]:
        """Return the distinct (cell type, perturbation) pairs."""
        return set(zip(self.cell_type.tolist(), self.perturbation.tolist(), strict=True))


def to_anndata(*, expression: np.ndarray, perturbation: np.ndarray, genes: tuple[str, ...]) -> ad.AnnData:
    """Wrap cells for cell-eval and pdex.

    Args:
        expression: [cells, G] float32.
        perturbation: [cells] labels, the control's included.
        genes: G names.
    """
    obs = pd.DataFrame({PERTURBATION: perturbation.astype(object)}, index=[str(i) for i in range(len(perturbation))])
    return ad.AnnData(X=expression, obs=obs, var=pd.DataFrame(index=list(genes)))


def rows_by_label(labels: np.ndarray) -> dict[str, np.ndarray]:
    """Return each distinct label, sorted, with its rows, ascending."""
    names, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    rows = np.split(np.argsort(inverse, kind="stable"), np.cumsum(counts)[:-1])
    return dict(zip(names.tolist(), rows, strict=True))


def group_means(*, expression: np.ndarray, rows: dict[str, np.ndarray]) -> np.ndarray:
    """Return the pseudobulk of each group, [groups, G] float64 (eq. 39).

    Args:
        expression: [cells, G].
        rows: Group to its rows, as :func:`rows_by_label` gives them.
    """
    means = np.empty((len(rows), expression.shape[1]))
    for row, members in enumerate(rows.values()):
        means[row] = expression[members].mean(axis=0, dtype=np.float64)
    return means
