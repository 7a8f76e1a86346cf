# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""One side of a comparison in one context, and everything that is derived from it once."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import anndata as ad
import numpy as np

from bionemo.scale.eval.cells.library_size import counts_again
from bionemo.scale.eval.cells.populations import Population, group_means, rows_by_label, to_anndata
from bionemo.scale.eval.metrics.differential import DEEngine, gene_tests
from bionemo.scale.eval.metrics.formulas import Genes, log_fold_change
from bionemo.scale.eval.metrics.intervals import BatchBulk, bulk_by_batch
from bionemo.scale.eval.metrics.many.cell_eval_columns import CellEvalInput
from bionemo.scale.eval.metrics.many.gene_tests import GeneTests
from bionemo.scale.eval.metrics.replicates import ReplicateTests, replicate_tests
from bionemo.scale.eval.metrics.unseen import gene_weights


AT_ONCE = 32
"""Perturbations up to which cell-eval scores a context itself, and each rank has its own matrix of distances."""
WHOLE_VALUES = 1 << 27
"""Values of a context up to which another cell-eval gets every cell: it copies them several times."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """Perturbed cells of one context with their controls."""

    genes: tuple[str, ...]
    cells: np.ndarray
    """[perturbed cells, G] float32."""
    controls: np.ndarray
    """[controls, G] float32."""
    control: str
    """Label of the controls."""
    rows: dict[str, np.ndarray]
    """The P perturbations, sorted, with their rows in ``cells``."""
    means: np.ndarray
    """[P, G] float64 (eq. 39, 40)."""
    control_mean: np.ndarray
    """[G] float64."""
    tests: GeneTests
    """Of the perturbations in their order; of more than :data:`AT_ONCE` only what is scored."""
    bulks: dict[str, BatchBulk] | None
    """Perturbation to its pseudobulks batch by batch, the controls' under their label; ``None`` where not asked
    for."""
    unit: np.ndarray | None = None
    """What one count of each cell and control is worth before log1p; ``None`` where cells were not read as counts."""
    target_names: frozenset[str] = frozenset()
    """Names of the agents of the perturbations, genes among them."""
    replicate: np.ndarray | None = None
    """[cells + controls] str; ``None`` where replicates were not asked for."""

    @property
    def adata(self) -> ad.AnnData:
        """Perturbed cells and then controls, a copy."""
        return to_anndata(
            expression=np.concatenate([self.cells, self.controls]), perturbation=self._labels, genes=self.genes
        )

    @property
    def _labels(self) -> np.ndarray:
        """[cells + controls] str."""
        labels = np.full(len(self.cells) + len(self.controls), self.control, dtype=object)
        for name, members in self.rows.items():
            labels[members] = name
        return labels

    @cached_property
    def replicate_tests(self) -> ReplicateTests:
        """DESeq2 on the sums of replicates; for sides that were read as counts, with replicates."""
        assert self.replicate is not None, "replicates were read"
        return replicate_tests(
            self.counts.X, self._labels, self.replicate, names=list(self.rows), control=self.control
        )

    @cached_property
    def weights(self) -> np.ndarray:
        """[P, G] float64, how much each gene sets a perturbation apart from the others."""
        return gene_weights(self.cells, self.rows)

    @property
    def targets(self) -> np.ndarray:
        """[G] bool, genes that a perturbation of the evaluation targets."""
        return np.isin(np.asarray(self.genes, dtype=str), sorted(self.target_names))

    @property
    def counts(self) -> ad.AnnData:
        """Cells and controls as counts; for sides whose cells were read as such."""
        assert self.unit is not None, "the cells were read as counts"
        adata = self.adata
        adata.X = counts_again(adata.X, self.unit)
        return adata

    def part(self, rows: slice) -> "Side":
        """Return some perturbations; those that share cells and controls with all others."""
        chosen = dict(itertools.islice(self.rows.items(), rows.start, rows.stop))
        return replace(self, rows=chosen, means=self.means[rows], tests=self.tests.part(rows))

    @property
    def changes(self) -> np.ndarray:
        """[P, G] float64, mean change from control (eq. 41)."""
        return self.means - self.control_mean

    @property
    def tested(self) -> CellEvalInput:
        """What cell-eval reads."""
        return CellEvalInput(
            means=self.means,
            control_mean=self.control_mean,
            fdr=self.fdr,
            fold_change=self.tests.numbers("fold_change"),
        )

    @property
    def fdr(self) -> np.ndarray:
        """[P, G] float64, adjusted p-values."""
        return self.tests.numbers("fdr")

    def tested_genes(self, control_mean: np.ndarray) -> Genes:
        """Return differential expression as arrays, fold changes against a control pseudobulk."""
        return Genes(fdr=self.fdr, log_fc=log_fold_change(self.means, control_mean))

    @cached_property
    def own_genes(self) -> Genes:
        """Differential expression, fold changes against the side's own controls."""
        return self.tested_genes(self.control_mean)

    @property
    def own_gene(self) -> np.ndarray:
        """[P] int, column of the gene that a perturbation is named after, -1 for none."""
        genes = {gene: column for column, gene in enumerate(self.genes)}
        return np.array([genes.get(name, -1) for name in self.rows])

    def pseudobulks(self, control: str) -> ad.AnnData:
        """Return means of the perturbations and the controls, which is all that cell-eval's metrics read of cells."""
        bulk = np.concatenate([self.means, self.control_mean[None]]).astype(np.float32)
        labels = np.array([*self.rows, control], dtype=object)
        return to_anndata(expression=bulk, perturbation=labels, genes=self.genes)

    def for_newest(self, control: str) -> ad.AnnData:
        """Return what another cell-eval is to read: the cells, or their pseudobulks where the cells are too many."""
        return self.adata if self.cells.size + self.controls.size <= WHOLE_VALUES else self.pseudobulks(control)


def make_side(
    cells: Population,
    controls: Population,
    *,
    control: str,
    engine: DEEngine,
    by_batch: bool,
    target_names: frozenset[str] = frozenset(),
    keep_tests: Callable[[GeneTests], None] | None = None,
) -> Side:
    """Put cells and controls of one context together.

    Args:
        cells: Perturbed cells.
        controls: Control cells.
        control: Label of the controls.
        engine: Who tests for differential expression.
        by_batch: Whether to keep the pseudobulks of batches.
        target_names: Names of the agents of the perturbations.
        keep_tests: Called with all columns of the tests, which the side has not when there are many perturbations.
    """
    # No copy of cells that are in memory already, which are large.
    perturbed, unperturbed = (np.ascontiguousarray(part.dense(), dtype=np.float32) for part in (cells, controls))
    rows = rows_by_label(cells.perturbation)
    tests = gene_tests(
        cells=perturbed, rows=rows, controls=unperturbed, genes=cells.genes, control=control, engine=engine
    )
    if keep_tests is not None:
        keep_tests(tests)
    bulks = None
    if by_batch:
        bulks = {name: bulk_by_batch(perturbed[members], cells.batch[members]) for name, members in rows.items()}
        bulks[control] = bulk_by_batch(unperturbed, controls.batch)
    return Side(
        genes=cells.genes,
        cells=perturbed,
        controls=unperturbed,
        control=control,
        rows=rows,
        means=group_means(expression=perturbed, rows=rows),
        control_mean=unperturbed.mean(axis=0, dtype=np.float64),
        tests=tests.only("fold_change", "fdr") if len(rows) > AT_ONCE else tests,
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
