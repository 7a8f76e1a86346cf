# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from bionemo.scale.options.settings import Settings
from bionemo.scale.types import InputError


def test_plain_values_are_what_json_can_hold(example):
    made: Settings = example.make(inputs=["a"], out="b", overrides={"x": 1})
    found = made.as_dict()
    assert found["inputs"] == ["a"] and found["keys"]["batch"] == "batch" and found["overrides"] == {"x": 1}
    assert list(found) == [*vars(made)]


def test_defaults_are_plain_values_too(example):
    defaults, made = example.defaults(), example.make(inputs=["a"], out="b").as_dict()
    assert defaults == {name: value for name, value in made.items() if name not in ("inputs", "out")}


def test_a_value_is_checked_however_settings_are_made(example):
    for make in (example, example.make):
        with pytest.raises(InputError, match="--steps must be at least 1, found 0"):
            make(inputs=(Path("a"),), out=Path("b"), steps=0)
    with pytest.raises(InputError, match="the following arguments are required: INPUT"):
        example.make(out="b")


def test_some_values_can_be_checked_alone(example):
    assert example.checked(steps=4, out="b") == {"out": Path("b"), "steps": 4}
    with pytest.raises(InputError, match="--rate must be above 0 and below 1, found 2.0"):
        example.checked(rate=2)
