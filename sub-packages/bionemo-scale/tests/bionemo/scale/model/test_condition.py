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


def weights(query: Tensor, keys: Tensor, norm: bool) -> Tensor:
    """Softmax over keys, of cosines or of inner products over the root of the width."""
    inner = (keys * query).sum(-1)
    scores = inner / (keys.norm(dim=-1) * query.norm(dim=-1)) if norm else inner / math.sqrt(32)
    return scores.exp() / scores.exp().sum(-1, keepdim=True)


def mean_pool(tokens: Tensor, pool: nn.Module) -> Tensor:
    """Equation 38 with weights 1 / N."""
    return sum(tokens[:, i] for i in range(3)) / 3


def token_pool(tokens: Tensor, pool: nn.Module) -> Tensor:
    """Equation 38 with a weight from each token by itself."""
    alpha = weights(pool.query, torch.tanh(linear(tokens, pool.score)), pool.norm)
    return sum(alpha[:, i, None] * tokens[:, i] for i in range(3))


def attention_pool(tokens: Tensor, pool: nn.Module) -> Tensor:
    """Softmax attention of every token to every token, then the mean."""
    query, key, value = (linear(tokens, part) for part in (pool.query, pool.key, pool.value))
    attended = [torch.einsum("bc,bcd->bd", weights(query[:, i, None], key, pool.norm), value) for i in range(3)]
    return sum(attended) / 3


def seed_pool(tokens: Tensor, pool: nn.Module) -> Tensor:
    """Equations 32 and 33."""
    query, key, value = linear(pool.seed[0], pool.query), linear(tokens, pool.key), linear(tokens, pool.value)
    return torch.einsum("bc,bcd->bd", weights(query, key, pool.norm), value)


REFERENCES = {"mean": mean_pool, "token": token_pool, "attention": attention_pool, "seed": seed_pool}


def test_every_pooling_has_a_reference():
    assert set(REFERENCES) == set(POOLINGS)


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("name", sorted(REFERENCES))
def test_pooling_is_its_equation(name, norm, make_model, tokens):
    pool = make_model(condition_pooling=name, condition_qk_norm=norm).condition_encoder.pool
    torch.testing.assert_close(pool(tokens), REFERENCES[name](tokens, pool), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["token", "seed", "attention"])
def test_no_token_can_take_all_the_weight(name, make_model, tokens):
    """With inner products one large token silences the others; with cosines each keeps at least 1 / (1 + 2 e^2)."""

    def influence_of_the_last_token(norm: bool) -> float:
        pool = make_model(condition_pooling=name, condition_qk_norm=norm).condition_encoder.pool
        with torch.no_grad():
            for part in ("query", "key", "score"):
                module = getattr(pool, part, None)
                if isinstance(module, nn.Module):
                    module.linear.weight.mul_(30)
                elif module is not None:
                    module.mul_(30)
        changed = tokens.clone()
        # Seldom the token with the largest score, so that most sets lose it.
        changed[:, 2] += 0.01
        return float(((pool(changed) - pool(tokens)).norm(dim=-1) > 1e-4).float().mean())

    assert influence_of_the_last_token(norm=True) == 1
    assert influence_of_the_last_token(norm=False) < 1


@pytest.mark.parametrize("name", sorted(REFERENCES))
def test_pooling_does_not_depend_on_the_order_of_tokens(name, make_model, tokens):
    pool = make_model(condition_pooling=name).condition_encoder.pool
    torch.testing.assert_close(pool(tokens[:, [2, 0, 1]]), pool(tokens), rtol=1e-4, atol=1e-5)


def one_hot_token(encoder: nn.Module, batch, perturbation: Tensor) -> Tensor:
    """Equations 31 to 33 with the perturbation's embedding given."""
    tables = {name: getattr(encoder, name).weight for name in ("cell_type", "batch")}
    embedded = {name: nn.functional.one_hot(batch[name], len(table)).float() @ table for name, table in tables.items()}
    tokens = torch.stack([embedded["cell_type"], perturbation, embedded["batch"]], dim=1)
    return encoder.pool(linear(10 * tokens, encoder.projection))


def test_a_label_is_its_one_hot_vector_times_the_table(model, batch):
    encoder = model.condition_encoder
    table = encoder.perturbation.embedding.weight
    perturbation = nn.functional.one_hot(batch["perturbation"], len(table)).float() @ table
    found = encoder(*(batch[name] for name in ("cell_type", "perturbation", "batch")))
    torch.testing.assert_close(found, one_hot_token(encoder, batch, perturbation))


@pytest.fixture
def drugs(make_model):
    """Labels A@1, B@10, A@1+B@100 and C of the agents A, B and C, with features of width 5."""

    def make(source: str) -> nn.Module:
        encoder = make_model(
            num_agents=3,
            max_agents=2,
            dose_separator="@",
            combination_separator="+",
            perturbation_source=source,
            feature_size=5,
        ).condition_encoder.perturbation
        encoder.members[:4] = torch.tensor([[0, -1], [1, -1], [0, 1], [2, -1]])
        encoder.doses[:4] = torch.tensor([[1.0, -1], [10, -1], [1, 100], [-1, -1]])
        if source != "learned":
            encoder.feature_table[:3] = torch.randn(3, 5, generator=torch.Generator().manual_seed(1))
        return encoder

    return make


