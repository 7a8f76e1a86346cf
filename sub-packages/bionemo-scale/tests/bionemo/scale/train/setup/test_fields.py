# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import pytest

from bionemo.scale.model.config import ScaleModelConfig
from bionemo.scale.model.size.sizes import SIZES
from bionemo.scale.train.setup.fields import parse_overrides, size_fields
from bionemo.scale.types import InputError


@pytest.mark.parametrize("name", sorted(SIZES))
def test_a_size_is_a_copy_of_its_fields(name):
    fields = size_fields(name)
    assert fields == SIZES[name]
    fields["hidden_size"] = -1
    assert SIZES[name]["hidden_size"] > 0


def test_an_unknown_size_names_the_known_ones():
    with pytest.raises(InputError, match=r"--size must be one of tiny, small.*, found 'huge'"):
        size_fields("huge")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("num_layers", "4", 4),
        ("mmd_weight", "0.5", 0.5),
        ("mmd_weight", "1", 1.0),
        ("mmd_weight", "1e-3", 1e-3),
        ("stop_gradient_target", "true", True),
        ("stop_gradient_target", "False", False),
        ("stop_gradient_target", "0", False),
        ("condition_pooling", "mean", "mean"),
        ("loss_space", "jit-v", "jit-v"),
        ("prior", "gaussian_mix", "gaussian_mix"),
        ("normalization", "RMSNorm", "RMSNorm"),
        ("ffn_hidden_size", "128", 128),
        ("fp8", "hybrid", "hybrid"),
    ],
)
def test_text_becomes_the_fields_type(name, text, value):
    parsed = parse_overrides(ScaleModelConfig, {name: text})
    assert parsed == {name: value} and type(parsed[name]) is type(value)


def test_all_overrides_are_read():
    texts = {"num_layers": "4", "prior": "control"}
    assert parse_overrides(ScaleModelConfig, texts) == {"num_layers": 4, "prior": "control"}
    assert parse_overrides(ScaleModelConfig, {}) == {}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("num_layer", "4", r"--set num_layer=4: there is no such field; did you mean 'num_layers'"),
        ("zzzzqqq", "4", r"^--set zzzzqqq=4: there is no such field$"),
        ("num_layers", "four", r"--set num_layers: expected int, found 'four'"),
        ("num_layers", "4.5", r"--set num_layers: expected int, found '4.5'"),
        ("mmd_weight", "a lot", r"--set mmd_weight: expected float, found 'a lot'"),
        ("stop_gradient_target", "maybe", r"--set stop_gradient_target: expected true or false, found 'maybe'"),
        ("prior", "gauss", r"--set prior: expected one of control, gaussian_mix, .*, found 'gauss'"),
        ("loss_space", "X", r"--set loss_space: expected one of x, v, jit-v, found 'X'"),
        ("params_dtype", "float16", r"--set params_dtype: a field of type .* cannot be set from text"),
        ("init_method", "xavier", r"--set init_method: a field of type .* cannot be set from text"),
    ],
)
def test_refusals_are_one_line_with_the_field(name, text, message):
    with pytest.raises(InputError, match=message) as caught:
        parse_overrides(ScaleModelConfig, {name: text})
    assert "\n" not in str(caught.value)
