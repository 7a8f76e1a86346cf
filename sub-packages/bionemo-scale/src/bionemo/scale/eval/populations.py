# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Labelled cells, the one thing that metrics, baselines and cell-eval are fed with."""

from dataclasses import dataclass, replace

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse


PERTURBATION = "perturbation"
"""obs column of the AnnData made by :func:`to_anndata`."""


@dataclass(frozen=True, kw_only=True)
class Population:
    """Cells with their labels; expression is log1p of library-size normalised counts."""

    expression: np.ndarray | sparse.csr_matrix
    """[cells, G] float32."""
    genes: tuple[str, ...]
    """Names of the G columns, in order."""
    perturbation: np.ndarray
    """[cells] str."""
    cell_type: np.ndarray
    """[cells] str, the context of a cell."""
    batch: np.ndarray
    """[cells] str."""

    def __len__(self) -> int:
        """Return the number of cells."""
        return self.expression.shape[0]

    def select(self, rows: np.ndarray) -> "Population":
        """Return the cells of a boolean mask or of an index, in that order."""
        return replace(
            self,
            expression=self.expression[rows],
            perturbation=self.perturbation[rows],
            cell_type=self.cell_type[rows],
            batch=self.batch[rows],
        )

    def with_genes(self, genes: tuple[str, ...]) -> "Population":
        """Return the same cells with columns picked and ordered by name; every name must be present."""
        if genes == self.genes:
            return self
        column = {gene: index for index, gene in enumerate(self.genes)}
        return replace(self, expression=self.expression[:, [column[gene] for gene in genes]], genes=genes)

    def dense(self) -> np.ndarray:
        """Return the expression as a dense array, [cells, G] float32."""
        return self.expression.toarray() if sparse.issparse(self.expression) else self.expression

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
    return np.stack([expression[members].mean(axis=0, dtype=np.float64) for members in rows.values()])
