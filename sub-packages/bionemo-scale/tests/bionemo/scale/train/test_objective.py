# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from bionemo.scale.flow.mmd import mmd_squared
from bionemo.scale.flow.path import sample_times
from bionemo.scale.flow.prior import PRIORS
from bionemo.scale.infer.generate import encode_controls, perturb
from bionemo.scale.model.scale_model import ScaleOutput
from bionemo.scale.train.objective import (
    TERMS,
    add_up,
    hide_labels,
    latent_variance,
    objective,
    pair_cells,
    path_placement,
    stack_terms,
)


@pytest.fixture
def output(batch) -> ScaleOutput:
    """What a last stage could have returned for the batch of the fixtures."""
    generator = torch.Generator().manual_seed(7)
    latent = {name: torch.randn(3, 6, 32, generator=generator) for name in ("z_0", "z_1", "head")}
    decoded = torch.randn(6, 6, 24, generator=generator).abs() / 10
    leaves = {name: tensor.requires_grad_() for name, tensor in {**latent, "decoded": decoded}.items()}
    return ScaleOutput(**leaves, observed=observed(batch))


def observed(batch) -> Tensor:
    """Both populations on the model's scale."""
    return torch.cat([batch["control"], batch["perturbed"]]) / 10


def decode(z: Tensor) -> Tensor:
    """Stands for a decoder: 24 of the 32 coordinates."""
    return 2 * z[..., :24]


def decode_mean(z: Tensor, share: Tensor | None = None) -> Tensor:
    """The mean of what it decodes."""
    return decode(z).mean(dim=1)


def compute(output: ScaleOutput, batch, config) -> dict[str, Tensor]:
    """The terms with that decoder."""
    return objective(output, batch, config, decode=decode, decode_mean=decode_mean)


def reference_loss(output: ScaleOutput, batch, config) -> Tensor:
    """Equations 13 to 16 and 20 to 30, with means in the place of norms."""
    start = PRIORS[config.prior](output.z_0, batch["seed"])
    endpoint = output.head if config.parameterization == "x" else start + output.head
    displacement = output.head - start if config.parameterization == "x" else output.head
    in_x = ((endpoint - output.z_1) ** 2).mean()
    in_v = ((displacement - (output.z_1 - start)) ** 2).mean()
    left = (1 - sample_times(batch["seed"], start_share=config.start_share)).clamp_min(0.05)
    of_jit = ((endpoint - output.z_1) ** 2 / left[:, None, None] ** 2).mean()
    x_0, x_1 = (10 * output.decoded).chunk(2)
    mse = ((x_0 - batch["control"]) ** 2).mean() + ((x_1 - batch["perturbed"]) ** 2).mean()
    of_control, of_perturbed = mmd_squared(x_0, batch["control"]), mmd_squared(x_1, batch["perturbed"])
    autoencoding = mse + config.mmd_weight * (of_control.mean() + of_perturbed.mean())
    decoded = decode(endpoint)
    means = ((decoded.mean(1) - batch["perturbed"].mean(1)) ** 2).mean()
    end = config.endpoint_weight * means
    end = end + config.endpoint_mmd_weight * mmd_squared(decoded, batch["perturbed"]).mean()
    return {"x": in_x, "v": in_v, "jit-v": of_jit}[config.loss_space] + config.autoencoder_weight * autoencoding + end


@pytest.mark.parametrize(("pred", "loss"), list(itertools.product("xv", ("x", "v", "jit-v"))))
@pytest.mark.parametrize("prior", sorted(PRIORS))
def test_loss_of_every_variant(pred, loss, prior, make_config, output, batch):
    weights = dict(autoencoder_weight=0.7, mmd_weight=0.3, endpoint_weight=1.1, endpoint_mmd_weight=0.6)
    config = make_config(parameterization=pred, loss_space=loss, prior=prior, **weights)
    found = compute(output, batch, config)["loss"]
    torch.testing.assert_close(found, reference_loss(output, batch, config))


def test_terms_add_up_and_only_the_loss_carries_a_gradient(make_config, output, batch):
    terms = compute(output, batch, make_config(autoencoder_weight=0.7, mmd_weight=0.3))
    assert tuple(terms) == TERMS
    assert [name for name, value in terms.items() if value.requires_grad] == ["loss"]
    expected = terms["flow"] + 0.7 * (terms["mse"] + 0.3 * terms["mmd"]) + terms["endpoint"]
    torch.testing.assert_close(terms["loss"].detach(), expected)


