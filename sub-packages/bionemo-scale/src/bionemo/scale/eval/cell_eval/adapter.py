# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Run cell-eval's metrics on one context, without its files, its chatter, or its silence about errors.

cell-eval 0.6.6 logs a metric's exception and goes on without that column; here it is raised. What stays of its
conventions: mse and mae without control subtraction, ``overlap_at_N`` of 0 where nothing is significant, gene sets
ranked by absolute fold change among genes that are significant on both sides.
"""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import anndata as ad
import polars as pl

from bionemo.scale.eval.cell_eval.quiet import quiet
from bionemo.scale.eval.cells.populations import PERTURBATION
from bionemo.scale.files.provenance import versions_of
from bionemo.scale.files.writing.folder import temporary_folder


if TYPE_CHECKING:
    from cell_eval import MetricPipeline, MetricsEvaluator

SKIPPED = ("pearson_edistance", "clustering_agreement")
"""Metrics of the full profile left out, as STATE does: one builds a controls x controls matrix, one clusters."""

DISCRIMINATION = ("discrimination_score_l1", "discrimination_score_l2", "discrimination_score_cosine")


class MetricError(RuntimeError):
    """A metric failed inside cell-eval."""


def metric_columns() -> tuple[str, ...]:
    """Return the columns that cell-eval gives, in its order."""
    with quiet():
        from cell_eval.metrics import metrics_registry
    columns: list[str] = []
    for name in metrics_registry.list_metrics():
        columns += [f"{name}_real", f"{name}_pred"] if name == "de_nsig_counts" else [name]
    return tuple(column for column in columns if column not in SKIPPED)


def run_cell_eval(
    *,
    pred: ad.AnnData,
    real: ad.AnnData,
    de_pred: pl.DataFrame,
    de_real: pl.DataFrame,
    control: str,
) -> pl.DataFrame:
    """Score one context.

    Args:
        pred: Predicted perturbed cells and controls or their pseudobulks, labels in ``obs["perturbation"]``.
        real: Real perturbed cells and controls or their pseudobulks, same genes and labels.
        de_pred: Differential expression of ``pred``.
        de_real: Differential expression of ``real``; computed once and shared by all models.
        control: Label of the controls.

    Returns:
        One row per perturbation, sorted, with ``perturbation`` and :func:`metric_columns`, values as cell-eval
        gives them (NaN or null where it has none).

    Raises:
        MetricError: A metric raised.
    """
    perturbations = sorted(set(real.obs[PERTURBATION]) - {control})
    with temporary_folder("cell-eval-") as scratch, quiet():
        import sklearn
        from cell_eval import MetricsEvaluator

        try:
            evaluator = MetricsEvaluator(
                adata_pred=pred,
                adata_real=real,
                de_pred=de_pred,
                de_real=de_real,
                control_pert=control,
                pert_col=PERTURBATION,
                num_threads=1,
                outdir=str(scratch),
            )
            # Its arguments are cell-eval's own, thousands of times.
            with sklearn.config_context(skip_parameter_validation=True):
                found = [_of_pseudobulks(evaluator), _of_tests(evaluator)]
        except Exception as error:
            raise MetricError(f"cell-eval failed: {type(error).__name__}: {error}") from error
    return _complete(found, perturbations)


def _of_pseudobulks(evaluator: "MetricsEvaluator") -> pl.DataFrame:
    from cell_eval import MetricType, metrics_registry

    names = [name for name in metrics_registry.list_metrics(MetricType.ANNDATA_PAIR) if name not in SKIPPED]
    pipeline = _pipeline(names)
    pipeline.compute_anndata_metrics(evaluator.anndata_pair)
    return pipeline.get_results()


def _of_tests(evaluator: "MetricsEvaluator") -> pl.DataFrame:
    from cell_eval import MetricType, metrics_registry

    pipeline = _pipeline(metrics_registry.list_metrics(MetricType.DE))
    pipeline.compute_de_metrics(evaluator.de_comparison)
    return pipeline.get_results()


def _pipeline(names: Collection[str]) -> "MetricPipeline":
    from cell_eval import MetricPipeline

    pipeline = MetricPipeline(profile=None, break_on_error=True)
    pipeline.add_metrics(list(names))
    return pipeline


def _complete(found: Sequence[pl.DataFrame], perturbations: list[str]) -> pl.DataFrame:
    """Add the rows and columns that cell-eval leaves out when no perturbation has a value."""
    completed = pl.DataFrame({"perturbation": perturbations})
    for results in found:
        completed = completed.join(results, on="perturbation", how="left", maintain_order="left")
    columns = metric_columns()
    missing = [pl.lit(None, pl.Float64).alias(name) for name in columns if name not in completed]
    return completed.with_columns(missing).select("perturbation", *(pl.col(name).cast(pl.Float64) for name in columns))


def versions() -> dict[str, str]:
    """Return the versions of what decides the numbers."""
    names = ("bionemo-scale", "cell-eval", "pdex", "polars", "scipy", "scikit-learn", "numpy", "anndata")
    return versions_of(names)
