# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""A number that is missing has a reason, and the right one."""

import polars as pl
import pytest

from bionemo.scale.eval.metrics import undefined
from bionemo.scale.eval.metrics.catalogue import METRICS
from bionemo.scale.eval.metrics.undefined import Pair, reason, reasons


PLAIN = Pair(perturbations=5, significant_real=7, significant_pred=7, moved=True, trained=True)


@pytest.mark.parametrize(
    ("metric", "fields", "expected"),
    [
        ("discrimination_score_l1", {"perturbations": 1}, undefined.ONE_PERTURBATION),
        ("paper_pds_cosine", {"moved": False}, undefined.NO_CHANGE),
        ("pearson_delta", {"moved": False}, undefined.NO_CHANGE),
        ("current_pearson_delta", {"moved": False}, undefined.NO_CHANGE),
        ("de_spearman_lfc_sig", {"significant_real": 1}, undefined.FEW_REAL_GENES),
        ("de_spearman_lfc_sig", {}, undefined.CONSTANT),
        ("de_direction_match", {"significant_real": 0}, undefined.NO_REAL_GENE),
        ("paper_diragr", {"significant_pred": 0}, undefined.NO_PREDICTED_GENE),
        ("paper_diragr", {}, undefined.NO_SHARED_GENE),
        ("paper_deprec", {"significant_pred": 0}, undefined.NO_PREDICTED_GENE),
        ("roc_auc", {"significant_real": 0}, undefined.NO_REAL_GENE),
        ("paper_auprc", {}, undefined.ALL_GENES),
        ("residual_context", {"perturbations": 2}, undefined.FEW_PERTURBATIONS),
        ("residual_perturbation", {"trained": False}, undefined.UNSEEN),
        ("residual_both", {"trained": False}, undefined.UNSEEN),
        ("sd_ratio", {}, undefined.FEW_CELLS),
    ],
)
def test_reasons(metric, fields, expected):
    assert reason(metric, Pair(**{**vars(PLAIN), **fields})) == expected


def test_every_metric_has_a_rule_but_those_that_are_always_defined():
    always = ("mse", "mae", "overlap_at", "precision_at", "de_nsig", "paper_mae", "paper_mse", "de_chance")
    for metric in METRICS:
        if not metric.column.startswith(always):
            assert reason(metric.column, PLAIN) != undefined.OTHER, metric.column


def test_reasons_are_counted_pair_by_pair():
    scores = pl.DataFrame(
        {
            "context": ["A", "A", "B"],
            "perturbation": ["x", "y", "x"],
            "de_nsig_counts_real": [0.0, 1, 5],
            "de_nsig_counts_pred": [0.0, 0, 5],
            "pearson_delta": [0.1, None, 0.2],
            "de_spearman_lfc_sig": [None, None, 0.3],
            "residual_perturbation": [0.1, None, 0.5],
            "mse": [1.0, 1, 1],
        }
    )
    assert reasons(scores, trained=frozenset({"x"})) == {
        "pearson_delta": {undefined.NO_CHANGE: 1},
        "de_spearman_lfc_sig": {undefined.FEW_REAL_GENES: 2},
        "residual_perturbation": {undefined.UNSEEN: 1},
    }
