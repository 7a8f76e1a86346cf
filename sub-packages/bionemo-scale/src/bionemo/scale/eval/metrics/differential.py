# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Differential expression of perturbed against control cells, behind one function with two engines."""

from typing import Literal

import anndata as ad
import numpy as np
import polars as pl

from bionemo.scale.eval.cell_eval.quiet import quiet
from bionemo.scale.eval.cells.populations import PERTURBATION, rows_by_label, to_anndata
from bionemo.scale.eval.metrics.many.gene_tests import GeneTests
from bionemo.scale.eval.metrics.wilcoxon import rank_sum_tests


DEEngine = Literal["fast", "pdex"]

_MAX_WORKERS = 2


def gene_tests(
    *,
    cells: np.ndarray,
    rows: dict[str, np.ndarray],
    controls: np.ndarray,
    genes: tuple[str, ...],
    control: str,
    engine: DEEngine = "fast",
) -> GeneTests:
    """Test every perturbation of one context against its control, Wilcoxon rank-sum, gene by gene.

    The false discovery rate is controlled over all perturbations x genes.

    Args:
        cells: [cells, G] float32, log1p expression of perturbed cells.
        rows: Perturbation, sorted, to its rows in ``cells``.
        controls: [controls, G] float32, of the reference cells.
        genes: Names of the columns.
        control: Label of the reference cells.
        engine: ``fast`` is :mod:`bionemo.scale.eval.metrics.wilcoxon`; ``pdex`` is what cell-eval 0.6.6 calls. They
            give the same statistics and fold changes, and p-values that agree to float32 rounding.
    """
    if engine == "fast":
        return rank_sum_tests(cells=cells, rows=rows, controls=controls, genes=genes, control=control)
    labels = np.full(len(cells) + len(controls), control, dtype=object)
    for name, members in rows.items():
        labels[members] = name
    with quiet():
        from pdex import parallel_differential_expression

        frame = parallel_differential_expression(
            adata=to_anndata(expression=np.concatenate([cells, controls]), perturbation=labels, genes=genes),
            reference=control,
            groupby_key=PERTURBATION,
            num_workers=_MAX_WORKERS,
            batch_size=100,
            metric="wilcoxon",
            is_log1p=True,
            as_polars=True,
        )
    return GeneTests.of_frame(frame, len(genes))


def differential_expression(adata: ad.AnnData, *, control: str, engine: DEEngine = "fast") -> pl.DataFrame:
    """Return :func:`gene_tests` of an AnnData as a table.

    Args:
        adata: Dense log1p expression, labels in ``obs["perturbation"]``.
        control: Label of the reference cells.
        engine: As there.

    Returns:
        One row per perturbation x gene, with pdex's columns.
    """
    labels, expression = adata.obs[PERTURBATION].to_numpy(object), np.asarray(adata.X, dtype=np.float32)
    is_control = labels == control
    found = gene_tests(
        cells=expression[~is_control],
        rows=rows_by_label(labels[~is_control]),
        controls=expression[is_control],
        genes=tuple(adata.var_names),
        control=control,
        engine=engine,
    )
    return found.frame()
