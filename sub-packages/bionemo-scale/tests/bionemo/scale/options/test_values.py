# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""One check for a command line, a recipe and Python."""

from pathlib import Path

import numpy as np
import pytest

from bionemo.scale.options.values import known_fields
from bionemo.scale.types import InputError, ObsKeys


def make(example, **fields):
    return example.make(**{"inputs": ["a.h5ad"], "out": "store", **fields})


def test_values_become_what_the_class_declares(example):
    made = make(example, steps=np.int64(4), rate=np.float32(0.5), labels=["x"], keys={"batch": "donor"})
    assert (made.inputs, made.out, made.labels) == ((Path("a.h5ad"),), Path("store"), ("x",))
    assert type(made.steps) is int and type(made.rate) is float
    assert made.keys == ObsKeys(batch="donor")


def test_one_value_is_a_sequence_of_one(example):
    made = make(example, inputs="a.h5ad", parts="a", labels="long label")
    assert (made.inputs, made.parts, made.labels) == ((Path("a.h5ad"),), ("a",), ("long label",))


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        (dict(steps=0), "--steps must be at least 1, found 0"),
        (dict(steps=2.5), "--steps must be a whole number, found 2.5"),
        (dict(steps="3"), "--steps must be a whole number, found '3'"),
        (dict(steps=True), "--steps must be a whole number, found True"),
        (dict(steps=None), "--steps must be a whole number, found None"),
        (dict(rate=float("nan")), "--rate must be above 0 and below 1, found nan"),
        (dict(inner=float("inf")), "--inner must be a whole number, found inf"),
        (dict(mode="fats"), "--mode must be one of fast, slow, found 'fats'"),
        (dict(loud="yes"), "--loud must be true or false, found 'yes'"),
        (dict(labels=("a", " ")), "--label must be text that is not empty, found ' '"),
        (dict(labels=3), "--label must be a list of values, each text that is not empty, found 3"),
        (dict(parts=("a", "c")), "--parts must be one of a, b, found 'c'"),
        (dict(out=""), "--out must be a path, found ''"),
        (dict(keys={"batch": ""}), "--batch-key must be the name of a column, found ''"),
        (dict(keys={"bach": "x"}), "ObsKeys: unknown setting 'bach'; did you mean 'batch'"),
        (dict(keys="batch"), "--keys must be ObsKeys, found 'batch'"),
        (dict(keys={"covariate": "time,time"}), "--covariate-key must be distinct names of columns"),
        (
            dict(keys={"covariate": "time, none"}),
            "--covariate-key must be names of columns, found 'none'; leave it out",
        ),
        (
            dict(keys={"perturbation": "drug", "covariate": "drug"}),
            "--covariate-key must be other columns than the perturbation, found 'drug'",
        ),
        (dict(overrides=["x"]), "--set must be names and values"),
        (dict(loud=True, mode="slow"), "--loud goes with --mode fast"),
    ],
)
def test_values_that_cannot_be(example, fields, found):
    with pytest.raises(InputError) as refused:
        make(example, **fields)
    assert found in str(refused.value)


def test_unknown_settings_name_the_nearest(example):
    with pytest.raises(InputError, match="Example: unknown setting 'step'; did you mean 'steps'"):
        known_fields(example, {"step": 3})
    assert known_fields(example, {"steps": 3}) == {"steps": 3}
