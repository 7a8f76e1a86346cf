# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Intervals say what other perturbations or donors would have given, and nothing where there are too few."""

import numpy as np
import polars as pl
import pytest
from scipy import stats

from bionemo.scale.eval.metrics import intervals
from bionemo.scale.eval.metrics.intervals import BatchDraws, PairBootstrap, batch_weights, bulk_by_batch


def table(values, *, contexts=("T",), model="m"):
    rows = [(model, c, f"p{i}", v) for c in contexts for i, v in enumerate(values)]
    return pl.DataFrame(rows, schema=["model", "context", "perturbation", "pearson_delta"], orient="row")


def test_interval_is_that_of_a_mean_of_independent_perturbations():
    values = np.random.default_rng(0).normal(0.5, 0.2, 60)
    frame = table(values)
    found = PairBootstrap(frame, seed=0).interval(frame, "pearson_delta")
    error = 1.96 * values.std() / np.sqrt(60)
    assert (found.low, found.high) == pytest.approx((values.mean() - error, values.mean() + error), abs=0.01)
    assert (found.unit, found.units) == ("perturbation", 60)
    assert PairBootstrap(frame, seed=0).interval(frame, "pearson_delta") == found
    assert PairBootstrap(frame, seed=1).interval(frame, "pearson_delta") != found


def test_more_contexts_of_one_perturbation_are_no_new_perturbations():
    values = np.random.default_rng(0).normal(0.5, 0.2, 20)
    once, often = (table(values, contexts=contexts) for contexts in (("A",), ("A", "B", "C", "D")))
    width = [
        (found.high - found.low)
        for frame in (once, often)
        if (found := PairBootstrap(frame, seed=0).interval(frame, "pearson_delta"))
    ]
    assert width[1] == pytest.approx(width[0])


def test_units():
    one = table([0.5], contexts=("A", "B", "C", "D"))
    assert PairBootstrap(one, seed=0).interval(one, "pearson_delta").unit == "context"
    few = table([0.1, 0.9], contexts=("A", "B"))
    assert PairBootstrap(few, seed=0).interval(few, "pearson_delta") is None
    undefined = table([0.1, 0.2, None, None, None])
    assert PairBootstrap(undefined, seed=0).interval(undefined, "pearson_delta") is None


def test_differences_are_taken_pair_by_pair():
    """Perturbations differ far more than models do: unpaired intervals would say nothing."""
    rng = np.random.default_rng(0)
    hard = rng.uniform(0, 1, 30)
    model, baseline = table(hard), table(hard - 0.05 + rng.normal(0, 0.01, 30), model="additive")
    found = PairBootstrap(model, seed=0).difference(model, baseline, "pearson_delta")
    assert (found.baseline, found.verdict) == ("additive", "better")
    assert 0.04 < found.low < found.difference < found.high < 0.06
    swapped = PairBootstrap(model, seed=0).difference(baseline, model.with_columns(model=pl.lit("x")), "pearson_delta")
    assert swapped.verdict == "worse"
    noise = table(hard + rng.normal(0, 0.1, 30), model="other")
    assert PairBootstrap(model, seed=0).difference(model, noise, "pearson_delta").verdict == "open"


def test_a_smaller_error_is_better():
    frame = table([1.0, 2.0, 3.0, 4.0]).rename({"pearson_delta": "mse"})
    larger = frame.with_columns(pl.col("mse") + 1, model=pl.lit("b"))
    assert PairBootstrap(frame, seed=0).difference(frame, larger, "mse").verdict == "better"


def test_a_difference_that_prints_as_nothing_is_none():
    frame = table([1.0, 2.0, 3.0, 4.0]).rename({"pearson_delta": "mse"})
    hardly = frame.with_columns(pl.col("mse") + 1e-9, model=pl.lit("b"))
    assert PairBootstrap(frame, seed=0).difference(frame, hardly, "mse").verdict == "open"


def test_a_draw_of_batches_is_the_pseudobulk_of_those_cells():
    rng = np.random.default_rng(0)
    cells, batch = rng.normal(size=(30, 4)), np.array(list("aabbc") * 6, dtype=object)
    weights = {"a": np.array([1.0, 2, 0]), "b": np.array([1.0, 0, 0]), "c": np.array([1.0, 1, 0])}
    found = bulk_by_batch(cells, batch).mean(weights)
    assert found[0] == pytest.approx(cells.mean(axis=0))
    drawn = np.concatenate([cells[batch == "a"], cells[batch == "a"], cells[batch == "c"]])
    assert found[1] == pytest.approx(drawn.mean(axis=0))
    assert np.isnan(found[2]).all()


def test_every_batch_is_left_out_once():
    weights = batch_weights(["z", "x", "y"])
    assert list(weights) == ["x", "y", "z"]
    assert np.stack(list(weights.values()), axis=1).tolist() == [[1, 1, 1], [0, 1, 1], [1, 0, 1], [1, 1, 0]]


def test_batch_interval_of_a_mean_is_the_t_interval():
    """For a plain mean of batches the jackknife is exact, which anchors its formula."""
    values = np.random.default_rng(0).normal(0.5, 0.1, 6)
    kept = np.stack(list(batch_weights(list("abcdef")).values()), axis=1)
    means = kept @ values / kept.sum(axis=1)
    draws = [
        BatchDraws(
            model="m",
            sums=dict.fromkeys(intervals.BATCH_METRICS, 3 * means),
            counts={name: np.full(7, 3) for name in intervals.BATCH_METRICS},
        )
    ]
    found = intervals.batch_intervals(draws)["m"]["mse"]
    expected = stats.t.interval(0.95, 5, values.mean(), values.std(ddof=1) / np.sqrt(6))
    assert (found.low, found.high) == pytest.approx(expected)
    assert (found.unit, found.units) == ("batch", 6)
    whole = {"m": dict.fromkeys(intervals.BATCH_METRICS, 3)}
    assert intervals.batch_intervals(draws, pairs=whole)["m"]["mse"] == found
    # A fourth pair has no draws: its value is in the mean, and cannot be in the interval.
    assert intervals.batch_intervals(draws, pairs={"m": dict.fromkeys(intervals.BATCH_METRICS, 4)}) == {}
