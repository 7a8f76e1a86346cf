# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Why a metric has no value for a pair, in words that a reader of the table understands."""

from collections import Counter
from dataclasses import dataclass

import polars as pl

from bionemo.scale.eval.metrics.catalogue import EXPRESSED_COVERAGE


EVERY_GENE_A_TARGET = "every gene is a target of a perturbation"
ONE_PERTURBATION = "only one perturbation in the context"
NO_CHANGE = "no change predicted in any gene"
NO_REAL_GENE = "no significant real gene"
NO_PREDICTED_GENE = "no significant predicted gene"
NO_SHARED_GENE = "no gene significant on both sides"
FEW_REAL_GENES = "under 2 significant real genes"
ALL_GENES = "all real genes significant"
CONSTANT = "one side is constant"
FEW_PERTURBATIONS = "under 3 perturbations in the context"
UNSEEN = "no training data, or none of the perturbation"
FEW_CELLS = "under 2 cells, or no expressed gene"
NO_INTERVAL = "no interval in the prediction's file, or one real cell"
NO_INTERVAL_OR_GENE = f"{NO_INTERVAL}, or no gene that controls express"
FEW_CONTROLS = "under 2 controls"
FEW_GENES = "too few significant genes"
FEW_CELLS_OR_GENES = "under 50 cells, or under 20 responding genes that vary"
NO_SET = "no gene set moves in real cells"
FEW_SETS = "fewer than three gene sets, or all of one score"
NO_REPLICATE_GENE = "no gene found in replicates, or not a model"
OTHER = "no value"


@dataclass(frozen=True, kw_only=True)
class Pair:
    """What a reason is read off."""

    perturbations: int
    """Of the context."""
    significant_real: int
    significant_pred: int
    moved: bool
    """Whether any change is predicted."""
    trained: bool
    """Whether training data show the perturbation's change."""


def reasons(scores: pl.DataFrame, *, trained: frozenset[str] = frozenset()) -> dict[str, dict[str, int]]:
    """Count, for one model's rows of the results, why each metric is undefined where it is.

    Args:
        scores: Rows of one model.
        trained: Perturbations whose change training data show.

    Returns:
        Metric to reason to number of pairs; metrics that are always defined are left out.
    """
    perturbations = Counter(scores["context"].to_list())
    pairs = [
        Pair(
            perturbations=perturbations[row["context"]],
            significant_real=int(row.get("de_nsig_counts_real") or 0),
            significant_pred=int(row.get("de_nsig_counts_pred") or 0),
            moved=row.get("pearson_delta") is not None,
            trained=row["perturbation"] in trained,
        )
        for row in scores.iter_rows(named=True)
    ]
    counts: dict[str, dict[str, int]] = {}
    for name in scores.columns:
        if scores[name].null_count():
            missing = scores[name].is_null().to_list()
            counts[name] = dict(Counter(reason(name, pair) for pair, gone in zip(pairs, missing, strict=True) if gone))
    return counts


def reason(metric: str, pair: Pair) -> str:
    """Return why a metric has no value for a pair.

    Args:
        metric: Column of the metric.
        pair: What is known of the (cell type, perturbation) pair.
    """
    for prefix, rule in _RULES:
        if metric.removeprefix("current_").startswith(prefix):
            return rule(pair)
    return OTHER


def _rank(pair: Pair) -> str:
    return ONE_PERTURBATION if pair.perturbations < 2 else NO_CHANGE


def _correlation(pair: Pair) -> str:
    return CONSTANT if pair.moved else NO_CHANGE


def _fold_changes(pair: Pair) -> str:
    return FEW_REAL_GENES if pair.significant_real < 2 else CONSTANT


def _direction(pair: Pair) -> str:
    if not pair.significant_real:
        return NO_REAL_GENE
    return NO_SHARED_GENE if pair.significant_pred else NO_PREDICTED_GENE


def _curve(pair: Pair) -> str:
    return ALL_GENES if pair.significant_real else NO_REAL_GENE


def _residual_context(pair: Pair) -> str:
    return FEW_PERTURBATIONS if pair.perturbations < 3 else NO_CHANGE


def _residual_trained(pair: Pair) -> str:
    return NO_CHANGE if pair.trained else UNSEEN


def _residual_both(pair: Pair) -> str:
    return _residual_trained(pair) if pair.perturbations >= 3 else FEW_PERTURBATIONS


_RULES = (
    ("sets_direction", lambda pair: NO_SET if pair.moved else NO_CHANGE),
    ("sets_", lambda pair: FEW_SETS if pair.moved else NO_CHANGE),
    ("deseq2_", lambda pair: NO_REPLICATE_GENE),
    ("ce2_de_wilcoxon", lambda pair: FEW_GENES),
    ("ce2_cell_cov", lambda pair: FEW_CELLS_OR_GENES),
    ("ce2_pds", _rank),
    ("discrimination_score", _rank),
    ("paper_pds", _rank),
    ("pearson_delta_split", lambda pair: FEW_CONTROLS if pair.moved else NO_CHANGE),
    ("pearson_delta", _correlation),
    ("paper_pdcorr", _correlation),
    ("de_spearman_lfc_sig", _fold_changes),
    ("paper_lfcspear", _fold_changes),
    ("de_spearman_sig", lambda pair: CONSTANT),
    ("de_direction_match", lambda pair: NO_REAL_GENE),
    ("de_sig_genes_recall", lambda pair: NO_REAL_GENE),
    ("paper_diragr", _direction),
    ("paper_deover", lambda pair: NO_REAL_GENE),
    ("paper_deprec", lambda pair: NO_PREDICTED_GENE),
    ("roc_auc", _curve),
    ("pr_auc", _curve),
    ("paper_au", _curve),
    ("residual_context", _residual_context),
    ("residual_perturbation", _residual_trained),
    ("residual_both", _residual_both),
    ("sd_ratio", lambda pair: FEW_CELLS),
    ("calibration_error", lambda pair: FEW_CELLS),
    (EXPRESSED_COVERAGE, lambda pair: NO_INTERVAL_OR_GENE),
    ("coverage", lambda pair: NO_INTERVAL),
    ("edistance", lambda pair: FEW_CELLS),
    ("mmd", lambda pair: FEW_CELLS),
    ("centroid_delta", _residual_context),
    ("centroid_accuracy", _rank),
    ("pds_panel", lambda pair: ONE_PERTURBATION if pair.perturbations < 2 else EVERY_GENE_A_TARGET),
    ("weighted_", lambda pair: ONE_PERTURBATION if pair.perturbations < 2 else FEW_CELLS),
    ("r2", lambda pair: CONSTANT),
)
