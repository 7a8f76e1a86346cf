# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The preset "paper" beside the paper's equations, written here from their text alone in plain torch, float64."""

import math
from dataclasses import fields

import pytest
import torch
from torch import Tensor
from torch.nn.functional import gelu, silu

from bionemo.scale.flow.path import sample_times
from bionemo.scale.infer.generate import encode_controls, perturb
from bionemo.scale.model.config import ScaleModelConfig
from bionemo.scale.train.presets import PRESETS
from bionemo.scale.train.settings import TrainSettings
from bionemo.scale.train.step import forward_step


class Paper:
    """Equations 3 to 37 with the weights of a network by name: 2 encoder blocks, 2 transport blocks, 4 heads."""

    heads = 4

    def __init__(self, weights: dict[str, Tensor]):
        self.w = {name: tensor.detach().double().requires_grad_() for name, tensor in weights.items()}

    def linear(self, name: str, x: Tensor) -> Tensor:
        y = x @ self.w[f"{name}.weight"].T
        return y + self.w[f"{name}.bias"] if f"{name}.bias" in self.w else y

    def mlp(self, name: str, x: Tensor, activation=gelu) -> Tensor:
        return self.linear(f"{name}.linear_fc2", activation(self.linear(f"{name}.linear_fc1", x)))

    def norm(self, name: str, x: Tensor) -> Tensor:
        if f"{name}.bias" not in self.w:
            return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * self.w[f"{name}.weight"]
        x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        return x * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def attention(self, name: str, x: Tensor, turn=lambda x: x) -> Tensor:
        qkv = self.linear(f"{name}.linear_qkv", x).unflatten(-1, (self.heads, 3, -1)).transpose(-4, -3)
        q, k, v = turn(qkv[..., 0, :]), turn(qkv[..., 1, :]), qkv[..., 2, :]
        seen = torch.softmax(q @ k.mT / math.sqrt(q.shape[-1]), -1) @ v
        return self.linear(f"{name}.linear_proj", seen.transpose(-3, -2).flatten(-2))

    @staticmethod
    def rotary(x: Tensor) -> Tensor:
        length, size = x.shape[-2:]
        angle = torch.outer(torch.arange(length), 10000.0 ** (-torch.arange(0, size, 2) / size)).repeat(1, 2)
        a, b = x.chunk(2, -1)
        return x * angle.cos() + torch.cat([-b, a], -1) * angle.sin()

    def f_gene(self, x: Tensor) -> Tensor:
        """3 to 6: LLaMA blocks over the gene tokens of each cell."""
        embedding = self.w["gene_encoder.token_embedding.weight"]
        h = self.linear("gene_encoder.projection.linear", x).unflatten(-1, embedding.shape) + embedding
        for block in (f"gene_encoder.blocks.layers.{number}" for number in range(2)):
            normed = self.norm(f"{block}.input_layernorm", h)
            h = h + self.attention(f"{block}.self_attention", normed, self.rotary)
            swiglu = lambda y: silu(y.chunk(2, -1)[0]) * y.chunk(2, -1)[1]  # noqa: E731
            h = h + self.mlp(f"{block}.mlp", self.norm(f"{block}.pre_mlp_layernorm", h), swiglu)
        return self.norm("gene_encoder.blocks.final_layernorm", h).flatten(-2)

    def enc(self, x: Tensor) -> Tensor:
        """7 to 11: expression is the paper's, log1p divided by 10."""
        h = self.f_gene(x / 10)
        s = self.mlp("set_fusion.rho", self.mlp("set_fusion.phi", h).mean(1))
        return self.mlp("set_fusion.psi", torch.cat([h, s[:, None].expand(-1, h.shape[1], -1)], -1))

    def dec(self, z: Tensor) -> Tensor:
        """12."""
        return 10 * self.mlp("expression_decoder.mlp", z)

    def c_seed(self, labels: dict[str, Tensor]) -> Tensor:
        """31 to 33: one-hot vectors times tables, a projection, attention by a seed; no norm, no bias, no factor."""
        names = {"cell_type": "cell_type", "perturbation": "perturbation.embedding", "batch": "batch"}
        tables = {name: self.w[f"condition_encoder.{of}.weight"] for name, of in names.items()}
        hot = {name: torch.nn.functional.one_hot(labels[name], len(table)) for name, table in tables.items()}
        c = torch.stack([hot[name].double() @ table for name, table in tables.items()], 1)
        c = self.linear("condition_encoder.projection.linear", c)
        pool = "condition_encoder.pool"
        q, k = self.linear(f"{pool}.query.linear", self.w[f"{pool}.seed"]), self.linear(f"{pool}.key.linear", c)
        return torch.softmax(q @ k.mT / math.sqrt(c.shape[-1]), -1) @ self.linear(f"{pool}.value.linear", c)

    def z_1_hat(self, z_t: Tensor, t: Tensor, labels: dict[str, Tensor]) -> Tensor:
        """19, 20, 34 to 36; the angles of the time are counted in float32, as the network does."""
        angle = t[:, None] * (math.pi * 1000.0 ** (torch.arange(64) / 63))
        time = self.mlp("transport_input.time", torch.cat([angle.sin(), angle.cos()], -1).double())
        h, c = self.linear("transport_input.cells.linear", z_t) + time[:, None], self.c_seed(labels)
        for block in (f"transport_blocks.blocks.layers.{number}" for number in range(2)):
            joint = torch.cat([h, c], 1)
            update = self.attention(f"{block}.self_attention", self.norm(f"{block}.input_layernorm", joint))
            update = update + self.mlp(f"{block}.mlp", self.norm(f"{block}.pre_mlp_layernorm", joint))
            h = (joint + update)[:, :-1]
        return self.linear("head.linear", h)

    def loss(self, batch: dict[str, Tensor], t: Tensor, weight: float, mmd_weight: float) -> Tensor:
        """13 to 18, 21: squared norms of a cell are sums, expectations are means over the cells."""
        x_0, x_1 = batch["control"].double(), batch["perturbed"].double()
        z_0, z_1 = self.enc(x_0), self.enc(x_1)
        z_t = (1 - t.double()[:, None, None]) * z_0 + t.double()[:, None, None] * z_1
        flow = (self.z_1_hat(z_t, t, batch) - z_1).square().sum(-1).mean()
        pairs = ((self.dec(z_0), x_0), (self.dec(z_1), x_1))
        mse = sum((found - x).square().sum(-1).mean() for found, x in pairs)
        mmd = sum(torch.stack([mmd_squared(*each) for each in zip(*pair, strict=True)]).mean() for pair in pairs)
        return flow + weight * (mse + mmd_weight * mmd)


