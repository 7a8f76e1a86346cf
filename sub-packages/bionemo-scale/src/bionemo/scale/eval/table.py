# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The table a user reads first: one row per model, the paper's headline metrics, the best of each marked."""

from collections.abc import Mapping

from bionemo.scale.eval.metrics.catalogue import HEADLINE, Metric, loss
from bionemo.scale.eval.results import MetricSummary, why_unranked


_FALLBACK = "[-]"
"""Mark of a baseline that only fell back."""

Summaries = Mapping[str, Mapping[str, MetricSummary]]


def render_table(
    summaries: Summaries,
    columns: tuple[Metric, ...] = HEADLINE,
    *,
    unranked: tuple[str, ...] = (),
    fallbacks: tuple[str, ...] = (),
) -> str:
    """Render means over (context, perturbation) pairs as text.

    Args:
        summaries: Model to metric to its summary, rows in this order.
        columns: What to show.
        unranked: Rows that are shown but cannot be the best, as real cells are no model.
        fallbacks: Baselines that only fell back: not ranked either, marked, and explained below the table.

    Returns:
        Lines without a final newline. ``*`` marks the best of a column (all that print alike), ``-`` a column without
        any value; footnotes count the pairs that have none.
    """
    notes = _footnotes(summaries, columns)
    header = ["model", *(column.name + notes.get(column.name, ("", ""))[0] for column in columns)]
    cells = [[f"{name} {_FALLBACK}" if name in fallbacks else name] for name in summaries]
    for column in columns:
        for row, text in zip(cells, _column_cells(summaries, column, (*unranked, *fallbacks)), strict=True):
            row.append(text)
    widths = [max(len(row[index]) for row in [header, *cells]) for index in range(len(header))]
    lines = [_line(header, widths), "  ".join("-" * width for width in widths)]
    lines += [_line(row, widths) for row in cells]
    lines.append("* best of its column" + "".join(f"; {_rule(column)}" for column in columns if column.best == "one"))
    if fallbacks:
        lines.append(f"{_FALLBACK} {why_unranked(fallbacks)}")
    return "\n".join([*lines, *(f"{mark.strip()} {text}" for mark, text in notes.values())])


def _rule(column: Metric) -> str:
    return f"{column.name} is best at 1"


def _line(row: list[str], widths: list[int]) -> str:
    first, *rest = (
        text.ljust(width) if index == 0 else text.rjust(width)
        for index, (text, width) in enumerate(zip(row, widths, strict=True))
    )
    return "  ".join([first, *rest]).rstrip()


def _column_cells(summaries: Summaries, column: Metric, unranked: tuple[str, ...]) -> list[str]:
    means = {name: metrics[column.column].mean for name, metrics in summaries.items()}
    rounded = {name: None if mean is None else round(mean, column.digits) for name, mean in means.items()}
    racing = [value for name, value in rounded.items() if value is not None and name not in unranked]
    best = min(racing, key=lambda value: loss(value, column.best)) if racing else None
    return [
        "- " if value is None else f"{value:.{column.digits}f}{'*' if value == best and name not in unranked else ' '}"
        for name, value in rounded.items()
    ]


def _footnotes(summaries: Summaries, columns: tuple[Metric, ...]) -> dict[str, tuple[str, str]]:
    """Return column title to (mark, text) for columns in which some model lacks values."""
    notes: dict[str, tuple[str, str]] = {}
    for column in columns:
        found = {name: metrics[column.column] for name, metrics in summaries.items()}
        counts = {name: item.undefined for name, item in found.items() if item.undefined}
        if not counts:
            continue
        total = max(item.n + item.undefined for item in found.values())
        if len(counts) == len(found) and len(set(counts.values())) == 1:
            where = f"{next(iter(counts.values()))} of {total} pairs"
        else:
            where = ", ".join(f"{name} {count}" for name, count in counts.items()) + f" of {total} pairs"
        mark = f"[{chr(ord('a') + len(notes))}]"
        why = dict.fromkeys(reason for item in found.values() for reason in item.why)
        notes[column.name] = (mark, f"{column.name} left out ({' / '.join(why) or 'no value'}): {where}")
    return notes
