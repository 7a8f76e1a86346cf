# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Who may be called the best of a column, so that nobody is for having predicted nothing.

Three ways to a good number are no merit: cells that are all alike make every test significant, a guess hits where most
genes respond, and no prediction of cells can be known to be better than real cells are for one another.
"""

from collections.abc import Collection, Mapping

from bionemo.scale.eval.metrics.catalogue import BY_COLUMN, Metric, loss


SPREAD = BY_COLUMN["sd_ratio"].column
CONSTANT = 0.1
"""A prediction whose sd_ratio is smaller is constant: its cells are alike."""
BEST = "*"
BEYOND = "^"
"""Mark of a best value that is better than the ceiling, or than two samples of one population have on average."""

Means = Mapping[str, Mapping[str, float | None]]
"""Model to column to mean over pairs."""


def is_constant(means: Mapping[str, float | None]) -> bool:
    """Return whether a model predicts cells without spread, by its mean sd_ratio."""
    spread = means.get(SPREAD)
    return spread is not None and spread < CONSTANT


def ranked(names: Collection[str], metric: Metric, means: Means) -> list[str]:
    """Return the models that can be compared in a metric.

    Args:
        names: Models and baselines.
        metric: The column.
        means: Model to column to mean.

    Returns:
        Those with a value. Where the metric reads single cells or tests of them, only those whose cells differ.
    """
    return list(_comparable(names, metric, means))


def _comparable(names: Collection[str], metric: Metric, means: Means) -> dict[str, float]:
    values = {}
    for name in names:
        value = means[name].get(metric.column)
        if value is not None and not (metric.reads in ("tests", "cells") and is_constant(means[name])):
            values[name] = value
    return values


def best_of(names: Collection[str], metric: Metric, means: Means) -> str | None:
    """Return the model with the best mean.

    Args:
        names: Models and baselines.
        metric: The column.
        means: Model to column to mean.

    Returns:
        Its name; ``None`` where none can be compared.
    """
    values = _comparable(names, metric, means)
    return min(values, key=lambda name: loss(values[name], metric.best), default=None)


def marks(names: Collection[str], metric: Metric, means: Means, *, ceiling: str) -> dict[str, str]:
    """Return the mark of each model that has one: of the best of a column, which are all that print alike.

    It is :data:`BEYOND` where the best is beyond the ceiling, else :data:`BEST`; none where it is no better than a
    guess.

    Args:
        names: Models and baselines that may be marked.
        metric: The column.
        means: Of all rows, the ceiling's among them where there is one.
        ceiling: Its name.
    """
    values = _comparable(names, metric, means) if metric.best != "none" else {}
    if not values:
        return {}
    losses = {name: loss(round(value, metric.digits), metric.best) for name, value in values.items()}
    least = min(losses.values())
    best = [
        name
        for name, value in values.items()
        if losses[name] == least and not _is_guess(metric, value, means[name].get(metric.chance))
    ]
    limit = means.get(ceiling, {}).get(metric.column)
    beyond = limit is not None and least < loss(round(limit, metric.digits), metric.best)
    return {name: BEYOND if beyond or _is_too_good(metric, values[name]) else BEST for name in best}


def _is_too_good(metric: Metric, value: float) -> bool:
    """Whether an estimate is better than perfect."""
    return metric.perfect is not None and loss(value, metric.best) < loss(metric.perfect, metric.best)


def _is_guess(metric: Metric, value: float, chance: float | None) -> bool:
    return chance is not None and round(value, metric.digits) <= round(chance, metric.digits)