def mmd_squared(a: Tensor, b: Tensor) -> Tensor:
    """16, with the mean of five Gaussian kernels by the median heuristic."""
    median = torch.pdist(torch.cat([a, b]).detach()).square().median()

    def k(x: Tensor, y: Tensor) -> Tensor:
        distances = (x[:, None] - y[None]).square().sum(-1)
        return sum(torch.exp(-distances / (width * median)) for width in (0.25, 0.5, 1, 2, 4)).mean() / 5

    return k(a, a) + k(b, b) - 2 * k(a, b)


@pytest.fixture
def network(make_model):
    """A network of the preset none of whose weights are neutral."""
    model = make_model(encoder_num_layers=2, **PRESETS["paper"].fields)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.fixture
def paper(network) -> Paper:
    return Paper(dict(network.named_parameters()))


def test_training_minimises_the_papers_loss(network, paper, batch):
    """With the paper's sums in the place of means, and its two free weights as ours are when they are counted so."""
    config = network.config
    latent, genes = config.hidden_size, config.num_genes
    weights = dict(weight=config.autoencoder_weight * latent / genes, mmd_weight=config.mmd_weight * genes)
    expected = paper.loss(batch, sample_times(batch["seed"]), **weights) / latent
    found = forward_step(network.train(), [batch])["loss"]
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    found.backward()
    expected.backward()
    for name, parameter in network.named_parameters():
        error = (parameter.grad - paper.w[name].grad).norm() / paper.w[name].grad.norm()
        assert error < 1e-5, name


def test_every_part_of_the_network_is_the_papers(network, paper, batch):
    z_0, z_1 = (network.encode(batch[name]) for name in ("control", "perturbed"))
    torch.testing.assert_close(z_0.double(), paper.enc(batch["control"].double()), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(network.decode(z_1).double(), paper.dec(z_1.double()), rtol=1e-5, atol=1e-5)
    condition = network.condition(batch["cell_type"], batch["perturbation"], batch["batch"])
    torch.testing.assert_close(condition.double(), paper.c_seed(batch)[:, 0], rtol=1e-5, atol=1e-5)
    t = torch.tensor([0.0, 0.3, 0.9])
    found = network.transport(z_1, t, condition)
    torch.testing.assert_close(found.double(), paper.z_1_hat(z_1.double(), t, batch), rtol=1e-5, atol=1e-5)


def test_a_prediction_is_the_decoded_endpoint(network, paper, batch):
    """Equation 37 from t = 0. Files of log1p expression have no negative values: those are written as zero."""
    labels = {name: batch[name] for name in ("cell_type", "batch", "seed")}
    found = perturb(network.eval(), encode_controls(network, batch["control"], **labels), batch["perturbation"])
    z_0 = paper.enc(batch["control"].double())
    expected = paper.dec(paper.z_1_hat(z_0, torch.zeros(len(z_0)), batch))
    assert (expected < 0).any() and (expected > 0).any()
    error = (found.double() - expected.clamp_min(0)).norm() / expected.clamp_min(0).norm()
    assert error < 1e-6


@pytest.mark.parametrize("of", ["settings", "fields"])
def test_a_preset_changes_what_it_names(of: str):
    defaults = {field.name: field.default for field in fields(TrainSettings if of == "settings" else ScaleModelConfig)}
    named = getattr(PRESETS["paper"], of)
    assert [name for name, value in named.items() if defaults[name] == value] == []
    assert getattr(PRESETS["default"], of) == {}
