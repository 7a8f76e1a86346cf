# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Differential expression of perturbed against control cells, behind one function with two engines."""

from typing import Literal

import anndata as ad
import numpy as np
import polars as pl

from bionemo.scale.eval.cell_eval.quiet import quiet
from bionemo.scale.eval.cells.populations import PERTURBATION
from bionemo.scale.eval.metrics.wilcoxon import rank_sum_frame


DEEngine = Literal["fast", "pdex"]

_MAX_WORKERS = 2


def differential_expression(adata: ad.AnnData, *, control: str, engine: DEEngine = "fast") -> pl.DataFrame:
    """Test every perturbation of one context against its control, Wilcoxon rank-sum, gene by gene.

    The false discovery rate is controlled over all perturbations x genes of ``adata``.

    Args:
        adata: Dense log1p expression, labels in ``obs["perturbation"]``.
        control: Label of the reference cells.
        engine: ``fast`` is :mod:`bionemo.scale.eval.metrics.wilcoxon`; ``pdex`` is what cell-eval 0.6.6 calls. They
            give the same statistics and fold changes, and p-values that agree to float32 rounding.

    Returns:
        One row per perturbation x gene, with pdex's columns.
    """
    if engine == "fast":
        labels = adata.obs[PERTURBATION].to_numpy(object)
        return rank_sum_frame(
            expression=np.asarray(adata.X), labels=labels, genes=tuple(adata.var_names), control=control
        )
    with quiet():
        from pdex import parallel_differential_expression

        return parallel_differential_expression(
            adata=adata,
            reference=control,
            groupby_key=PERTURBATION,
            num_workers=_MAX_WORKERS,
            batch_size=100,
            metric="wilcoxon",
            is_log1p=True,
            as_polars=True,
        )
