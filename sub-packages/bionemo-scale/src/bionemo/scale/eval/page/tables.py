# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Tables of the page as plain values, which its templates write."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bionemo.scale.eval.cells.predicted_sd import LABELS
from bionemo.scale.eval.metrics.catalogue import HEADLINE, Metric
from bionemo.scale.eval.metrics.ranking import BEST, marks
from bionemo.scale.eval.output.summary import MetricSummary, Summary
from bionemo.scale.eval.output.table import legend, with_values
from bionemo.scale.eval.scores.task import CEILING


_WORDS = {"open": "not distinguishable"}
_SIZE = "size"


@dataclass(frozen=True)
class ConditionColumn:
    """How a column of the table of conditions is shown."""

    column: str
    title: str
    meaning: str = ""
    distance: str = ""
    """The column with the distance to what this one names."""
    warnings: str = ""
    """The column with warnings, which are shown below the value."""


SHOWN_COLUMNS = (
    ConditionColumn("perturbation", "perturbation", warnings="warnings"),
    ConditionColumn("cell_type", "cell type"),
    ConditionColumn(_SIZE, "size of the change", "Euclidean norm of the predicted mean change over genes"),
    ConditionColumn("trained_contexts", "trained in", "cell types in which the perturbation was trained"),
    ConditionColumn(
        "nearest_effect",
        "most similar trained effect",
        "the trained perturbation with the nearest mean effect; its distance in standard deviations of cells",
        "effect_distance",
    ),
)
FOLDED_COLUMNS = (
    ConditionColumn("perturbation", "perturbation"),
    ConditionColumn("cell_type", "cell type"),
    ConditionColumn("num_cells", "predicted cells"),
    ConditionColumn("num_controls", "control cells", "controls that the change is counted from"),
    ConditionColumn("is_trained_cell_type", "cell type trained", "whether it was trained with perturbed cells"),
    ConditionColumn(
        "nearest_context",
        "nearest cell type",
        "the training cell type with the nearest control mean; its distance in standard deviations of cells",
        "context_distance",
    ),
    ConditionColumn(
        "nearest_label",
        "nearest label",
        "the trained perturbation that shares most genes or drugs; the share that only one of the two has",
        "label_distance",
    ),
    ConditionColumn(
        "nearest_features",
        "nearest vector",
        "the trained perturbation with the nearest vector; 1 is the median distance of two trained ones",
        "features_distance",
    ),
)


def condition_tables(table: pd.DataFrame, sizes: np.ndarray) -> list[dict[str, Any]]:
    """Return what a reader needs of each predicted condition, and a second table with the rest.

    Args:
        table: Of the prediction, ``uns["conditions"]``. Columns that are not known here are in the second table.
        sizes: [conditions], sizes of the predicted changes.
    """
    table = table.assign(**{_SIZE: sizes})
    named = (*SHOWN_COLUMNS, *FOLDED_COLUMNS)
    known = {name for column in named for name in (column.column, column.distance, column.warnings)}
    others = [ConditionColumn(str(name), str(name)) for name in table.columns if name not in known]
    found = [_condition_table(table, columns) for columns in (SHOWN_COLUMNS, (*FOLDED_COLUMNS, *others))]
    return [part for part in found if len(part["heads"]) > len(LABELS)]


def _condition_table(table: pd.DataFrame, columns: Sequence[ConditionColumn]) -> dict[str, Any]:
    shown = [column for column in columns if column.column in table]
    rows = [[_condition_cell(row, column) for column in shown] for row in table.to_dict("records")]
    return {"heads": [{"name": column.title, "formula": column.meaning} for column in shown], "rows": rows}


def _condition_cell(row: Mapping[Any, object], column: ConditionColumn) -> dict[str, Any]:
    value = row[column.column]
    small = [line for line in str(row.get(column.warnings, "")).split("; ") if line]
    if value and column.distance in row:
        small = [f"{_condition_text(row[column.distance])} away"]
    if column.column == "trained_contexts" and isinstance(value, int):
        return {"text": _times(value), "small": small}
    return {"text": _condition_text(value), "small": small}


def _times(contexts: int) -> str:
    return "never" if contexts == 0 else f"{contexts} cell type{'s' if contexts > 1 else ''}"


def _condition_text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "-" if np.isnan(value) else f"{value:.3g}"
    return str(value) or "-"


def score_table(summary: Summary, columns: Sequence[Metric]) -> dict[str, Any]:
    """Return a table with a row for each model, baseline and the ceiling.

    Args:
        summary: Of the evaluation.
        columns: Metrics; optional ones without any value are left out.
    """
    shown = with_values(tuple(columns), summary)
    marked = {metric.column: _marks(summary, metric) for metric in shown}
    rows, before = [], ""
    for name, scores in summary.models.items():
        kind = "model" if name in summary.names.models else "ceiling" if name == CEILING else "baseline"
        cells = [score_cell(scores.get(c.column), c, marked[c.column].get(name, "")) for c in shown]
        is_first = bool(before) and kind != before
        remark = "not ranked" if name in summary.unranked_baselines else ""
        rows.append({"name": name, "kind": kind, "first": is_first, "remark": remark, "cells": cells})
        before = kind
    used = {mark for found in marked.values() for mark in found.values()}
    heads = [{"name": column.name, "formula": column.formula} for column in shown]
    return {"heads": heads, "rows": rows, "notes": legend(shown, used)}


def _marks(summary: Summary, metric: Metric) -> dict[str, str]:
    unranked = (CEILING, *summary.unranked_baselines)
    return marks([name for name in summary.models if name not in unranked], metric, summary.means, ceiling=CEILING)


def score_cell(item: MetricSummary | None, column: Metric, mark: str) -> dict[str, Any]:
    """Return what a cell of a table says: text, small lines, why values are missing."""
    if item is None or item.mean is None:
        why = "; ".join(() if item is None else item.why) or "no value"
        return {"text": "-", "small": [], "why": why, "best": False}
    small = []
    digits = min(column.digits, 3 if column.digits < 5 else 4)
    for interval, unit in ((item.interval, "p"), (item.batch_interval, "b")):
        if interval is not None:
            small.append(f"{interval.low:.{digits}f}, {interval.high:.{digits}f} {unit}")
    if item.undefined:
        small.append(f"{item.undefined} without")
    why = "; ".join(f"{count}: {reason}" for reason, count in item.why.items())
    return {"text": f"{item.mean:.{column.digits}f}{mark}", "small": small, "why": why, "best": mark == BEST}


def against_table(summary: Summary) -> dict[str, Any] | None:
    """Return one row for each model with its difference from the best baseline in every headline metric."""
    shown = [
        metric
        for metric in HEADLINE
        if any(metric.column in found for found in summary.against_best_baseline.values())
    ]
    if not shown:
        return None
    rows = []
    for model, found in summary.against_best_baseline.items():
        cells = []
        for metric in shown:
            item = found.get(metric.column)
            if item is None:
                cells.append({"text": "-", "small": [], "verdict": "none"})
                continue
            digits = metric.digits
            small = [
                f"{item.low:+.{digits}f} to {item.high:+.{digits}f}",
                f"{_WORDS.get(item.verdict, item.verdict)}: {item.baseline}",
            ]
            cells.append({"text": f"{item.difference:+.{digits}f}", "small": small, "verdict": item.verdict})
        rows.append({"name": model, "cells": cells})
    return {"heads": [metric.name for metric in shown], "rows": rows}
