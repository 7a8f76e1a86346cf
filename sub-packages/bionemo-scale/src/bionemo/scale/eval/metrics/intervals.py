# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Intervals: how far a mean would move had other perturbations been tested, or other donors been sampled.

Cells are never resampled: thousands of cells of three donors are three donors. Perturbations (or contexts) are drawn
from the scores of pairs, all pairs of a perturbation together: a bootstrap. Batches (donors, plates) are left out one
at a time before the pseudobulk, which only the metrics that pseudobulks give can follow: a jackknife, because the few
distinct batches of a bootstrap draw make noisier pseudobulks, and every correlation smaller.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy import stats

from bionemo.scale.eval.metrics import formulas as metrics
from bionemo.scale.eval.metrics.catalogue import BY_COLUMN


NUM_DRAWS = 2000
COVERAGE = 0.95
MIN_UNITS = 3
"""Fewer perturbations, contexts or batches say nothing about those that were not tested."""
BATCH_METRICS = ("pearson_delta", "mse", "mae", "r2")
"""Metrics that are computed anew without each batch."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """95 % interval of a mean."""

    low: float
    high: float
    unit: str
    """What was drawn or left out: perturbation, context, batch or fold."""
    units: int
    """How many there are."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A model's mean minus that of the best baseline, over the pairs that both have."""

    baseline: str
    difference: float
    low: float
    high: float
    verdict: str
    """better, worse, or open where the interval holds 0."""

    @property
    def note(self) -> str:
        """What a line about it says after the interval."""
        return ""


@dataclass(frozen=True, kw_only=True)
class FoldDifference(Difference):
    """The same over the folds of a cross-validation."""

    folds: int
    ahead: int
    """Folds in which the model is the better one."""

    @property
    def note(self) -> str:
        """In how many folds the model is ahead."""
        return f"; ahead in {self.ahead} of {self.folds} folds"


class PairBootstrap:
    """Draws of perturbations, or of contexts where there are too few perturbations, one set of draws for everything.

    ``unit`` is ``None`` where neither has :data:`MIN_UNITS`.
    """

    def __init__(self, scores: pl.DataFrame, *, seed: int):
        """Prepare the draws for a table with the columns ``context`` and ``perturbation``."""
        self.unit: str | None = None
        for unit in ("perturbation", "context"):
            names = sorted(set(scores[unit].to_list()))
            if len(names) >= MIN_UNITS:
                self.unit, self._names = unit, {name: row for row, name in enumerate(names)}
                share = np.full(len(names), 1 / len(names))
                drawn = np.random.default_rng([seed, len(names)]).multinomial(len(names), share, NUM_DRAWS)
                # Products of whole numbers are slow.
                self._weights = drawn.astype(np.float64)
                return

    def interval(self, frame: pl.DataFrame, metric: str) -> Interval | None:
        """Return the interval of a metric's mean over the rows of one model."""
        if self.unit is None:
            return None
        values = frame.select(self.unit, metric).drop_nulls()
        if values[self.unit].n_unique() < MIN_UNITS:
            return None
        low, high = _quantiles(self._means(values, metric))
        return Interval(low=low, high=high, unit=self.unit, units=values[self.unit].n_unique())

    def difference(self, model: pl.DataFrame, baseline: pl.DataFrame, metric: str) -> Difference | None:
        """Compare two models pair by pair; ``baseline`` names its model in the column ``model``."""
        if self.unit is None:
            return None
        keys = ["context", "perturbation"]
        both = model.select(*keys, metric).join(baseline.select(*keys, pl.col(metric).alias("other")), on=keys)
        both = both.drop_nulls()
        if both[self.unit].n_unique() < MIN_UNITS:
            return None
        draws = self._means(both, metric) - self._means(both, "other")
        low, high = _quantiles(draws)
        return Difference(
            baseline=str(baseline["model"][0]),
            difference=float(both[metric].mean() - both["other"].mean()),
            low=low,
            high=high,
            verdict=verdict_of(low, high, metric),
        )

    def _means(self, frame: pl.DataFrame, column: str) -> np.ndarray:
        rows = [self._names[name] for name in frame[self.unit].to_list()]
        sums = np.bincount(rows, weights=frame[column].to_numpy(), minlength=len(self._names))
        counts = np.bincount(rows, minlength=len(self._names)).astype(np.float64)
        with np.errstate(invalid="ignore"):
            return (self._weights @ sums) / (self._weights @ counts)


def _quantiles(draws: np.ndarray) -> tuple[float, float]:
    tail = (1 - COVERAGE) / 2
    low, high = np.nanquantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def verdict_of(low: float, high: float, metric: str) -> str:
    """Return what the interval of a difference says of the model.

    Args:
        low: Lower end of the interval of model minus baseline.
        high: Upper end.
        metric: Column of the metric, which says which direction is better.

    Returns:
        "better", "worse", or "open" where the interval contains 0.
    """
    # A difference that tables print as 0 is none.
    low, high = (round(value, BY_COLUMN[metric].digits) for value in (low, high))
    if low <= 0 <= high:
        return "open"
    return "better" if (low > 0) == (BY_COLUMN[metric].best == "high") else "worse"


