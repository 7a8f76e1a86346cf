# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Values that are chosen on top of others: what goes first, and what may not differ."""

import pytest

from bionemo.scale.run.config.merge import merged, with_written_preset
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


def test_a_preset_beside_values_that_were_written_for_another_is_refused():
    assert with_written_preset({"preset": "paper", "lr": 0.5}, "paper") == {"preset": "paper", "lr": 0.5}
    assert with_written_preset({"lr": 0.5}, "paper") == {"preset": "paper", "lr": 0.5}, "its line was removed"
    found = "^a.preset: expected paper, whose .*, found default; .* --preset default$"
    with pytest.raises(InputError, match=found):
        with_written_preset({"preset": "default"}, "paper", key="a.preset")
    for name in ("papr", 3, ["paper"]):
        with pytest.raises(InputError, match="^values_of_preset must be one of default, paper, found "):
            with_written_preset({}, name)


@pytest.mark.parametrize("preset", PRESETS)
def test_values_that_nobody_wrote_for_a_preset_go_with_every_one(preset: str):
    """They are options, which go before what a preset decides."""
    of_default = {name: getattr(TrainSettings, name) for name in PRESETS["paper"].settings}
    for values in (of_default, PRESETS["paper"].settings, {}):
        held = {"preset": preset, **values}
        assert with_written_preset(held, None) == held
