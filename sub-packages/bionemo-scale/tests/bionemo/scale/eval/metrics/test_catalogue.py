# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The catalogue is what tables, summary and documentation say of a column: it must be whole, and true."""

from pathlib import Path

import pytest

from bionemo.scale.eval.cell_eval.adapter import metric_columns
from bionemo.scale.eval.metrics.catalogue import BY_COLUMN, EXTRA_METRICS, METRICS, PAPER_METRICS, loss
from bionemo.scale.eval.table import COLUMNS


DOCUMENT = Path(__file__).parents[7] / "docs" / "evaluation.md"
APPENDIX_A = {"R2", "PDS_L1", "PDS_L2", "PDS_cos", "PDCorr", "MAE", "MSE"}
APPENDIX_A |= {"DEOver", "DEPrec", "DirAgr", "LFCspear", "AUROC", "AUPRC"}


def test_every_column_of_the_results_is_explained_once():
    names = [metric.column for metric in METRICS]
    assert len(names) == len(set(names))
    assert tuple(name for name in names if BY_COLUMN[name].cell_eval) == metric_columns()
    assert set(EXTRA_METRICS) == set(names) - set(metric_columns())


def test_every_metric_of_appendix_a_is_there():
    assert {metric.name for metric in PAPER_METRICS} == APPENDIX_A
    for metric in PAPER_METRICS:
        assert metric.column in EXTRA_METRICS
        assert metric.cell_eval is None or BY_COLUMN[metric.cell_eval].cell_eval
        assert metric.because


def test_the_table_marks_the_best_as_the_catalogue_says():
    for column in COLUMNS:
        assert column.best == BY_COLUMN[column.metric].best


@pytest.mark.parametrize(("best", "better", "worse"), [("high", 2.0, 1.0), ("low", 1.0, 2.0), ("one", 1.1, 0.8)])
def test_loss(best, better, worse):
    assert loss(better, best) < loss(worse, best)


def test_the_documentation_has_every_column():
    text = DOCUMENT.read_text()
    for metric in METRICS:
        if "_at_" not in metric.column or metric.column.endswith("_N"):
            assert f"`{metric.column}`" in text, metric.column
    for metric in PAPER_METRICS:
        answer = "yes" if metric.equals_cell_eval else "no"
        rows = [line for line in text.splitlines() if line.startswith(f"| {metric.name} ")]
        assert len(rows) == 1 and f"`{metric.column}`" in rows[0] and f"| {answer}" in rows[0], metric.name
