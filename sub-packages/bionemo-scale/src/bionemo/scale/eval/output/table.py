# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The table a user reads first: one row per model, the paper's headline metrics, the best of each marked."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from bionemo.scale.eval.cell_eval.newest import PREFIX
from bionemo.scale.eval.metrics.catalogue import (
    BY_COLUMN,
    EXPRESSED_COVERAGE,
    GENE_SETS,
    HEADLINE,
    REPLICATES,
    SCALED,
    SECOND_TABLE,
    Metric,
)
from bionemo.scale.eval.metrics.intervals import Difference
from bionemo.scale.eval.metrics.ranking import BEST, BEYOND, CONSTANT, is_constant, marks
from bionemo.scale.eval.output.summary import MetricSummary, SecondEvaluator, Summary, why_unranked
from bionemo.scale.eval.scores.task import CEILING


_FALLBACK = "[-]"
"""Mark of a baseline that only fell back."""

Summaries = Mapping[str, Mapping[str, MetricSummary]]


def tables(summary: Summary) -> str:
    """Return the table of headline metrics, and a second one where another cell-eval scored the cells too."""
    fallbacks = summary.unranked_baselines
    first = render_table(summary.models, headline_of(summary), ceiling=CEILING, fallbacks=fallbacks)
    if summary.current_evaluator is not None:
        version = summary.current_evaluator.versions["cell-eval"]
        newest = render_table(summary.models, newest_columns(), ceiling=CEILING, fallbacks=fallbacks)
        first += f"\n\nthe same cells scored by cell-eval {version}\n{newest}"
    if any(REPLICATES[0].column in row for row in summary.models.values()):
        models = {name: row for name, row in summary.models.items() if name in summary.names.models}
        first += f"\n\ntests of replicates, by DESeq2 on summed counts\n{render_table(models, REPLICATES)}"
    if has_gene_sets(summary):
        sets = render_table(summary.models, GENE_SETS, ceiling=CEILING, fallbacks=fallbacks)
        first += f"\n\nscores of gene sets\n{sets}"
    second = summary.second_evaluator
    return first if second is None else f"{first}\n\n{_second_tables(summary, second)}"


def has_gene_sets(summary: Summary) -> bool:
    """Whether gene sets were scored."""
    return any(GENE_SETS[0].column in row for row in summary.models.values())


def _second_tables(summary: Summary, second: SecondEvaluator) -> str:
    """Return the challenge's metrics on their scale, and those that each pair has."""
    fallbacks = summary.unranked_baselines
    version = second.versions["cell-eval2"]
    challenge = render_table(second.scaled, SCALED, ceiling=CEILING, fallbacks=fallbacks, over="cell types")
    pairs = render_table(summary.models, SECOND_TABLE, ceiling=CEILING, fallbacks=fallbacks)
    return (
        f"their counts scored by cell-eval2 {version}: metrics of the challenge, 0 the mean response, 1 a replicate\n"
        f"{challenge}\n\nthe same metrics and others, not scaled\n{pairs}"
    )


def headline_of(summary: Summary) -> tuple[Metric, ...]:
    """Return the headline metrics, and how often intervals hold the truth where a prediction gives them."""
    return with_values((*HEADLINE, BY_COLUMN[EXPRESSED_COVERAGE]), summary)


def with_values(columns: tuple[Metric, ...], summary: Summary) -> tuple[Metric, ...]:
    """Return columns without the optional ones that have no value in any row."""
    return tuple(
        metric
        for metric in columns
        if not metric.optional
        or any((item := row.get(metric.column)) is not None and item.n for row in summary.models.values())
    )


def newest_columns() -> tuple[Metric, ...]:
    """Return the headline metrics that cell-eval computes, in the columns of the newest one."""
    return tuple(replace(metric, column=PREFIX + metric.column, chance="") for metric in HEADLINE if metric.cell_eval)


def render_table(
    summaries: Summaries,
    columns: tuple[Metric, ...] = HEADLINE,
    *,
    ceiling: str = "",
    fallbacks: tuple[str, ...] = (),
    over: str = "pairs",
) -> str:
    """Render means over (context, perturbation) pairs, or over folds, as text.

    Args:
        summaries: Model to metric to its summary, rows in this order.
        columns: What to show.
        ceiling: Row of real cells, which are no model: it is never marked, and what is beyond it is marked as such.
        fallbacks: Baselines that only fell back: not ranked either, marked, and explained below the table.
        over: What the means are over, in the plural.

    Returns:
        Lines without a final newline. Marks are those of :mod:`bionemo.scale.eval.metrics.ranking`, ``-`` is a column
        without any value; footnotes explain marks and count the pairs or folds that have no value.
    """
    notes = _footnotes(summaries, columns, over)
    header = ["model", *(column.name + notes.get(column.name, ("", ""))[0] for column in columns)]
    cells = [[f"{name} {_FALLBACK}" if name in fallbacks else name] for name in summaries]
    means = {name: {column: item.mean for column, item in row.items()} for name, row in summaries.items()}
    competing = [name for name in summaries if name != ceiling and name not in fallbacks]
    marked = {column.column: marks(competing, column, means, ceiling=ceiling) for column in columns}
    for column in columns:
        for row, text in zip(cells, _column_cells(summaries, column, marked[column.column]), strict=True):
            row.append(text)
    lines = in_columns(header, cells)
    lines += legend(columns, [mark for marks in marked.values() for mark in marks.values()])
    lines += _constant(columns, [name for name in competing if is_constant(means[name])])
    if fallbacks:
        lines.append(f"{_FALLBACK} {why_unranked(fallbacks)}")
    return "\n".join([*lines, *(f"{mark.strip()} {text}" for mark, text in notes.values())])


