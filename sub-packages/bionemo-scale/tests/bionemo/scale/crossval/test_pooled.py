# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from scipy import stats

from bionemo.scale.crossval.pooled import Pooled, ScoredFold, pool
from bionemo.scale.eval.metrics.catalogue import HEADLINE
from bionemo.scale.eval.metrics.intervals import fold_interval
from bionemo.scale.eval.output.summarise import summarise
from bionemo.scale.eval.output.summary import Names


MSE = {
    "SCALE": (1.0, 2.0, 3.0),
    "additive": (2.0, 2.5, 3.5),
    "mixed_model": (9.0, 1.9, 9.0),
    "ceiling": (0.5, 0.5, 0.5),
}


@pytest.fixture
def fold(make_summary) -> Callable[..., ScoredFold]:
    def make(number: int, *, pairs: int = 1, fallback: int = 0, models: tuple[str, ...] = ("SCALE",)) -> ScoredFold:
        """A fold whose pairs have the mean squared errors above, and 1 more in the second pair, ..."""
        rows = [
            {
                "model": name,
                "context": "A",
                "perturbation": f"p{pair}",
                "cells_real": 5,
                "cells_pred": 5,
                **dict.fromkeys((metric.column for metric in HEADLINE), 0.1),
                "mse": MSE[name][number] + pair,
                "pearson_delta": None if name == "additive" else 0.5,
                "sd_ratio": 1.0,
            }
            for name in (*models, "additive", "mixed_model", "ceiling")
            for pair in range(pairs)
        ]
        scores = pl.DataFrame(rows)
        names = Names(models=list(models), baselines=["additive", "mixed_model"], ceiling=True)
        cells = {"additive": fallback, "mixed_model": 0}
        summary = make_summary(models=summarise(scores), names=names, pairs=pairs, fallback_cells=cells)
        return ScoredFold(name=f"donor {number}", scores=scores, summary=summary)

    return make


@pytest.fixture
def pooled(fold) -> Pooled:
    return pool([fold(0, pairs=3), fold(1), fold(2)])


def test_every_fold_counts_the_same_whatever_its_size(pooled):
    # Three pairs of errors 1, 2 and 3 are one fold of 2.
    assert pooled.models["SCALE"]["mse"].mean == pytest.approx((2 + 2 + 3) / 3)
    assert (pooled.models["SCALE"]["mse"].n, pooled.models["SCALE"]["mse"].interval.unit) == (3, "fold")
    assert pooled.models["additive"]["pearson_delta"].undefined == 3
    assert pooled.scores.height == 5 * 4 and pooled.scores.columns[0] == "fold"


def test_a_model_is_compared_fold_by_fold_with_the_baseline_that_is_best_over_all(pooled):
    found = pooled.against_best_baseline["SCALE"]["mse"]
    differences = np.array([-1.0, -0.5, -0.5])
    reach = stats.t.ppf(0.975, 2) * differences.std(ddof=1) / np.sqrt(3)
    assert (found.baseline, found.ahead, found.folds, found.verdict) == ("additive", 3, 3, "open")
    assert found.difference == pytest.approx(-2 / 3)
    assert (found.low, found.high) == pytest.approx((-2 / 3 - reach, -2 / 3 + reach))
    assert "ahead in 3 of 3 folds" in pooled.table and "not distinguishable from additive" in pooled.table


def test_a_baseline_that_fell_back_everywhere_is_no_rival(fold):
    found = pool([fold(number, fallback=10) for number in range(3)])
    assert found.unranked_baselines == ("additive",)
    assert found.against_best_baseline["SCALE"]["mse"].baseline == "mixed_model"
    assert pool([fold(number, fallback=10 * (number > 0)) for number in range(3)]).unranked_baselines == ()


def test_without_a_network_the_estimate_is_compared(fold):
    found = pool([fold(number, models=()) for number in range(3)])
    assert list(found.against_best_baseline) == ["mixed_model"]
    assert found.against_best_baseline["mixed_model"]["mse"].ahead == 1


def test_two_folds_have_no_interval(fold):
    found = pool([fold(0), fold(1)])
    assert found.against_best_baseline == {} and found.models["SCALE"]["mse"].interval is None
    assert "no intervals: fewer than three folds" in found.table


def test_the_interval_of_a_mean_over_folds_is_student_s():
    values = np.array([1.0, 2.0, 4.0, 4.5])
    found = fold_interval(values)
    expected = stats.t.interval(0.95, 3, loc=values.mean(), scale=values.std(ddof=1) / 2)
    assert (found.low, found.high, found.units) == (*map(pytest.approx, expected), 4)
