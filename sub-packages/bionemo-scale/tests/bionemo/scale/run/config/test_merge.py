# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Values that are chosen on top of others: what goes first, and what may not differ."""

import pytest

from bionemo.scale.run.config.merge import check_preset, merged
from bionemo.scale.train.presets import PRESETS
from bionemo.scale.train.settings import TrainSettings
from bionemo.scale.types import InputError


WORDS = {"holder": "the file has it", "advice": "write another"}


def test_chosen_values_go_first_and_overrides_are_joined():
    held = {"size": "tiny", "lr": 0.5, "seed": 1, "overrides": {"num_layers": "3", "ffn_hidden_size": "8"}}
    found = merged(held, {"lr": 0.25, "size": "tiny", "overrides": {"num_layers": 4}}, **WORDS)
    assert (found["lr"], found["seed"]) == (0.25, 1)
    assert found["overrides"] == {"num_layers": "4", "ffn_hidden_size": "8"}
    assert held["overrides"]["num_layers"] == "3"


@pytest.mark.parametrize(("name", "held", "chosen"), [("size", "tiny", "base"), ("preset", "default", "paper")])
def test_another_size_or_preset_is_refused(name: str, held: str, chosen: str):
    with pytest.raises(InputError, match=f"^--{name}: expected {held} as the file has it, found {chosen}; write anot"):
        merged({name: held}, {name: chosen}, **WORDS, mark="--")
    assert merged({}, {name: chosen}, **WORDS)[name] == chosen


def test_no_size_is_no_other_size():
    held = {"size": "tiny", "lr": 0.5}
    assert merged(held, {"size": None, "lr": 0.25}, **WORDS) == {"size": "tiny", "lr": 0.25, "overrides": {}}
    assert merged({}, {"size": None}, **WORDS) == {"overrides": {}}


PAPER = PRESETS["paper"]


def test_a_preset_beside_all_values_of_another_is_refused():
    of_default = {name: getattr(TrainSettings, name) for name in PAPER.settings}
    check_preset({"preset": "default", **of_default}, None)
    check_preset({"preset": "paper", **PAPER.settings}, dict(PAPER.fields))
    check_preset({"sets": "mixed"}, {})
    for preset, other, values in (("paper", "default", of_default), ("default", "paper", PAPER.settings)):
        with pytest.raises(
            InputError, match=f"^preset: expected {other}, whose .*, found {preset}; .* --preset {preset}"
        ):
            check_preset({"preset": preset, **values}, None)
        # One of them is another choice.
        check_preset({"preset": preset, **values, "control_share": 0.123}, None)
        check_preset({"preset": preset, **values}, {})
