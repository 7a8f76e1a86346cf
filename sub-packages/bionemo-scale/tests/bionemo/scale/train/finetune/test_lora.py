# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from bionemo.scale.train.finetune.lora import add_adapters


@pytest.fixture
def inputs(batch, make_model):
    """Latent cells, times and conditions."""
    model = make_model()
    with torch.no_grad():
        condition = model.condition(batch["cell_type"], batch["perturbation"], batch["batch"])
        return model.encode(batch["control"]), torch.zeros(3), condition


@pytest.fixture
def adapted(make_model):
    model = make_model(ema_decay=0.9)
    add_adapters(model, rank=4, seed=0)
    return model


def move(model) -> None:
    """Give every adapter something to add."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "adapter.linear_out" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(len(name)), std=0.1)


def test_new_adapters_change_nothing(make_model, adapted, inputs, batch):
    before = make_model()
    with torch.no_grad():
        assert torch.equal(adapted.transport(*inputs), before.transport(*inputs))
        # By Megatron's own layers, which round in another order.
        torch.testing.assert_close(adapted.encode(batch["control"]), before.encode(batch["control"]))


def test_only_adapters_of_blocks_are_trained(adapted):
    blocks = [name for name, value in adapted.named_parameters() if ".layers." in name and value.requires_grad]
    # Norms of blocks are vectors, as small as what would adapt them.
    assert all("adapter." in name or "norm" in name for name in blocks)
    # One encoder block, two transport blocks, four linear maps each, two factors each.
    assert len([name for name in blocks if "adapter." in name]) == 3 * 4 * 2
    assert adapted.head.linear.weight.requires_grad


def test_the_average_merges_them(adapted, inputs, batch):
    still = adapted.average.transport(*inputs)
    move(adapted)
    adapted.update_average(step=0)
    with torch.no_grad():
        moved = adapted.transport(*inputs)
        assert not torch.allclose(moved, still, atol=1e-3)
        torch.testing.assert_close(adapted.average.transport(*inputs), moved, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            adapted.average.encode(batch["control"]), adapted.encode(batch["control"]), rtol=1e-4, atol=1e-5
        )
    assert not any("adapter" in name or "to_wrap" in name for name, _ in adapted.average.named_parameters())


def test_gradients_reach_the_adapters_and_not_what_they_adapt(adapted, inputs):
    move(adapted)
    adapted.transport(*inputs).square().mean().backward()
    layer = adapted.transport_blocks.blocks.layers[0]
    for linear in (layer.self_attention.linear_qkv, layer.self_attention.linear_proj, layer.mlp.linear_fc1):
        assert linear.adapter.linear_in.weight.grad.abs().max() > 0
        assert linear.to_wrap.weight.grad is None


def test_what_was_saved_can_be_loaded(adapted, make_model):
    move(adapted)
    other = make_model(ema_decay=0.9, seed=7)
    add_adapters(other, rank=4, seed=7)
    other.load_state_dict(adapted.state_dict())
    expected = dict(adapted.named_parameters())
    assert all(torch.equal(value, expected[name]) for name, value in other.named_parameters())


def test_adapters_are_saved_in_the_network_s_own_names(adapted, make_model):
    plain = set(make_model(ema_decay=0.9).sharded_state_dict())
    found = set(adapted.sharded_state_dict())
    assert plain <= found and all(".adapter.linear_" in name for name in found - plain)
