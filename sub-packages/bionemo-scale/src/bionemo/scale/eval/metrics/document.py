# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The catalogue as the tables of docs/evaluation.md."""

import re
from collections.abc import Iterable

from bionemo.scale.eval.metrics.catalogue import (
    CELL_EVAL2,
    FURTHER,
    GENE_SETS,
    HEADLINE,
    METRICS,
    PAPER_METRICS,
    REPLICATES,
    SCALED,
    SECOND_TABLE,
    Metric,
    PaperMetric,
)


HEADS = ("column", "in tables", "formula", "best", "reads")
_FIXED_K = re.compile(r"_at_\d+$")


def metric_tables() -> dict[str, str]:
    """Return the name of each table and its Markdown."""
    return {
        "paper metrics": _table(
            ("paper", "column", "equation", "cell-eval", "equal?"), (_paper_row(metric) for metric in PAPER_METRICS)
        ),
        "cell-eval metrics": _metrics("cell-eval"),
        "own metrics": _metrics("ours"),
        "replicate metrics": _table(HEADS, map(_row, REPLICATES)),
        "gene set metrics": _table(HEADS, map(_row, GENE_SETS)),
        "cell-eval2 metrics": _table(HEADS, map(_row, CELL_EVAL2)),
        "challenge metrics": _table(("column", "in tables", "formula"), (_row(metric)[:3] for metric in SCALED)),
    }


def with_metric_tables(page: str) -> str:
    """Return a page whose tables between ``<!-- NAME -->`` and ``<!-- end -->`` are those of the catalogue.

    Raises:
        ValueError: The page has no place for a table.
    """
    for name, table in metric_tables().items():
        begin, end = f"<!-- {name}, written by docs/metrics.py -->\n", "<!-- end -->"
        if page.count(begin) != 1:
            raise ValueError(f"expected {begin!r} once, found it {page.count(begin)} times")
        before, rest = page.split(begin)
        page = f"{before}{begin}\n{table}\n\n{end}{rest.partition(end)[2]}"
    return page


def _metrics(source: str) -> str:
    shown = (metric for metric in METRICS if metric.source == source and not _FIXED_K.search(metric.column))
    return _table(HEADS, map(_row, shown))


def _row(metric: Metric) -> tuple[str, ...]:
    shown = f"{metric.title or metric.column} ({_where(metric)})" if _where(metric) else ""
    return f"`{metric.column}`", shown, metric.formula, metric.best, metric.reads


def _where(metric: Metric) -> str:
    """Say in which table a metric is shown: that of the screen and the report, or the report's second one."""
    if metric in HEADLINE:
        return "first"
    return (
        "further"
        if metric in FURTHER
        else "own"
        if metric in (*SCALED, *SECOND_TABLE, *REPLICATES, *GENE_SETS)
        else ""
    )


def _paper_row(metric: PaperMetric) -> tuple[str, ...]:
    theirs = "-" if metric.cell_eval is None else f"`{metric.cell_eval}`"
    answer = "yes, but" if metric.equals_cell_eval else "no"
    return metric.name, f"`{metric.column}`", metric.equation, theirs, f"{answer}: {metric.because}"


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    # A pipe inside a cell would begin another.
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
