# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The mark of the best goes to no one for having said nothing."""

import pytest

from bionemo.scale.eval.metrics.catalogue import BY_COLUMN
from bionemo.scale.eval.metrics.ranking import best_of, marks


def row(**values):
    return {"sd_ratio": 1.0, **values}


def marked(metric: str, means: dict) -> dict[str, str]:
    return marks([name for name in means if name != "ceiling"], BY_COLUMN[metric], means, ceiling="ceiling")


def test_the_best_of_a_column_and_what_prints_alike():
    means = {"a": row(mse=0.1), "b": row(mse=0.1 + 1e-9), "c": row(mse=0.2), "d": row(mse=None)}
    assert marked("mse", means) == {"a": "*", "b": "*"}
    assert marked("sd_ratio", {"a": {"sd_ratio": 1.2}, "b": {"sd_ratio": 0.9}}) == {"b": "*"}
    assert marked("de_nsig_counts_pred", {"a": row(de_nsig_counts_pred=3.0)}) == {}
    assert marked("mse", {"a": row(mse=None)}) == {}


def test_best_of_those_with_a_value():
    means = {name: row(pearson_delta=value, mse=value) for name, value in (("a", 0.2), ("b", 0.5), ("c", None))}
    assert (best_of(means, BY_COLUMN["pearson_delta"], means), best_of(means, BY_COLUMN["mse"], means)) == ("b", "a")
    assert best_of(["c"], BY_COLUMN["mse"], means) is None


def test_constant_cells_do_not_win_what_reads_cells():
    """With most genes significant, constant cells reach an overlap of 0.79; their mean may still be the best."""
    means = {
        "model": row(overlap_at_N=0.5, de_chance=0.2, mse=0.2),
        "constant": row(overlap_at_N=0.79, de_chance=0.2, mse=0.1, sd_ratio=0.0),
    }
    assert marked("overlap_at_N", means) == {"model": "*"}
    assert marked("mse", means) == {"constant": "*"}
    assert best_of(means, BY_COLUMN["overlap_at_N"], means) == "model"
    assert best_of(means, BY_COLUMN["mse"], means) == "constant"
    assert best_of(["constant"], BY_COLUMN["overlap_at_N"], means) is None


@pytest.mark.parametrize("metric", ["overlap_at_N", "precision_at_N", "paper_deover", "paper_deprec"])
def test_a_guess_is_not_the_best(metric):
    means = {"a": row(**{metric: 0.79}, de_chance=0.8), "b": row(**{metric: 0.3}, de_chance=0.1)}
    assert marked(metric, means) == {}
    assert marked(metric, {**means, "c": row(**{metric: 0.9}, de_chance=0.8)}) == {"c": "*"}


def test_beyond_the_ceiling_is_no_star():
    means = {"a": row(pearson_delta=0.5), "b": row(pearson_delta=0.4), "ceiling": row(pearson_delta=0.45)}
    assert marked("pearson_delta", means) == {"a": "^"}
    means["ceiling"] = row(pearson_delta=0.5)
    assert marked("pearson_delta", means) == {"a": "*"}
    assert marked("edistance", {"a": row(edistance=-1e-5), "b": row(edistance=0.1)}) == {"a": "^"}
    assert marked("edistance", {"a": row(edistance=0.01), "b": row(edistance=0.1)}) == {"a": "*"}
