# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses
import itertools

import pytest
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from bionemo.scale.flow.prior import PRIORS
from bionemo.scale.infer.generate import encode_controls, has_counted_zeros, perturb, with_zeros
from bionemo.scale.model.gene_encoder import SparseCells
from bionemo.scale.model.questions import AskedCells
from bionemo.scale.population import with_mean


def predict(model, sets, **changes) -> Tensor:
    sets = {**{name: sets[name] for name in ("control", "cell_type", "perturbation", "batch", "seed")}, **changes}
    expression, perturbation = sets.pop("control"), sets.pop("perturbation")
    return perturb(model.eval(), encode_controls(model.eval(), expression, **sets), perturbation)


@pytest.fixture(scope="module")
def make_spread_model(make_model):
    """Decoded values on both sides of zero, so that the floor at zero is at work."""

    def make(**fields):
        model = make_model(**fields)
        with torch.no_grad():
            model.expression_decoder.mlp.linear_fc2.weight.mul_(5)
        return model

    return make


def at_zero(model, batch, z_t: Tensor) -> Tensor:
    condition = model.condition(batch["cell_type"], batch["perturbation"], batch["batch"])
    return model.transport(z_t, torch.zeros(3), condition)


def test_decode_is_encode_predict_decode(make_spread_model, batch):
    """Equation 37 with one Euler step: the head's endpoint at t = 0."""
    model = make_spread_model(generation="decode")
    endpoint = at_zero(model, batch, model.encode(batch["control"]))
    expected = model.decode(endpoint)
    assert (expected < 0).any()
    torch.testing.assert_close(predict(model, batch), expected.clamp_min(0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("prior", sorted(PRIORS))
def test_displace_moves_the_observed_controls(prior, make_spread_model, batch):
    """By Dec(Z_1) - Dec(Z_0), also where the path does not start at Z_0."""
    model = make_spread_model(generation="displace", prior=prior)
    z_0 = model.encode(batch["control"])
    endpoint = at_zero(model, batch, PRIORS[prior](z_0, batch["seed"]))
    moved = batch["control"] + model.decode(endpoint) - model.decode(z_0)
    torch.testing.assert_close(predict(model, batch), moved.clamp_min(0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("prior", sorted(PRIORS))
def test_contrast_moves_the_controls_by_what_the_perturbation_adds_to_control(prior, make_spread_model, batch):
    """Both ends are reached from the same start, also where the prior is random."""
    model = make_spread_model(generation="contrast", prior=prior)
    start = PRIORS[prior](model.encode(batch["control"]), batch["seed"])
    under_control = {**batch, "perturbation": torch.full_like(batch["perturbation"], model.config.num_perturbations)}
    change = model.decode(at_zero(model, batch, start)) - model.decode(at_zero(model, under_control, start))
    moved = batch["control"] + change
    expected = with_mean(moved, moved.mean(dim=1))
    assert not torch.allclose(expected, batch["control"], atol=1e-3)
    torch.testing.assert_close(predict(model, batch), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(predict(model, under_control), batch["control"], rtol=1e-4, atol=1e-4)


def test_controls_without_their_zeros_are_carried_as_with_them(make_spread_model, batch):
    model = make_spread_model(generation="contrast")
    rows = csr_matrix(batch["control"].flatten(0, 1).numpy())
    parts = (torch.from_numpy(part) for part in (rows.indices, rows.data, rows.indptr[:-1]))
    found = predict(model, batch, sparse=SparseCells(*parts))
    torch.testing.assert_close(found, predict(model, batch), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fields", [{}, {"prior": "gaussian_mix"}, {"num_generation_steps": 3, "solver": "heun"}])
def test_only_questions_at_the_start_are_asked_of_prepared_cells(fields, make_spread_model, batch):
    model = make_spread_model(generation="contrast", **fields).eval()
    sets = {name: batch[name] for name in ("cell_type", "batch", "seed")}
    prepared = encode_controls(model, batch["control"], **sets)
    assert (prepared.asked is None) == ("prior" in fields)
    perturbation = batch["perturbation"]
    expected = perturb(model, dataclasses.replace(prepared, asked=None), perturbation)
    torch.testing.assert_close(perturb(model, prepared, perturbation), expected, rtol=1e-4, atol=1e-4)
    chosen = torch.tensor([2, 0, 2])
    found = perturb(model, prepared.take(chosen), perturbation[[2, 0, 2]])
    torch.testing.assert_close(found, expected[[2, 0, 2]], rtol=1e-4, atol=1e-4)


def test_some_of_the_controls_can_be_taken(model, batch):
    sets = {name: batch[name] for name in ("cell_type", "batch", "seed")}
    encoded = encode_controls(model.eval(), batch["control"], **sets)
    assert encoded.take(torch.arange(3)) is encoded
    for chosen in ([0, 1], [2, 0, 0], [1, 0, 2]):
        taken = encoded.take(torch.tensor(chosen))
        assert torch.equal(taken.expression, batch["control"][chosen]) and torch.equal(taken.z_0, encoded.z_0[chosen])


def test_only_contrast_has_the_zeros_of_counts(make_config):
    assert has_counted_zeros(make_config(generation="contrast"))
    assert not has_counted_zeros(make_config(generation="contrast", counted_zeros=False))
    assert not has_counted_zeros(make_config(generation="displace"))


def test_zeros_are_placed_by_the_seed_alone():
    cells, worth = 0.3 * torch.ones(20, 8), torch.ones(20)
    found = with_zeros(cells, one_count=worth, seed=7)
    assert (found == 0).any() and torch.equal(with_zeros(cells, one_count=worth, seed=7), found)
    assert not torch.equal(with_zeros(cells, one_count=worth, seed=8), found)
    torch.testing.assert_close(found.mean(0), cells.mean(0))


def test_a_set_can_stand_for_the_population_it_was_drawn_from(make_spread_model, batch):
    """The mean change is added to the mean of all controls, not to that of the few that were drawn."""
    model = make_spread_model()
    far = batch["control"].mean(dim=1) + 20
    own, of_all = predict(model, batch), predict(model, batch, population_mean=far)
    start = model.encode(batch["control"])
    under_control = {**batch, "perturbation": torch.full_like(batch["perturbation"], model.config.num_perturbations)}
    change = model.decode(at_zero(model, batch, start)) - model.decode(at_zero(model, under_control, start))
    torch.testing.assert_close(of_all.mean(dim=1), far + change.mean(dim=1), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(own.mean(dim=1), of_all.mean(dim=1), atol=1)


def test_the_anchor_moves_controls_by_the_effect_of_their_perturbation(make_spread_model, batch):
    plain, anchored = (
        make_spread_model(generation="displace"),
        make_spread_model(generation="displace", anchor="additive"),
    )
    torch.testing.assert_close(predict(anchored, batch), predict(plain, batch), msg="effects start at zero")
    anchored.effects[batch["perturbation"]] = 0.5
    shifted = {**batch, "control": batch["control"] + 0.5}
    torch.testing.assert_close(predict(anchored, batch), predict(plain, shifted), rtol=1e-4, atol=1e-4)


def test_a_displacement_head_starts_at_the_controls(make_spread_model, batch):
    model = make_spread_model(parameterization="v", generation="decode")
    z_0 = model.encode(batch["control"])
    expected = model.decode(z_0 + at_zero(model, batch, z_0)).clamp_min(0)
    torch.testing.assert_close(predict(model, batch), expected, rtol=1e-4, atol=1e-4)


def test_a_head_that_predicts_no_change_displaces_nothing(make_model, batch):
    model = make_model(parameterization="v", generation="displace", num_generation_steps=3)
    for parameter in model.head.parameters():
        torch.nn.init.zeros_(parameter)
    torch.testing.assert_close(predict(model, batch), batch["control"])


@pytest.mark.parametrize(
    ("generation", "parameterization", "solver", "steps"),
    list(itertools.product(["decode", "displace", "contrast"], "xv", ["euler", "heun"], [1, 4])),
)
def test_every_way_to_generate_gives_log1p_expression(
    generation, parameterization, solver, steps, make_spread_model, batch
):
    model = make_spread_model(
        generation=generation, parameterization=parameterization, solver=solver, num_generation_steps=steps
    )
    predicted = predict(model, batch)
    assert predicted.shape == batch["control"].shape and predicted.dtype == torch.float32
    assert torch.isfinite(predicted).all() and predicted.min() >= 0 and predicted.max() > 0
    assert not predicted.requires_grad


@pytest.mark.parametrize("parameterization", ["x", "v"])
def test_several_steps_ask_the_network_on_the_way(parameterization, make_spread_model, batch, monkeypatch):
    model = make_spread_model(parameterization=parameterization, generation="decode", num_generation_steps=4)
    one = predict(make_spread_model(parameterization=parameterization, generation="decode"), batch)
    asked, transport, ask = [], model.transport, model.ask

    def note(z_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        asked.append(t.tolist())
        return transport(z_t, t, condition)

    def note_start(cells: AskedCells, condition: Tensor) -> Tensor:
        asked.append([0.0] * 3)
        return ask(cells, condition)

    monkeypatch.setattr(model, "transport", note)
    monkeypatch.setattr(model, "ask", note_start)
    assert not torch.allclose(predict(model, batch), one, atol=1e-3)
    assert asked == [[t] * 3 for t in (0, 0.25, 0.5, 0.75)]


def test_control_prior_needs_no_seed(make_spread_model, batch):
    model = make_spread_model(num_generation_steps=2)
    assert torch.equal(predict(model, batch), predict(model, batch, seed=batch["seed"] + 1))


@pytest.mark.parametrize("prior", sorted(set(PRIORS) - {"control"}))
def test_stochastic_priors_depend_on_the_seed_and_on_nothing_global(prior, make_spread_model, batch):
    model = make_spread_model(prior=prior)
    torch.manual_seed(0)
    first = predict(model, batch)
    torch.manual_seed(1)
    assert torch.equal(predict(model, batch), first)
    assert not torch.allclose(predict(model, batch, seed=batch["seed"] + 1), first, atol=1e-3)
    # A set is predicted alike in any company.
    alone = {name: value[1:2] for name, value in batch.items()}
    torch.testing.assert_close(predict(model, alone), first[1:2], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_mean_effect_of_training_has_its_share_of_the_change(share, make_spread_model, batch):
    model = make_spread_model(additive_share=share)
    alone = make_spread_model(additive_share=0.0)
    effect = torch.linspace(0.5, 1.5, batch["control"].shape[-1])
    model.effects[batch["perturbation"][0]] = effect
    # A mean far from zero, where no value is clipped.
    population_mean = torch.full_like(batch["control"][:, 0], 10.0)
    found, network = (predict(net, batch, population_mean=population_mean).mean(dim=1) - 10 for net in (model, alone))
    trained = batch["perturbation"] == batch["perturbation"][0]
    assert trained.any() and not trained.all()
    expected = torch.where(trained[:, None], share * effect + (1 - share) * network, network)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("generation", ["decode", "displace", "contrast"])
def test_samples_average_over_the_noise_of_the_prior(generation, make_spread_model, batch):
    """Seeds then matter less; the first of several draws is the only one of one draw."""
    models = {
        draws: make_spread_model(prior="gaussian_mix", generation=generation, num_generation_samples=draws)
        for draws in (1, 2, 16)
    }
    spread = {}
    for draws, model in models.items():
        by_seed = torch.stack([predict(model, batch, seed=batch["seed"] + 100 * k) for k in range(6)])
        spread[draws] = by_seed.std(dim=0).mean()
    assert spread[16] < spread[2] < spread[1] and spread[16] < spread[1] / 2.5
    first = predict(models[1], batch)
    assert not torch.allclose(predict(models[2], batch), first, atol=1e-3)


@pytest.mark.parametrize("label", ["cell_type", "perturbation", "batch"])
def test_labels_of_a_set_reach_that_set_only(label, make_spread_model, batch):
    model = make_spread_model()
    before = predict(model, batch)
    other = batch[label].clone()
    other[1] = 1 - other[1].clamp_max(1)
    after = predict(model, batch, **{label: other})
    assert torch.equal(after[[0, 2]], before[[0, 2]])
    assert not torch.equal(after[1], before[1])


def test_prediction_follows_the_order_of_the_controls(make_spread_model, batch):
    model, order = make_spread_model(generation="displace"), torch.tensor([3, 0, 5, 1, 4, 2])
    moved = predict(model, batch, control=batch["control"][:, order])
    torch.testing.assert_close(moved, predict(model, batch)[:, order], rtol=1e-4, atol=1e-4)


def test_controls_are_left_as_they_were(make_spread_model, batch):
    before = batch["control"].clone()
    predict(make_spread_model(generation="displace"), batch)
    assert torch.equal(batch["control"], before)
