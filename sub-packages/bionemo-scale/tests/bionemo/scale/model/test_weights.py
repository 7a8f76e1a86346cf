# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from torch import Tensor

from bionemo.scale.model.weights import init_weights


def weights(model) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def is_random(name: str) -> bool:
    return "norm" not in name and not name.endswith("bias")


@pytest.fixture(params=["llama", "attention"])
def initial(request, make_model) -> dict[str, Tensor]:
    return weights(make_model(gene_encoder=request.param, encoder_num_layers=2))


def test_same_seed_same_weights_whatever_the_global_state(model):
    init_weights(model, seed=3)
    first = weights(model)
    torch.manual_seed(99)
    init_weights(model, seed=3)
    second = weights(model)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_every_random_weight_differs_by_seed(model):
    init_weights(model, seed=0)
    first = weights(model)
    init_weights(model, seed=1)
    second = weights(model)
    same = [name for name in first if is_random(name) and torch.equal(first[name], second[name])]
    assert same == []


def test_norms_are_one_and_biases_zero(initial):
    norms = [name for name in initial if "norm" in name and name.endswith("weight")]
    biases = [name for name in initial if name.endswith("bias")]
    assert len(norms) > 5 and len(biases) > 10
    for name in norms:
        assert torch.equal(initial[name], torch.ones_like(initial[name])), name
    for name in biases:
        assert torch.equal(initial[name], torch.zeros_like(initial[name])), name


def test_no_two_tensors_are_drawn_alike(initial):
    """Neither two layers of a stack nor two modules of one shape."""
    seen: dict[tuple, str] = {}
    for name in filter(is_random, initial):
        scaled = initial[name].flatten()[:8] / initial[name].std()
        key = tuple(round(float(value), 3) for value in scaled)
        assert key not in seen, (name, seen.get(key))
        seen[key] = name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gene_encoder.projection.linear.weight", 1 / math.sqrt(24)),
        ("gene_encoder.token_embedding.weight", 0.1),
        ("set_fusion.phi.linear_fc1.weight", 1 / math.sqrt(128)),
        ("condition_encoder.perturbation.embedding.weight", 0.1),
        ("condition_encoder.pool.seed", 1.0),
        ("condition_encoder.pool.query.linear.weight", 1 / math.sqrt(32)),
        ("transport_blocks.blocks.layers.0.self_attention.linear_qkv.weight", 1 / math.sqrt(32)),
        ("transport_blocks.blocks.layers.1.self_attention.linear_proj.weight", 1 / math.sqrt(32 * 4)),
        ("transport_blocks.blocks.layers.1.mlp.linear_fc2.weight", 1 / math.sqrt(64 * 4)),
        ("head.linear.weight", 1 / math.sqrt(32)),
        ("expression_decoder.mlp.linear_fc2.weight", 0.1 / math.sqrt(64)),
    ],
)
def test_standard_deviations(name, expected, model):
    values = weights(model)[name]
    # Four standard errors of a sample's standard deviation.
    assert float(values.square().mean().sqrt()) == pytest.approx(expected, rel=4 / math.sqrt(2 * values.numel()))


def test_what_features_add_to_a_label_is_as_large_as_the_label(make_model):
    found = weights(make_model(perturbation_source="both", feature_size=100))
    rows, features = (
        found[f"condition_encoder.perturbation.{name}.weight"] for name in ("embedding", "feature_linear")
    )
    standardised = torch.randn(200, 100, generator=torch.Generator().manual_seed(0))
    assert float((standardised @ features.T).std()) == pytest.approx(float(rows.std()), rel=0.3)


def test_what_a_dose_adds_to_a_label_is_as_large_as_the_label(make_model):
    found, others = (
        weights(make_model(dose_separator="@", condition_size=256)),
        weights(make_model(condition_size=256)),
    )
    rows = others["condition_encoder.perturbation.embedding.weight"]
    given = torch.tensor([1.0, 1.0]) @ found.pop("condition_encoder.perturbation.dose_linear.weight").T
    assert float(given.std()) == pytest.approx(float(rows.std()), rel=0.3)
    # Networks that are told of no doses begin as they did.
    assert all(torch.equal(found[name], value) for name, value in others.items())


def test_no_weight_is_left_unset(make_model):
    """Constructors leave memory as it is: a parameter that is not set would keep the mark put on it here."""
    model = make_model(condition_pooling="token")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(math.nan)
    init_weights(model, seed=0)
    assert [name for name, parameter in model.named_parameters() if parameter.isnan().any()] == []


def test_expression_starts_near_the_models_scale(model, batch):
    """Decoded cells are of the order of log1p expression, not ten times above it."""
    decoded = model.decode(model.encode(batch["control"]))
    assert 0.05 < decoded.std() < 5