def test_stacked_terms_keep_their_order_and_leave_the_graph(config, output, batch):
    terms = compute(output, batch, config)
    stacked = stack_terms(dict(reversed(terms.items())))
    assert not stacked.requires_grad and stacked.dtype == torch.float32
    assert stacked.tolist() == pytest.approx([terms[name].item() for name in TERMS])
    stacked[0] = -1
    assert terms["loss"] > 0


@pytest.mark.parametrize(("stop", "reaches"), [(False, True), (True, False)])
def test_stop_gradient_target_spares_z_1_of_the_flow_loss(stop, reaches, make_config, output, batch):
    config = make_config(stop_gradient_target=stop, autoencoder_weight=0.0, endpoint_weight=0.0)
    compute(output, batch, config)["loss"].backward()
    assert (output.z_1.grad is not None and bool(output.z_1.grad.any())) == reaches
    assert output.head.grad.any()


def test_perfect_output_costs_nothing(config, output, batch):
    perfect = replace(output, head=output.z_1, decoded=output.observed)
    cells = batch["perturbed"]
    terms = objective(perfect, batch, config, decode=lambda z: cells, decode_mean=lambda z, share: cells.mean(dim=1))
    assert abs(terms["loss"].item()) < 1e-6


def test_placement_is_the_path_of_the_prior_at_the_seeds_time(make_config, output, batch):
    config = make_config(prior="gaussian_mix")
    z_t, t = path_placement(config, batch)(output.z_0, output.z_1)
    assert torch.equal(t, sample_times(batch["seed"], start_share=config.start_share))
    start, weight = PRIORS["gaussian_mix"](output.z_0, batch["seed"]), t[:, None, None]
    torch.testing.assert_close(z_t, (1 - weight) * start + weight * output.z_1)


@pytest.mark.parametrize(("prob", "share"), [(0.0, 0.0), (0.3, 0.3), (1.0, 1.0)])
def test_hidden_labels_are_a_share_of_the_sets(prob, share):
    labels = torch.arange(5).repeat(800)
    hidden = hide_labels(labels, torch.arange(4000), kind="batch", prob=prob, unknown=9)
    assert ((hidden == labels) | (hidden == 9)).all()
    assert (hidden == 9).float().mean().item() == pytest.approx(share, abs=0.03)


def test_which_labels_are_hidden_is_up_to_the_sets_seed():
    labels, seeds = torch.zeros(200, dtype=torch.int64), torch.arange(200)
    hidden = hide_labels(labels, seeds, kind="batch", prob=0.5, unknown=3)
    assert torch.equal(hide_labels(labels.flip(0), seeds.flip(0), kind="batch", prob=0.5, unknown=3), hidden.flip(0))
    assert torch.equal(hide_labels(labels[7:8], seeds[7:8], kind="batch", prob=0.5, unknown=3), hidden[7:8])
    # Not by the draw that makes the time: early and late sets are hidden alike.
    assert abs(sample_times(seeds)[hidden == 3].mean().item() - 0.5) < 0.1
    assert labels.sum() == 0


def test_two_kinds_of_labels_are_hidden_independently():
    labels, seeds = torch.zeros(4000, dtype=torch.int64), torch.arange(4000)
    first, second = (hide_labels(labels, seeds, kind=kind, prob=0.5, unknown=1) for kind in ("cell_type", "batch"))
    assert (first * second).float().mean().item() == pytest.approx(0.25, abs=0.03)


def test_optimal_pairs_leave_random_pairing_alone_and_move_controls_only(make_config, batch):
    assert pair_cells(make_config(coupling="random"), batch) is batch
    paired = pair_cells(make_config(coupling="ot"), batch)
    assert {name for name in batch if paired[name] is not batch[name]} == {"control"}
    for before, after, target in zip(batch["control"], paired["control"], batch["perturbed"], strict=True):
        assert sorted(map(tuple, after.tolist())) == sorted(map(tuple, before.tolist()))
        assert (after - target).square().sum() < (before - target).square().sum()


def test_latent_variance():
    spread = torch.randn(4, 500, 8, generator=torch.Generator().manual_seed(0)) * torch.arange(1, 9)
    assert float(latent_variance(spread).mean()) == pytest.approx(sum(i * i for i in range(1, 9)) / 8, rel=0.1)
    assert float(latent_variance(torch.full((4, 5, 8), 3.0)).mean()) == 0
    # The same cells in every set count once: it is the variance over all of them.
    assert float(latent_variance(spread.repeat(2, 1, 1)).mean()) == pytest.approx(
        float(latent_variance(spread).mean())
    )


