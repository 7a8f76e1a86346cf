# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
from bionemo.scale.options.settings import Settings


def test_plain_values_are_what_json_can_hold(example):
    made: Settings = example(inputs=["a"], out="b", overrides={"x": 1})
    found = made.as_dict()
    assert found["inputs"] == ["a"] and found["keys"]["batch"] == "batch" and found["overrides"] == {"x": 1}
    assert list(found) == [*vars(made)]
