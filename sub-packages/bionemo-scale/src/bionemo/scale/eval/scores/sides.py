# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""One side of a comparison in one context, and everything that is derived from it once."""

from dataclasses import dataclass
from functools import cached_property

import anndata as ad
import numpy as np
import polars as pl

from bionemo.scale.eval.cells.library_size import counts_again
from bionemo.scale.eval.cells.populations import PERTURBATION, Population, group_means, rows_by_label, to_anndata
from bionemo.scale.eval.metrics.differential import DEEngine, differential_expression
from bionemo.scale.eval.metrics.formulas import Genes, log_fold_change
from bionemo.scale.eval.metrics.intervals import BatchBulk, bulk_by_batch
from bionemo.scale.eval.metrics.many.cell_eval_columns import CellEvalInput
from bionemo.scale.eval.metrics.replicates import ReplicateTests, replicate_tests
from bionemo.scale.eval.metrics.unseen import gene_weights


WHOLE_VALUES = 1 << 27
"""Values of a context up to which another cell-eval gets every cell: it copies them several times."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """Perturbed cells of one context with their controls."""

    adata: ad.AnnData
    """Perturbed cells first, then controls."""
    cells: np.ndarray
    """[perturbed cells, G] float32."""
    rows: dict[str, np.ndarray]
    """The P perturbations, sorted, with their rows in ``cells``."""
    means: np.ndarray
    """[P, G] float64 (eq. 39, 40)."""
    control_mean: np.ndarray
    """[G] float64."""
    de: pl.DataFrame
    bulks: dict[str, BatchBulk] | None
    """Perturbation to its pseudobulks batch by batch, the controls' under their label; ``None`` where not asked
    for."""
    unit: np.ndarray | None = None
    """What one count of each cell of ``adata`` is worth before log1p; ``None`` where cells were not read as counts."""
    target_names: frozenset[str] = frozenset()
    """Names of the agents of the perturbations, genes among them."""
    replicate: np.ndarray | None = None
    """[cells + controls] str, as in ``adata``; ``None`` where replicates were not asked for."""

    @cached_property
    def replicate_tests(self) -> ReplicateTests:
        """DESeq2 on the sums of replicates; for sides that were read as counts, with replicates."""
        assert self.replicate is not None, "replicates were read"
        labels = self.adata.obs[PERTURBATION].to_numpy(object)
        counts = self.counts.X
        return replicate_tests(counts, labels, self.replicate, names=list(self.rows), control=str(labels[-1]))

    @cached_property
    def weights(self) -> np.ndarray:
        """[P, G] float64, how much each gene sets a perturbation apart from the others."""
        return gene_weights(self.cells, self.rows)

    @property
    def targets(self) -> np.ndarray:
        """[G] bool, genes that a perturbation of the evaluation targets."""
        return np.isin(np.asarray(self.adata.var_names, dtype=str), sorted(self.target_names))

    @property
    def counts(self) -> ad.AnnData:
        """Cells and controls as counts; for sides whose cells were read as such."""
        assert self.unit is not None, "the cells were read as counts"
        return ad.AnnData(X=counts_again(self.adata.X, self.unit), obs=self.adata.obs.copy(), var=self.adata.var)

    @property
    def changes(self) -> np.ndarray:
        """[P, G] float64, mean change from control (eq. 41)."""
        return self.means - self.control_mean

    def tests(self, column: str) -> np.ndarray:
        """Return a column of the tests as [P, G] float64.

        Args:
            column: Name in :attr:`de`.
        """
        shape = self.means.shape
        blocks = self.de[column].to_numpy().reshape(shape)
        order = {name: row for row, name in enumerate(self.rows)}
        values = np.empty(shape)
        values[[order[name] for name in self.de["target"].gather_every(shape[1])]] = blocks
        return values

    @cached_property
    def tested(self) -> CellEvalInput:
        """What cell-eval reads."""
        return CellEvalInput(
            means=self.means,
            control_mean=self.control_mean,
            fdr=self._fdr,
            fold_change=self.tests("fold_change"),
        )

    @cached_property
    def _fdr(self) -> np.ndarray:
        return self.tests("fdr")

    def genes(self, control_mean: np.ndarray) -> Genes:
        """Return differential expression as arrays, fold changes against a control pseudobulk."""
        return Genes(fdr=self._fdr, log_fc=log_fold_change(self.means, control_mean))

    @cached_property
    def own_genes(self) -> Genes:
        """Differential expression, fold changes against the side's own controls."""
        return self.genes(self.control_mean)

    @property
    def own_gene(self) -> np.ndarray:
        """[P] int, column of the gene that a perturbation is named after, -1 for none."""
        genes = {gene: column for column, gene in enumerate(self.adata.var_names)}
        return np.array([genes.get(name, -1) for name in self.rows])

    def pseudobulks(self, control: str) -> ad.AnnData:
        """Return means of the perturbations and the controls, which is all that cell-eval's metrics read of cells."""
        bulk = np.concatenate([self.means, self.control_mean[None]]).astype(np.float32)
        labels = np.array([*self.rows, control], dtype=object)
        return to_anndata(expression=bulk, perturbation=labels, genes=tuple(self.adata.var_names))

    def for_newest(self, control: str) -> ad.AnnData:
        """Return what another cell-eval is to read: the cells, or their pseudobulks where the cells are too many."""
        return self.adata if self.adata.X.size <= WHOLE_VALUES else self.pseudobulks(control)


def make_side(
    cells: Population,
    controls: Population,
    *,
    control: str,
    engine: DEEngine,
    by_batch: bool,
    target_names: frozenset[str] = frozenset(),
) -> Side:
    """Put cells and controls of one context together.

    Args:
        cells: Perturbed cells.
        controls: Control cells.
        control: Label of the controls.
        engine: Who tests for differential expression.
        by_batch: Whether to keep the pseudobulks of batches.
        target_names: Names of the agents of the perturbations.
    """
    expression = np.empty((len(cells) + len(controls), len(cells.genes)), dtype=np.float32)
    perturbed, unperturbed = expression[: len(cells)], expression[len(cells) :]
    cells.copy_to(perturbed)
    controls.copy_to(unperturbed)
    labels = np.concatenate([cells.perturbation, np.full(len(controls), control, dtype=object)])
    adata = to_anndata(expression=expression, perturbation=labels, genes=cells.genes)
    rows = rows_by_label(cells.perturbation)
    bulks = None
    if by_batch:
        bulks = {name: bulk_by_batch(perturbed[members], cells.batch[members]) for name, members in rows.items()}
        bulks[control] = bulk_by_batch(unperturbed, controls.batch)
    return Side(
        adata=adata,
        cells=perturbed,
        rows=rows,
        means=group_means(expression=perturbed, rows=rows),
        control_mean=unperturbed.mean(axis=0, dtype=np.float64),
        de=differential_expression(adata, control=control, engine=engine),
        bulks=bulks,
        target_names=target_names,
        replicate=None
        if cells.replicate is None or controls.replicate is None
        else np.concatenate([cells.replicate, controls.replicate]),
        unit=None if cells.unit is None or controls.unit is None else np.concatenate([cells.unit, controls.unit]),
    )


def share_batches(pred: Side, real: Side) -> bool:
    """Whether the predicted cells of every perturbation, and the controls, have the batches of the real ones."""
    if pred.bulks is None or real.bulks is None:
        return False
    return all(set(pred.bulks[name].names) == set(bulk.names) for name, bulk in real.bulks.items())