@dataclass(frozen=True, kw_only=True)
class Screen:
    """Cells of three types around their own mean; the perturbation adds the same shift to all of them."""

    base: Tensor
    shift: Tensor
    generator: torch.Generator

    @classmethod
    def make(cls) -> "Screen":
        generator = torch.Generator().manual_seed(0)
        base = (1 + 2 * torch.randn(3, 24, generator=generator)).clamp_min(0)
        return cls(base=base, shift=torch.randn(24, generator=generator), generator=generator)

    def cells(self, cell_type: Tensor, num_cells: int) -> Tensor:
        noise = torch.randn(len(cell_type), num_cells, 24, generator=self.generator)
        return (self.base[cell_type][:, None] + 0.5 * noise).clamp_min(0)

    def batch(self, num_sets: int = 8, num_cells: int = 6):
        cell_type = torch.randint(3, (num_sets,), generator=self.generator)
        return {
            "control": self.cells(cell_type, num_cells),
            "perturbed": (self.cells(cell_type, num_cells) + self.shift).clamp_min(0),
            "cell_type": cell_type,
            "perturbation": torch.zeros(num_sets, dtype=torch.int64),
            "batch": torch.zeros(num_sets, dtype=torch.int64),
            "seed": torch.randint(2**31, (num_sets,), generator=self.generator),
        }


