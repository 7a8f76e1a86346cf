# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The catalogue is what tables, summary and documentation say of a column: it must be whole, and true."""

import re
from pathlib import Path

import pytest

from bionemo.scale.eval.cell_eval.adapter import metric_columns
from bionemo.scale.eval.cell_eval.challenge import CHALLENGE, PER_PERTURBATION, PREFIX
from bionemo.scale.eval.metrics.catalogue import (
    BY_COLUMN,
    CELL_EVAL2,
    FURTHER,
    HEADLINE,
    METRICS,
    PAPER_METRICS,
    SCALED,
    Metric,
    add_metric,
    extra_metrics,
    loss,
)
from bionemo.scale.eval.metrics.document import metric_tables, with_metric_tables


DOCUMENT = Path(__file__).parents[7] / "docs" / "evaluation.md"
APPENDIX_A = {"R2", "PDS_L1", "PDS_L2", "PDS_cos", "PDCorr", "MAE", "MSE"}
APPENDIX_A |= {"DEOver", "DEPrec", "DirAgr", "LFCspear", "AUROC", "AUPRC"}


def test_every_column_of_the_results_is_explained_once():
    names = [metric.column for metric in METRICS]
    assert len(names) == len(set(names))
    assert tuple(name for name in names if BY_COLUMN[name].cell_eval) == metric_columns()
    assert set(extra_metrics()) == set(names) - set(metric_columns())


def test_every_metric_of_appendix_a_is_there():
    assert {metric.name for metric in PAPER_METRICS} == APPENDIX_A
    for metric in PAPER_METRICS:
        assert metric.column in extra_metrics()
        assert metric.cell_eval is None or BY_COLUMN[metric.cell_eval].cell_eval
        assert metric.because


def test_what_tables_show_has_one_name_each():
    names = [metric.name for metric in (*HEADLINE, *FURTHER)]
    assert len(names) == len(set(names))
    assert {metric.column for metric in METRICS if metric.title} <= {metric.column for metric in (*HEADLINE, *FURTHER)}


@pytest.mark.parametrize(("best", "better", "worse"), [("high", 2.0, 1.0), ("low", 1.0, 2.0), ("one", 1.1, 0.8)])
def test_loss(best, better, worse):
    assert loss(better, best) < loss(worse, best)


def test_the_documentation_is_generated():
    """``python docs/metrics.py`` writes these tables."""
    text = DOCUMENT.read_text(encoding="utf-8")
    assert with_metric_tables(text) == text
    for metric in METRICS:
        if metric.source != "paper" and ("_at_" not in metric.column or metric.column.endswith("_N")):
            assert f"| `{metric.column}` |" in text, metric.column
    for metric in PAPER_METRICS:
        assert f"| {metric.name} | `{metric.column}` |" in text, metric.name


def test_every_row_of_a_generated_table_has_its_columns():
    for table in metric_tables().values():
        cells = {len(re.split(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(cells) == 1


def test_a_page_without_a_place_for_a_table():
    with pytest.raises(ValueError, match="expected .* once, found it 0 times"):
        with_metric_tables("# Metrics")


def test_a_metric_must_be_new_and_computed():
    fields = dict(formula="", best="low", source="ours", reads="means")
    for metric in (
        Metric(column="own", **fields),
        Metric(column="mse", compute=lambda pred, real: pred.means, **fields),
    ):
        with pytest.raises(ValueError, match="expected a new column and what computes it"):
            add_metric(metric)


def test_cell_eval2s_metrics_are_those_that_it_is_asked_for():
    assert [metric.column for metric in CELL_EVAL2] == [PREFIX + name for name in PER_PERTURBATION]
    assert [metric.column for metric in SCALED] == [*CHALLENGE, "score"]