def in_columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table: the first column to the left, the others to the right."""
    widths = [max(len(row[index]) for row in [header, *rows]) for index in range(len(header))]
    return [_line(header, widths), "  ".join("-" * width for width in widths), *(_line(row, widths) for row in rows)]


def comparisons(found: Mapping[str, Mapping[str, Difference]], *, interval: str) -> list[str]:
    """Say for the headline metrics whether a model is better than the best baseline, beyond chance.

    Args:
        found: Model to column to its difference.
        interval: What the intervals are, in the plural.
    """
    lines = []
    for model, differences in found.items():
        texts = [
            f"{metric.name} {item.verdict} than {item.baseline} ({item.difference:+.{metric.digits}f}, "
            f"{item.low:+.{metric.digits}f} to {item.high:+.{metric.digits}f}{item.note})"
            for metric in HEADLINE
            if (item := differences.get(metric.column)) is not None
        ]
        if texts:
            lines += [f"\n{model} against the best baseline of each column, {interval}:"]
            lines += [f"  {text.replace('open than', 'not distinguishable from')}" for text in texts]
    return lines


def legend(columns: tuple[Metric, ...], marked: Collection[str]) -> list[str]:
    """Return what the marks of a table say, and which PDCorr it shows.

    Args:
        columns: Of the table.
        marked: Marks that are in it.
    """
    nearest = [f"; for {metric.name} the nearest to 1" for metric in columns if metric.best == "one"]
    lines = [f"{BEST} best of its column{''.join(nearest)}"]
    guessed = [metric.name for metric in columns if metric.chance]
    if guessed:
        chance = BY_COLUMN["de_chance"].name
        lines[0] += f"; {' and '.join(guessed)} only if above {chance}, the score of random genes"
    if BEYOND in marked:
        lines.append(
            f"{BEYOND} best of its column, and better than the ceiling (for a distance: below 0); one half of the "
            "real cells predicts the other half no better"
        )
    shared, split = BY_COLUMN["pearson_delta"], BY_COLUMN["pearson_delta_split"]
    if shared in columns:
        lines.append(
            f"{shared.name} subtracts the same controls on both sides, which raises it; {split.column} in results.csv "
            "subtracts separate halves"
        )
    return lines


def _constant(columns: tuple[Metric, ...], names: list[str]) -> list[str]:
    spoilt = [metric.name for metric in columns if metric.reads in ("tests", "cells") and metric.best != "none"]
    if not names or not spoilt:
        return []
    return [f"cells all alike (sd_ratio under {CONSTANT}), so not ranked in {', '.join(spoilt)}: {', '.join(names)}"]


def _line(row: Sequence[str], widths: list[int]) -> str:
    first, *rest = (
        text.ljust(width) if index == 0 else text.rjust(width)
        for index, (text, width) in enumerate(zip(row, widths, strict=True))
    )
    return "  ".join([first, *rest]).rstrip()


def _column_cells(summaries: Summaries, column: Metric, marked: Mapping[str, str]) -> list[str]:
    means = {name: metrics[column.column].mean for name, metrics in summaries.items()}
    return [
        "- " if mean is None else f"{mean:.{column.digits}f}{marked.get(name, ' ')}" for name, mean in means.items()
    ]


def _footnotes(summaries: Summaries, columns: tuple[Metric, ...], over: str) -> dict[str, tuple[str, str]]:
    """Return column title to (mark, text) for columns in which some model lacks values."""
    notes: dict[str, tuple[str, str]] = {}
    for column in columns:
        values = {name: metrics[column.column] for name, metrics in summaries.items()}
        counts = {
            name: item.undefined
            for name, item in values.items()
            if item.undefined and not (column.optional and not item.n)
        }
        if not counts:
            continue
        total = max(item.n + item.undefined for item in values.values())
        if len(counts) == len(values) and len(set(counts.values())) == 1:
            where = f"{next(iter(counts.values()))} of {total} {over}"
        else:
            where = ", ".join(f"{name} {count}" for name, count in counts.items()) + f" of {total} {over}"
        mark = f"[{chr(ord('a') + len(notes))}]"
        why = dict.fromkeys(reason for item in values.values() for reason in item.why)
        notes[column.name] = (mark, f"{column.name} undefined ({' / '.join(why) or 'no value'}): {where}")
    return notes
