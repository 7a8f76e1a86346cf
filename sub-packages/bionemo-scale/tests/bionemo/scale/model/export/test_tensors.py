# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from safetensors.torch import load_file, save_file

from bionemo.scale.model.export.tensors import read_tensors, write_tensors
from bionemo.scale.model.weights import init_weights, whole_tensors
from bionemo.scale.types import InputError


@pytest.fixture
def written(make_model, tmp_path):
    """A network with features, doses and a gated encoder, and its file."""
    model = make_model(gene_encoder="llama", perturbation_source="both", feature_size=3, dose_separator="@")
    path = tmp_path / "model.safetensors"
    write_tensors(model, path)
    return model, path


def test_every_tensor_comes_back_bit_for_bit(written, make_model):
    model, path = written
    other = make_model(gene_encoder="llama", perturbation_source="both", feature_size=3, dose_separator="@")
    init_weights(other, seed=7)
    differ = [name for name, value in whole_tensors(other).items() if not value.equal(whole_tensors(model)[name])]
    assert len(differ) > 20
    read_tensors(other, path)
    assert [name for name, value in whole_tensors(other).items() if not value.equal(whole_tensors(model)[name])] == []


def test_the_file_is_that_of_any_other_tool(written):
    """Its names are those of the network's own state, so that torch alone puts them in place."""
    model, path = written
    found = load_file(path)
    assert set(found) == {name for name in model.state_dict() if not name.endswith("_extra_state")}
    # Readable for whom other files are.
    other = path.with_name("other")
    other.touch()
    assert path.stat().st_mode == other.stat().st_mode


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensors: tensors.pop("head.linear.bias"), "expected a tensor head.linear.bias, found none"),
        (
            lambda tensors: tensors.update({"head.linear.bias": torch.zeros(5)}),
            r"expected head.linear.bias of shape \[32\] and torch.float32, found \[5\] and torch.float32",
        ),
        (
            lambda tensors: tensors.update({"head.linear.bias": torch.zeros(32, dtype=torch.float64)}),
            r"expected .* torch.float32, found \[32\] and torch.float64",
        ),
    ],
)
def test_another_network_s_weights_are_refused(written, change, said):
    model, path = written
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    with pytest.raises(InputError, match=f"model.safetensors: the weights cannot be read: {said}"):
        read_tensors(model, path)


@pytest.mark.parametrize("keep", [0, 5, 400, -1])
def test_a_file_that_is_cut_off_is_refused(written, keep):
    model, path = written
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"the weights cannot be read: \S") as error:
        read_tensors(model, path)
    assert "\n" not in str(error.value)