def train(model, next_batch: Callable, *, num_steps: int, lr: float) -> list[dict[str, Tensor]]:
    """Plain AdamW with one cycle of the learning rate; return the terms of every step."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=num_steps)
    history = []
    for _ in range(num_steps):
        batch = next_batch()
        output = model(batch, path_placement(model.config, batch))
        terms = objective(output, batch, model.config, decode=model.decode, decode_mean=model.decode_mean)
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
        schedule.step()
        history.append({name: value.detach() for name, value in terms.items()})
    return history


def test_training_finds_a_known_shift(make_model):
    screen, model = Screen.make(), make_model(generation="decode")
    history = train(model, screen.batch, num_steps=200, lr=1e-2)
    assert history[-1]["loss"] < 0.1 * history[0]["loss"]
    # Cells of a set differ by noise alone here; a collapsed encoder leaves a tenth of this (next test).
    assert history[-1]["latent_variance"] > 1e-3

    cell_type, zeros = torch.arange(3), torch.zeros(3, dtype=torch.int64)
    control = screen.cells(cell_type, 200)
    cells = perturb(model, encode_controls(model.eval(), control, cell_type=cell_type, batch=zeros, seed=zeros), zeros)
    real = (screen.cells(cell_type, 2000) + screen.shift).clamp_min(0)
    predicted, observed = (population.mean(1) - control.mean(1) for population in (cells, real))
    assert torch.corrcoef(torch.stack([predicted.flatten(), observed.flatten()]))[0, 1] > 0.95
    # The size of the shift as well as its direction.
    assert (predicted * observed).sum() / observed.square().sum() == pytest.approx(1, abs=0.2)


class DrugScreen(Screen):
    """Four drugs of one cell type; what a drug does is linear in its three features."""

    def batch(self, num_sets: int = 8, num_cells: int = 6, drugs: Tensor | None = None):
        drug = torch.randint(7, (num_sets,), generator=self.generator) if drugs is None else drugs
        cell_type = torch.zeros(len(drug), dtype=torch.int64)
        sets = {**super().batch(len(drug), num_cells), "cell_type": cell_type, "perturbation": drug}
        sets["control"] = self.cells(cell_type, num_cells)
        sets["perturbed"] = (self.cells(cell_type, num_cells) + self.effects()[drug][:, None]).clamp_min(0)
        return sets

    @staticmethod
    def features() -> Tensor:
        """All sums of three directions but none at all; the last drug is never trained."""
        return torch.tensor([[i & 1, i >> 1 & 1, i >> 2 & 1] for i in (1, 2, 4, 3, 5, 6, 0, 7)]).float()

    def effects(self) -> Tensor:
        directions = torch.randn(3, 24, generator=torch.Generator().manual_seed(5))
        return self.features() @ directions


def test_features_predict_a_perturbation_that_was_never_seen(make_model):
    screen = DrugScreen.make()
    labels = dict(num_perturbations=8, num_agents=8, perturbation_source="features", feature_size=3)
    model = make_model(**labels, generation="decode", endpoint_weight=20.0)
    model.condition_encoder.perturbation.feature_table[:8] = screen.features() - 0.5
    train(model, screen.batch, num_steps=150, lr=1e-2)

    sets = screen.batch(num_cells=200, drugs=torch.tensor([7, 0]))
    labels = {name: sets[name] for name in ("cell_type", "batch", "seed")}
    cells = perturb(model, encode_controls(model.eval(), sets["control"], **labels), sets["perturbation"])
    predicted = cells.mean(1) - sets["control"].mean(1)
    observed = sets["perturbed"].mean(1) - sets["control"].mean(1)
    assert torch.corrcoef(torch.stack([predicted[0], observed[0]]))[0, 1] > 0.9
    # The unseen drug is not taken for one that was seen.
    assert (predicted[0] - observed[0]).norm() < 0.5 * (predicted[0] - observed[1]).norm()


def test_without_the_autoencoder_the_latent_space_collapses(make_model):
    """What the autoencoding loss is for: the flow loss alone is won by making all cells of a population one."""

    def spread_within_sets(**fields) -> Tensor:
        screen, model = Screen.make(), make_model(**fields)
        train(model, screen.batch, num_steps=60, lr=1e-2)
        with torch.no_grad():
            return model.encode(screen.batch()["perturbed"]).var(dim=1, unbiased=False).mean()

    collapsed = spread_within_sets(autoencoder_weight=0.0, endpoint_weight=0.0)
    assert collapsed < 1e-3
    assert spread_within_sets(endpoint_weight=0.0) > 10 * collapsed


@pytest.mark.parametrize("estimator", ["biased", "unbiased"])
@pytest.mark.parametrize("loss_space", ["x", "jit-v"])
def test_fillers_count_in_no_term(estimator, loss_space, make_config, output, batch):
    """Terms and gradients are those of the sets without their fillers, whatever the fillers are."""
    config = make_config(
        mmd_estimator=estimator, loss_space=loss_space, start_share=0.0, endpoint_weight=1.1, endpoint_mmd_weight=0.6
    )
    of_set, counted = torch.tensor([0.5, 0.3, 0.2]), [6, 4, 2]
    share = torch.stack([(torch.arange(6) < number) / number for number in counted])
    told = {**batch, "share": share, "weight": of_set}

    def mean(z: Tensor, share: Tensor | None = None) -> Tensor:
        return decode(z).mean(dim=1) if share is None else (share[:, :, None] * decode(z)).sum(dim=1)

    def terms_of(output, batch):
        return objective(output, batch, config, decode=decode, decode_mean=mean)

    found = terms_of(output, told)
    found["loss"].backward()
    expected = dict.fromkeys(TERMS, 0.0)
    for row, number in enumerate(counted):
        one = slice(row, row + 1)
        rows = [row, 3 + row]
        cut = ScaleOutput(
            **{name: getattr(output, name)[one, :number] for name in ("z_0", "z_1", "head")},
            observed=output.observed[rows, :number],
            decoded=output.decoded[rows, :number],
        )
        cells = {name: batch[name][one, :number] for name in ("control", "perturbed")}
        alone = terms_of(cut, {**{name: batch[name][one] for name in batch}, **cells})
        expected = {name: expected[name] + of_set[row] * alone[name].detach() for name in TERMS}
    for name in TERMS:
        torch.testing.assert_close(found[name].detach(), expected[name], rtol=1e-4, atol=1e-6)
    for leaf in (output.z_1, output.head):
        assert not leaf.grad[share == 0].any() and leaf.grad[share > 0].any()
    assert not output.decoded.grad[torch.cat([share, share]) == 0].any()


def test_equal_weights_and_shares_change_nothing(make_config, output, batch):
    config = make_config(endpoint_mmd_weight=0.6)
    told = {**batch, "share": torch.full((3, 6), 1 / 6), "weight": torch.full((3,), 1 / 3)}
    found, expected = compute(output, told, config), compute(output, batch, config)
    for name in TERMS:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-6)


def test_batches_of_several_sizes_add_up(make_config, output, batch):
    terms = compute(output, batch, make_config())
    assert add_up([terms]) is terms
    assert add_up([terms, terms])["loss"] == 2 * terms["loss"]


def test_optimal_pairs_keep_controls_beside_cells_of_their_batch(make_config, batch):
    labels = torch.tensor([[0, 1, 0, 1, 2, 2]] * 3)
    paired = pair_cells(make_config(coupling="ot"), {**batch, "batch": labels})
    for before, after in zip(batch["control"], paired["control"], strict=True):
        for kind in range(3):
            own = labels[0] == kind
            assert sorted(map(tuple, after[own].tolist())) == sorted(map(tuple, before[own].tolist()))
