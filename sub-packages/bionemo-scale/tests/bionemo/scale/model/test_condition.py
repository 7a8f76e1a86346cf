# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from torch import Tensor, nn

from bionemo.scale.model.condition import POOLINGS


@pytest.fixture
def tokens() -> Tensor:
    return torch.randn(5, 3, 32, generator=torch.Generator().manual_seed(0))


def linear(x: Tensor, module: nn.Module) -> Tensor:
    return x @ module.linear.weight.T + module.linear.bias


def mean_pool(tokens: Tensor, pool: nn.Module) -> Tensor:
    """Equation 38 with weights 1 / N."""
    return sum(tokens[:, i] for i in range(3)) / 3


def token_pool(tokens: Tensor, pool: nn.Module) -> Tensor:
    """Equation 38 with a weight from each token by itself."""
    scores = torch.stack([(torch.tanh(linear(tokens[:, i], pool.score)) * pool.query).sum(-1) for i in range(3)], -1)
    alpha = scores.exp() / scores.exp().sum(-1, keepdim=True)
    return sum(alpha[:, i, None] * tokens[:, i] for i in range(3))


def attention_pool(tokens: Tensor, pool: nn.Module) -> Tensor:
    """Softmax attention of every token to every token, then the mean."""
    query, key, value = (linear(tokens, part) for part in (pool.query, pool.key, pool.value))
    alpha = torch.softmax(torch.einsum("bqd,bkd->bqk", query, key) / math.sqrt(32), dim=-1)
    return torch.einsum("bqk,bkd->bqd", alpha, value).mean(1)


def seed_pool(tokens: Tensor, pool: nn.Module) -> Tensor:
    """Equations 32 and 33."""
    query, key, value = linear(pool.seed[0], pool.query), linear(tokens, pool.key), linear(tokens, pool.value)
    alpha = torch.softmax(key @ query / math.sqrt(32), dim=-1)
    return torch.einsum("bc,bcd->bd", alpha, value)


REFERENCES = {"mean": mean_pool, "token": token_pool, "attention": attention_pool, "seed": seed_pool}


def test_every_pooling_has_a_reference():
    assert set(REFERENCES) == set(POOLINGS)


@pytest.mark.parametrize("name", sorted(REFERENCES))
def test_pooling_is_its_equation(name, make_model, tokens):
    pool = make_model(condition_pooling=name).condition_encoder.pool
    torch.testing.assert_close(pool(tokens), REFERENCES[name](tokens, pool), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", sorted(REFERENCES))
def test_pooling_does_not_depend_on_the_order_of_tokens(name, make_model, tokens):
    pool = make_model(condition_pooling=name).condition_encoder.pool
    torch.testing.assert_close(pool(tokens[:, [2, 0, 1]]), pool(tokens), rtol=1e-4, atol=1e-5)


def test_a_label_is_its_one_hot_vector_times_the_table(model, batch):
    encoder = model.condition_encoder
    names = ("cell_type", "perturbation", "batch")
    embedded = []
    for name in names:
        table = getattr(encoder, name).weight
        embedded.append(nn.functional.one_hot(batch[name], table.shape[0]).float() @ table)
    expected = encoder.pool(linear(torch.stack(embedded, dim=1), encoder.projection))
    torch.testing.assert_close(encoder(*(batch[name] for name in names)), expected)


@pytest.mark.parametrize("name", sorted(REFERENCES))
@pytest.mark.parametrize("label", [0, 1, 2])
def test_each_label_tells_conditions_apart(name, label, make_model):
    encoder = make_model(condition_pooling=name).condition_encoder
    labels = [torch.tensor([0, 0]), torch.tensor([0, 0]), torch.tensor([0, 0])]
    labels[label] = torch.tensor([0, 1])
    token = encoder(*labels)
    assert (token[0] - token[1]).abs().max() > 1e-3


@pytest.mark.parametrize("label", [0, 1, 2])
def test_the_last_row_is_the_unknown_label(label, model, config):
    """Perturbations have the row of control before it."""
    rows = (config.num_cell_types, config.num_perturbations + 1, config.num_batches)
    labels = [torch.tensor([row]) for row in rows]
    assert torch.isfinite(model.condition_encoder(*labels)).all()
    labels[label] = labels[label] + 1
    with pytest.raises(IndexError):
        model.condition_encoder(*labels)
