# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""A CUDA kernel takes no tensor of the host. Neither do these, on a machine that has no CUDA device.

torch's "meta" tensors have shapes and no values, and stand for those of a device; operations that take one of them and
a tensor of the host, and that CUDA would refuse, are refused here. What is only read as a number (seeds) is on the
host.
"""

import pytest
import torch
from megatron.core.models.common.embeddings.rotary_pos_embedding import RotaryEmbedding
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from bionemo.scale.infer.generate import encode_controls, perturb
from bionemo.scale.train.finetune.transfer import Match, Matches, copy_weights
from bionemo.scale.train.step import forward_step


COPIES = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}
# Positions may be on the host.
INDEXING = {torch.ops.aten.index.Tensor, torch.ops.aten.index_put_.default}


class OneDevice(TorchDispatchMode):
    """Refuses operations on tensors of the device and of the host together."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        inputs = args[:1] if function in INDEXING else (args, kwargs)
        tensors = [leaf for leaf in tree_leaves(inputs) if isinstance(leaf, torch.Tensor)]
        # A single number is passed to a kernel by value.
        devices = {tensor.device.type for tensor in tensors if tensor.dim() or tensor.device.type == "meta"}
        if len(devices) > 1 and function not in COPIES:
            raise RuntimeError(f"{function} on tensors of the device and of the host")
        return function(*args, **(kwargs or {}))


VARIANTS = [
    {},
    dict(prior="gaussian_mix", num_generation_samples=2),
    dict(prior="gaussian_mix_masked"),
    dict(prior="control_masked"),
    dict(condition_pooling="mean"),
    dict(condition_pooling="token"),
    dict(condition_pooling="attention"),
    dict(gene_encoder="attention", gene_pooling="mean"),
    dict(anchor="additive"),
    dict(endpoint_mmd_weight=1.0, mmd_estimator="unbiased"),
    dict(parameterization="v", loss_space="v", num_generation_steps=3, solver="heun"),
    dict(perturbation_source="both", feature_size=5),
    dict(stop_gradient_target=True, hidden_dropout=0.1, attention_dropout=0.1),
]


@pytest.fixture(params=VARIANTS, ids=str)
def on_device(request, make_model, batch):
    model = make_model(ema_decay=0.9, **request.param).to("meta")
    for module in model.modules():
        if isinstance(module, RotaryEmbedding):
            # Megatron moves it to the CUDA device when it is first used.
            module.inv_freq = module.inv_freq.to("meta")
    return model, {name: value if name == "seed" else value.to("meta") for name, value in batch.items()}


def test_a_training_step_stays_on_the_device(on_device):
    model, batch = on_device
    with OneDevice():
        terms = forward_step(model.train(), [batch])
        terms["loss"].backward()
        model.update_average(step=3)
    assert all(value.device.type == "meta" for value in terms.values())
    assert all(p.grad is None or p.grad.device.type == "meta" for p in model.parameters())


@pytest.mark.parametrize("generation", ["decode", "displace", "contrast"])
def test_a_prediction_stays_on_the_device(generation, on_device):
    model, batch = on_device
    network = model.predictor.eval()
    network.config.generation = generation
    labels = {name: batch[name] for name in ("cell_type", "batch", "seed")}
    with OneDevice():
        controls = encode_controls(network, batch["control"], **labels).take(torch.tensor([2, 0, 0]))
        cells = perturb(network, controls, batch["perturbation"])
    assert cells.device.type == "meta" and controls.seed.device.type == "cpu"


def test_new_labels_join_the_tables_of_the_device(make_model):
    model = make_model(perturbation_source="both", feature_size=5, dose_separator="@", max_agents=2).to("meta")
    encoder = model.condition_encoder.perturbation
    with OneDevice():
        encoder = encoder.with_labels(
            torch.tensor([[0, 1, 2]]), doses=torch.full((1, 3), 2.0), features=torch.ones(2, 5)
        )
        embedded = encoder(torch.zeros(3, dtype=torch.int64, device="meta"))
    assert embedded.device.type == encoder.members.device.type == encoder.feature_table.device.type == "meta"


@pytest.mark.parametrize("source, target", [("cpu", "meta"), ("meta", "meta")])
def test_weights_are_carried_over_from_either_side(source, target, make_model):
    """A network that has just been built is partly on the device, partly on the host."""
    old, new = make_model().to(source), make_model(num_genes=30).to(target)
    genes = Match(old=tuple(f"g{i}" for i in range(24)), new=tuple(f"g{i}" for i in range(30)))
    same = Match(old=("a",), new=("a",))
    with OneDevice():
        copy_weights(old, new, Matches(genes=genes, cell_types=same, agents=same, batches=same))
    assert new.expression_decoder.mlp.linear_fc2.weight.device.type == target


def test_a_mixture_is_found():
    """In place too, where torch itself does not look."""
    cells, offset = torch.zeros(3, 4, device="meta"), torch.rand(4)
    with OneDevice():
        for mixed in (
            lambda: cells + offset,
            lambda: cells[0].add_(offset),
            lambda: torch.where(offset > 0, cells[0], 0.0),
        ):
            with pytest.raises(RuntimeError, match="of the device and of the host"):
                mixed()
        assert (cells[:, torch.tensor([1, 0])] * torch.tensor(2.0) + offset.to("meta")[:2]).shape == (3, 2)