def agent(encoder: nn.Module, row: int, dose: float | None) -> Tensor:
    """E[m] + W f_m + V [log(1 + dose), has a dose], by hand."""
    total = torch.zeros(encoder.embedding.weight.shape[1])
    if encoder.source != "features" or row >= 3:
        total = total + encoder.embedding.weight[row]
    if encoder.source != "learned":
        total = total + encoder.feature_linear.weight @ encoder.feature_table[row]
    if dose is not None:
        total = total + encoder.dose_linear.weight @ torch.tensor([math.log1p(dose), 1.0])
    return total


@pytest.mark.parametrize("source", ["learned", "features", "both"])
def test_a_label_is_the_sum_of_its_agents(source, drugs):
    encoder = drugs(source)
    found = encoder(torch.arange(6))
    expected = [
        agent(encoder, 0, 1),
        agent(encoder, 1, 10),
        agent(encoder, 0, 1) + agent(encoder, 1, 100),
        agent(encoder, 2, None),
        agent(encoder, 3, None),
        agent(encoder, 4, None),
    ]
    torch.testing.assert_close(found, torch.stack(expected))


def test_labels_that_were_not_trained_are_made_of_trained_agents_and_of_features(drugs):
    encoder = drugs("features")
    encoder.feature_mean.fill_(1.0)
    encoder.feature_scale.fill_(2.0)
    new = torch.tensor([[3.0, 1, 1, 1, 1]])
    # B@5+C, and an agent that only its features describe; agent 5 follows control and unknown.
    encoder = encoder.with_labels(
        torch.tensor([[1, 2], [5, -1]]), doses=torch.tensor([[5.0, -1], [-1, -1]]), features=new
    )
    found = encoder(torch.tensor([6, 7]))
    torch.testing.assert_close(found[0], agent(encoder, 1, 5) + agent(encoder, 2, None))
    torch.testing.assert_close(found[1], encoder.feature_linear.weight @ torch.tensor([1.0, 0, 0, 0, 0]))


def test_longer_combinations_than_trained_can_be_appended(drugs):
    encoder = drugs("learned")
    encoder = encoder.with_labels(torch.tensor([[0, 1, 2]]))
    parts = [encoder.embedding.weight[row] for row in range(3)]
    torch.testing.assert_close(encoder(torch.tensor([6]))[0], sum(parts))
    torch.testing.assert_close(encoder(torch.tensor([0]))[0], agent(encoder, 0, 1))


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


def test_the_batches_of_a_sets_cells_count_by_their_share(model, batch):
    """With one batch it is that batch, and the condition token has no other input than the mean of the rows."""
    of_cells = batch["batch"][:, None].expand(-1, 6)
    labels = batch["cell_type"], batch["perturbation"]
    torch.testing.assert_close(model.condition(*labels, of_cells), model.condition(*labels, batch["batch"]))
    mixed = of_cells.clone()
    mixed[:, :2] = 1 - mixed[:, :2]
    table = model.condition_encoder.batch
    before = table.weight.detach().clone()
    found = model.condition(*labels, mixed)
    with torch.no_grad():
        table.weight[0] = before[mixed[0]].mean(dim=0)
    expected = model.condition(labels[0][:1], labels[1][:1], torch.zeros(1, dtype=torch.int64))
    with torch.no_grad():
        table.weight.copy_(before)
    torch.testing.assert_close(found[:1], expected)


def test_covariates_are_tokens_beside_the_others(make_model, batch):
    encoder = make_model(covariate_sizes=[2, 3]).condition_encoder
    labels = [batch[name] for name in ("cell_type", "perturbation", "batch")]
    values = torch.tensor([[0, 1], [1, 2], [2, 3]])
    tables = [table.weight for table in encoder.covariates]
    assert [len(table) for table in tables] == [3, 4], "a row more for the unknown value"
    parts = [encoder.cell_type(labels[0]), encoder.perturbation(labels[1]), encoder.batch(labels[2])]
    tokens = torch.stack([*parts, tables[0][values[:, 0]], tables[1][values[:, 1]]], dim=1)
    found = encoder(*labels, covariates=values)
    torch.testing.assert_close(found, encoder.pool(linear(10 * tokens, encoder.projection)))
    for column in range(2):
        other = values.clone()
        other[:, column] = 0
        assert (encoder(*labels, covariates=other) - found).abs().max() > 1e-3


def test_without_covariates_the_network_is_what_it_was(make_model, batch):
    """Not a tensor more, and the same numbers."""
    plain, named = make_model(), make_model(covariate_sizes=[2])
    before = {name: value for name, value in named.named_parameters() if "covariates" not in name}
    assert before.keys() == dict(plain.named_parameters()).keys()
    assert all(torch.equal(value, before[name]) for name, value in plain.named_parameters())


@pytest.mark.parametrize("untrained", [set(), {1, 2}])
def test_agents_that_training_did_not_show_get_the_mean_row(make_model, untrained):
    encoder = make_model(perturbation_source="both", feature_size=2).condition_encoder.perturbation
    before = encoder.embedding.weight.detach().clone()
    encoder.average_untrained(untrained)
    after, num = encoder.embedding.weight, encoder.num_agents
    trained = [row for row in range(num) if row not in untrained]
    for row in (*untrained, num + 1):
        torch.testing.assert_close(after[row], before[trained].mean(dim=0))
    # Control has a row of its own.
    assert torch.equal(after[[*trained, num]], before[[*trained, num]])


def test_where_no_agent_is_trained_rows_stay(make_model):
    encoder = make_model(perturbation_source="both", feature_size=2).condition_encoder.perturbation
    before = encoder.embedding.weight.detach().clone()
    encoder.average_untrained(range(encoder.num_agents))
    assert torch.equal(encoder.embedding.weight, before)
