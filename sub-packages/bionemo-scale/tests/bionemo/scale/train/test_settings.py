# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json
from pathlib import Path

import pytest

from bionemo.scale.recipes.defaults import train_settings
from bionemo.scale.train.settings import TrainSettings
from bionemo.scale.types import InputError


def settings(**fields) -> TrainSettings:
    return TrainSettings(**{"store": Path("store"), "out": Path("run"), **fields})


def test_sizes_that_follow():
    run = settings(devices=8, num_nodes=2, tensor_parallel=2, pipeline_parallel=2, micro_batch_size=4, accumulate=3)
    assert run.data_parallel == 4
    assert run.global_batch_size == 4 * 3 * 4
    assert settings().data_parallel == 1
    assert settings().global_batch_size == settings().micro_batch_size


@pytest.mark.parametrize(
    "name", ["max_steps", "set_size", "micro_batch_size", "accumulate", "val_interval", "log_interval"]
)
@pytest.mark.parametrize("value", [0, -3])
def test_counts_start_at_one(name, value):
    with pytest.raises(InputError, match=f"--{name.replace('_', '-')} must be at least 1, found {value}"):
        settings(**{name: value})


@pytest.mark.parametrize("name", ["devices", "num_nodes", "tensor_parallel", "pipeline_parallel"])
@pytest.mark.parametrize("value", [0, -1])
def test_a_layout_has_at_least_one_of_everything(name, value):
    with pytest.raises(InputError, match=f"--{name.replace('_', '-')} must be at least 1, found {value}"):
        settings(**{name: value})


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_some_sets_must_be_perturbed(share):
    with pytest.raises(InputError, match=f"--control-share must be at least 0 and below 1, found {share}"):
        settings(control_share=share)


def test_processes_must_fill_the_layout():
    with pytest.raises(InputError, match="multiple of tensor times pipeline parallel = 4, found 6"):
        settings(devices=6, tensor_parallel=2, pipeline_parallel=2)


def test_a_preset_goes_before_a_sizes_defaults_and_after_the_users():
    def chosen(**fields) -> TrainSettings:
        return train_settings("base", store=Path("store"), out=Path("run"), **fields)

    paper = chosen(preset="paper", control_share=0.2)
    assert (paper.weighting, paper.control_share, paper.blind_share) == ("proportional", 0.2, 0.0)
    assert paper.sets == "mixed"
    assert chosen(preset="default") == chosen()
    fields = ("preset", "weighting", "control_share", "blind_share", "sets")
    as_before = {name: getattr(chosen(), name) for name in fields}
    assert dataclasses.replace(paper, **as_before) == chosen()
    for found in ("papre", ["paper"], None):
        with pytest.raises(InputError, match="--preset must be "):
            chosen(preset=found)


def test_plain_values_survive_json():
    values = settings(overrides={"num_layers": "3"}).as_dict()
    assert json.loads(json.dumps(values)) == values
    assert (values["store"], values["out"], values["overrides"]) == ("store", "run", {"num_layers": "3"})
