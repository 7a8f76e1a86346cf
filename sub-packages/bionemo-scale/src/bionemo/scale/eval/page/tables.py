# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Tables of the page as plain values, which its templates write."""

from collections.abc import Sequence
from typing import Any

from bionemo.scale.eval.metrics.catalogue import HEADLINE, Metric
from bionemo.scale.eval.metrics.ranking import BEST, marks
from bionemo.scale.eval.output.summary import MetricSummary, Summary
from bionemo.scale.eval.output.table import legend, with_values
from bionemo.scale.eval.scores.task import CEILING


_WORDS = {"open": "not distinguishable"}


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