@dataclass(frozen=True, kw_only=True)
class BatchBulk:
    """Pseudobulks of a group of cells batch by batch."""

    names: tuple[str, ...]
    sums: np.ndarray
    """[batches, G] float64."""
    counts: np.ndarray
    """[batches] int64."""

    def mean(self, weights: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the pseudobulk under each set of weights, [draws, G]; NaN where no batch is left."""
        chosen = np.stack([weights[name] for name in self.names], axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return (chosen @ self.sums) / (chosen @ self.counts)[:, None]


def bulk_by_batch(expression: np.ndarray, batch: np.ndarray) -> BatchBulk:
    """Sum the cells of each batch.

    Args:
        expression: [cells, G].
        batch: [cells] labels.
    """
    names, codes = np.unique(batch.astype(str), return_inverse=True)
    sums = np.stack([expression[codes == code].sum(axis=0, dtype=np.float64) for code in range(len(names))])
    return BatchBulk(names=tuple(names.tolist()), sums=sums, counts=np.bincount(codes, minlength=len(names)))


def batch_weights(names: list[str]) -> dict[str, np.ndarray]:
    """Return the weight of each batch, [1 + batches]: once with all of them, then without each in turn."""
    weights = np.concatenate([np.ones((1, len(names))), 1 - np.eye(len(names))])
    return {name: weights[:, column] for column, name in enumerate(sorted(names))}


def batch_scores(
    *, pred: np.ndarray, real: np.ndarray, pred_control: np.ndarray, real_control: np.ndarray
) -> dict[str, np.ndarray]:
    """Score the pseudobulks of one pair in every draw.

    Args:
        pred: [draws, G] predicted means, log1p.
        real: [draws, G] real means.
        pred_control: [draws, G] means of the controls that predictions subtract.
        real_control: [draws, G] means of the controls that real cells subtract.

    Returns:
        Metric to its values, [draws].
    """
    return {
        "pearson_delta": metrics.pearson_delta(pred - pred_control, real - real_control),
        "mse": metrics.mse(pred, real),
        "mae": metrics.mae(pred, real),
        "r2": metrics.r2(pred, real),
    }


@dataclass(frozen=True, kw_only=True)
class BatchDraws:
    """Scores of one model in one context with all batches and without each, summed over the pairs."""

    model: str
    sums: dict[str, np.ndarray]
    """Metric to [draws] float64, over the pairs with a value."""
    counts: dict[str, np.ndarray]
    """Metric to [draws] int64."""


def batch_intervals(
    draws: list[BatchDraws], *, pairs: Mapping[str, Mapping[str, int]] | None = None
) -> dict[str, dict[str, Interval]]:
    """Join contexts: model to metric to the interval of its mean over pairs.

    Args:
        draws: Of every model and context that has them.
        pairs: Model to metric to the pairs with a value. A mean of which some have no draws gets no interval: it would
            be that of the others. ``None`` checks nothing.
    """
    intervals: dict[str, dict[str, Interval]] = {}
    for model in dict.fromkeys(item.model for item in draws):
        mine = [item for item in draws if item.model == model]
        for metric in BATCH_METRICS:
            counts = np.sum([item.counts[metric] for item in mine], axis=0)
            if pairs is not None and int(counts[0]) != pairs[model][metric]:
                continue
            with np.errstate(invalid="ignore"):
                means = np.sum([item.sums[metric] for item in mine], axis=0) / counts
            interval = _jackknife(float(means[0]), means[1:][np.isfinite(means[1:])], unit="batch")
            if interval is not None:
                intervals.setdefault(model, {})[metric] = interval
    return intervals


def fold_interval(values: np.ndarray) -> Interval | None:
    """Return Student's interval of a mean over folds; ``None`` for fewer than :data:`MIN_UNITS`.

    Folds are what a cross-validation repeats. They share most of their training data, so that the interval says how
    much folds differ, and is a little too short for other data.

    Args:
        values: [folds] float64.
    """
    if len(values) < MIN_UNITS:
        return None
    # The jackknife of a mean.
    return _jackknife(float(values.mean()), (values.sum() - values) / (len(values) - 1), unit="fold")


def _jackknife(mean: float, without: np.ndarray, *, unit: str) -> Interval | None:
    num = len(without)
    if num < MIN_UNITS or not np.isfinite(mean):
        return None
    error = np.sqrt((num - 1) / num * ((without - without.mean()) ** 2).sum())
    reach = float(stats.t.ppf((1 + COVERAGE) / 2, num - 1) * error)
    return Interval(low=mean - reach, high=mean + reach, unit=unit, units=num)
