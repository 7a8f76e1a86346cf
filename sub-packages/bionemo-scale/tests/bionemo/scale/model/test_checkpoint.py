# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import megatron.core
import pytest
import torch
from megatron.core import dist_checkpointing

from bionemo.scale.model.checkpoint import load_network
from bionemo.scale.types import InputError


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_the_network_that_predicts_is_loaded_alone(ema_decay, make_model, tmp_path):
    """The running average where there is one, and nothing of the weights it follows."""
    model = make_model(ema_decay=ema_decay, pipeline_dtype=torch.float32)
    with torch.no_grad():
        for number, value in enumerate(model.predictor.state_dict().values()):
            if value is not None and value.is_floating_point():
                value.fill_(number)
    (tmp_path / "weights").mkdir()
    dist_checkpointing.save(model.sharded_state_dict("module."), str(tmp_path / "weights"))
    loaded = load_network(model.config, tmp_path)
    assert loaded.average is None and loaded.predictor is loaded
    expected = model.predictor.state_dict()
    assert set(loaded.state_dict()) == set(expected)
    for name, value in loaded.state_dict().items():
        assert value is None or torch.equal(value, expected[name]), name


@pytest.mark.parametrize(
    ("module", "of_another_release"),
    [("megatron.core.dist_checkpointing.strategies.torch", True), ("collections", False)],
)
def test_weights_of_another_megatron_are_refused_as_such(module, of_another_release, make_model, tmp_path):
    model = make_model(pipeline_dtype=torch.float32)
    (tmp_path / "weights").mkdir()
    dist_checkpointing.save(model.sharded_state_dict("module."), str(tmp_path / "weights"))
    # A pickle of a class that there is not; only one of Megatron's tells of a release.
    (tmp_path / "weights" / ".metadata").write_bytes(f"c{module}\nLater\n.".encode())
    with pytest.raises(InputError, match="the weights cannot be read: .*Later") as error:
        load_network(model.config, tmp_path)
    said = f"expected what megatron-core {megatron.core.__version__} can read, found a description by another release"
    assert (said in str(error.value)) is of_another_release
