# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import importlib.util
import os
from typing import get_args
from unittest import mock

import pytest
import torch

from bionemo.scale.megatron.kernels import PRECISIONS, check_devices, choose_layer_spec, crowded, fp8_multiple
from bionemo.scale.train.settings import PrecisionName, TrainSettings
from bionemo.scale.types import InputError


@pytest.fixture
def machine(monkeypatch):
    """Says what a machine has; nothing runs on what it pretends."""

    def pretend(*, capability: tuple[int, int] | None, engine: bool = False) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: capability is not None)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "A GPU")
        found = mock.Mock() if engine else None
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: found)

    return pretend


def refusal(spec: str, precision: str) -> str:
    with pytest.raises(InputError) as error:
        choose_layer_spec(spec, precision)
    return str(error.value)


def test_settings_name_every_precision():
    assert get_args(PrecisionName) == tuple(PRECISIONS)
    assert TrainSettings.precision in PRECISIONS


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_cpu_runs_torchs_layers(precision, machine):
    machine(capability=None)
    assert choose_layer_spec("auto", precision) == choose_layer_spec("local", precision) == "local"


def test_auto_takes_the_engine_where_it_runs(machine):
    machine(capability=(8, 0), engine=True)
    assert choose_layer_spec("auto", "bf16") == "te"
    assert choose_layer_spec("local", "bf16") == "local"
    machine(capability=(8, 0), engine=False)
    assert choose_layer_spec("auto", "bf16") == "local"


def test_the_engine_needs_a_gpu_and_the_package(machine):
    machine(capability=None, engine=True)
    assert refusal("te", "bf16") == "--spec te needs a CUDA device and Transformer Engine, found no CUDA device"
    machine(capability=(9, 0), engine=False)
    assert "found no package transformer_engine" in refusal("te", "bf16")


@pytest.mark.parametrize("precision", ["fp8", "fp8-current", "mxfp8"])
def test_fp8_is_refused_without_what_it_needs(precision, machine):
    machine(capability=None, engine=True)
    assert refusal("auto", precision).endswith("or more, found no CUDA device")
    assert refusal("local", precision).endswith("(--spec te), found --spec local")
    machine(capability=(8, 6), engine=True)
    assert refusal("auto", precision).endswith("or more, found A GPU with 8.6")
    machine(capability=(10, 0), engine=False)
    assert "found no package transformer_engine" in refusal("auto", precision)
    machine(capability=(10, 0), engine=True)
    assert choose_layer_spec("auto", precision) == choose_layer_spec("te", precision) == "te"


def test_mxfp8_needs_a_newer_gpu_than_fp8(machine):
    machine(capability=(9, 0), engine=True)
    assert choose_layer_spec("auto", "fp8") == "te"
    assert "needs a CUDA device of compute capability 10.0 or more" in refusal("auto", "mxfp8")


def test_bfloat16_needs_a_gpu_that_has_it(machine):
    machine(capability=(7, 5))
    assert "found A GPU with 7.5" in refusal("local", "bf16")


def test_shapes_are_multiples_of_what_a_scale_covers():
    assert {name: fp8_multiple(each.recipe) for name, each in PRECISIONS.items() if each.fp8} == {
        "fp8": 16,
        "fp8-current": 16,
        "mxfp8": 32,
    }


@pytest.mark.parametrize("name", PRECISIONS)
def test_fields_are_known_to_megatron_and_to_nemo(name, make_config):
    """Both are handed the same names; one that either lacks would be lost."""
    import inspect

    from nemo.lightning.pytorch.plugins.mixed_precision import MegatronMixedPrecision

    fields = PRECISIONS[name].config_fields()
    config = make_config(**fields, layer_spec="te" if fields["fp8"] else "local")
    assert {field: getattr(config, field) for field in fields} == fields
    assert fields.keys() - {"bf16"} <= inspect.signature(MegatronMixedPrecision).parameters.keys()


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_devices(2)
    with pytest.raises(InputError, match="^--devices: expected at most 2, the GPUs of this machine, found 8$"):
        check_devices(8)
    assert crowded(10_000) == ""


def test_processes_without_a_gpu_are_told_how_many_cores_they_share(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 3})
    check_devices(8)
    assert crowded(2) == "" and crowded(8).startswith("8 processes share 2 CPU cores")
