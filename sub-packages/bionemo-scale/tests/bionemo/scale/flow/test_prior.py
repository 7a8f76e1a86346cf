# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from bionemo.scale.flow.prior import PRIORS


STOCHASTIC = ("gaussian_mix", "control_masked", "gaussian_mix_masked")
SEEDS = torch.tensor([4, 1, 9])


@pytest.fixture
def z_0() -> torch.Tensor:
    return torch.randn(3, 50, 40, generator=torch.Generator().manual_seed(0))


def test_control_is_the_control_population(z_0):
    assert torch.equal(PRIORS["control"](z_0, SEEDS), z_0)


@pytest.mark.parametrize("name", STOCHASTIC)
def test_start_of_a_set_depends_on_its_seed_alone(name, z_0):
    prior = PRIORS[name]
    start = prior(z_0, SEEDS)
    assert torch.equal(prior(z_0, SEEDS), start)
    assert torch.equal(prior(z_0.flip(0), SEEDS.flip(0)), start.flip(0))
    assert torch.equal(prior(z_0[1:2], SEEDS[1:2]), start[1:2])
    assert not torch.equal(prior(z_0, SEEDS + 1), start)


def test_mix_is_unit_noise_plus_half_the_control(z_0):
    noise = PRIORS["gaussian_mix"](z_0, SEEDS) - 0.5 * z_0
    assert noise.mean() == pytest.approx(0, abs=0.05)
    assert noise.std() == pytest.approx(1, abs=0.05)
    correlation = torch.corrcoef(torch.stack([noise.flatten(), z_0.flatten()]))[0, 1]
    assert correlation.abs() < 0.05
    # Cells, and sets with other seeds, get noise of their own.
    assert torch.corrcoef(noise.flatten(1)).fill_diagonal_(0).abs().max() < 0.1
    assert torch.corrcoef(noise[0]).fill_diagonal_(0).abs().max() < 0.8


@pytest.mark.parametrize(("masked", "plain"), [("control_masked", "control"), ("gaussian_mix_masked", "gaussian_mix")])
def test_mask_zeroes_15_percent_and_leaves_the_rest(masked, plain, z_0):
    start, whole = PRIORS[masked](z_0, SEEDS), PRIORS[plain](z_0, SEEDS)
    hidden = start == 0
    assert hidden.float().mean() == pytest.approx(0.15, abs=0.02)
    assert torch.equal(start[~hidden], whole[~hidden])
    # Coordinates, not whole cells or whole columns.
    assert 0 < hidden.float().mean(-1).min() + hidden.float().mean(-1).max() < 0.8
    assert hidden.float().mean(1).max() < 0.5


def test_gradient_reaches_the_control_latents(z_0):
    for name, share in (("control", 1.0), ("gaussian_mix", 0.5)):
        leaf = z_0.clone().requires_grad_()
        PRIORS[name](leaf, SEEDS).sum().backward()
        assert torch.equal(leaf.grad, torch.full_like(z_0, share))


@pytest.mark.parametrize("name", sorted(PRIORS))
def test_prior_keeps_shape_and_precision(name, z_0):
    start = PRIORS[name](z_0.bfloat16(), SEEDS)
    assert start.shape == z_0.shape and start.dtype == torch.bfloat16
