# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import torch
from megatron.core.dist_checkpointing.mapping import ShardedTensor
from torch import nn

from bionemo.scale.megatron.checkpoint import sharded_tensors


def test_every_tensor_of_a_network_is_described(make_model):
    model = make_model(ema_decay=0.9)
    described = {name for name, value in model.sharded_state_dict().items() if not name.endswith("_extra_state")}
    assert described == {name for name, tensor in model.state_dict().items() if tensor is not None}


def test_blocks_are_numbered_over_all_stages(make_model):
    """Each block is a slice of one tensor, so that stages do not write their first blocks under one name."""
    model = make_model(num_layers=3)
    described = model.sharded_state_dict()
    for layer in range(3):
        tensor = described[f"transport_blocks.blocks.layers.{layer}.mlp.linear_fc2.weight"]
        assert tensor.key == "transport_blocks.blocks.layers.mlp.linear_fc2.weight"
        assert tensor.global_shape == (3, 32, 64) and tensor.global_offset == (layer, 0, 0)


def test_the_average_is_kept_under_its_own_names(make_model):
    described = make_model(ema_decay=0.9).sharded_state_dict()
    keys = {tensor.key for tensor in described.values() if isinstance(tensor, ShardedTensor)}
    averaged = {key for key in keys if key.startswith("average.")}
    assert averaged == {f"average.{key}" for key in keys - averaged}


def test_names_are_those_of_fused_layers(model):
    """Transformer Engine keeps a norm inside the linear map that follows it; one name serves both layer specs."""
    keys = {tensor.key for tensor in model.sharded_state_dict().values()}
    stack = "transport_blocks.blocks.layers"
    for linear in ("self_attention.linear_qkv", "mlp.linear_fc1"):
        assert {f"{stack}.{linear}.layer_norm_weight", f"{stack}.{linear}.layer_norm_bias"} <= keys
    assert not [key for key in keys if "input_layernorm" in key or "pre_mlp_layernorm" in key]


def test_plain_modules_between_are_walked_through(process_groups):
    """A module of torch's between two of Megatron's must not hide how the inner one is split."""

    class Split(nn.Module):
        def sharded_state_dict(self, prefix, sharded_offsets, metadata):
            return {f"{prefix}weight": "split"}

    outer = nn.Sequential(nn.ModuleDict({"inner": Split()}), nn.Linear(2, 3))
    outer.register_buffer("known", torch.zeros(2))
    outer.register_buffer("scratch", torch.zeros(2), persistent=False)
    described = sharded_tensors(outer, prefix="net.")
    assert set(described) == {"net.0.inner.weight", "net.1.weight", "net.1.bias", "net.known"}
    assert described["net.0.inner.weight"] == "split"
    assert described["net.1.weight"].global_shape == (3, 2)
