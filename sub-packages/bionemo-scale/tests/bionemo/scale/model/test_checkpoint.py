# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from megatron.core import dist_checkpointing

from bionemo.scale.model.checkpoint import load_network


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
