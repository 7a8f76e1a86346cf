# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from torch import Tensor

from bionemo.scale.flow.parameterization import velocity
from bionemo.scale.flow.solver import integrate


@pytest.fixture
def start() -> Tensor:
    return torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def decay(z: Tensor, t: float) -> Tensor:
    return -z


def error(start: Tensor, num_steps: int, solver: str) -> float:
    """Distance of dz/dt = -z from its closed form at t = 1, relative to the start."""
    found = integrate(decay, start, num_steps=num_steps, solver=solver)
    return float((found - math.exp(-1) * start).norm() / start.norm())


def test_one_euler_step_of_an_endpoint_is_the_endpoint(start):
    endpoint = start.flip(0) * 2

    def field(z: Tensor, t: float) -> Tensor:
        return velocity(endpoint, z_t=z, t=t, parameterization="x")

    torch.testing.assert_close(integrate(field, start), endpoint, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("solver", ["euler", "heun"])
@pytest.mark.parametrize("num_steps", [1, 2, 3, 7, 10, 50])
def test_the_straight_path_is_integrated_exactly(num_steps, solver, start):
    endpoint = start.flip(0) * 2

    def from_x(z: Tensor, t: float) -> Tensor:
        return velocity(endpoint, z_t=z, t=t, parameterization="x")

    def from_v(z: Tensor, t: float) -> Tensor:
        return velocity(endpoint - start, z_t=z, t=t, parameterization="v")

    for field in (from_x, from_v):
        found = integrate(field, start, num_steps=num_steps, solver=solver)
        torch.testing.assert_close(found, endpoint, rtol=1e-9, atol=1e-9)


def test_euler_follows_its_closed_form(start):
    found = integrate(decay, start, num_steps=8)
    torch.testing.assert_close(found, (1 - 1 / 8) ** 8 * start)


def test_heun_follows_its_closed_form_with_an_euler_step_at_the_end(start):
    width = 1 / 8
    found = integrate(decay, start, num_steps=8, solver="heun")
    torch.testing.assert_close(found, (1 - width + width**2 / 2) ** 7 * (1 - width) * start)


def test_orders(start):
    """Euler's error falls by 2 with half the step, Heun's by 4: its one Euler step has a local error of that order."""
    for solver, ratio in (("euler", 2.0), ("heun", 4.0)):
        assert error(start, 64, solver) / error(start, 128, solver) == pytest.approx(ratio, rel=0.05)
    assert error(start, 16, "heun") < 0.1 * error(start, 16, "euler")


@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_a_field_of_time_alone_is_a_quadrature(solver, start):
    """dz/dt = 2 t: Euler sums left edges; Heun's trapezoids are exact up to its last step."""
    found = integrate(lambda z, t: torch.full_like(z, 2 * t), start, num_steps=5, solver=solver) - start
    expected = sum(2 * i / 5 / 5 for i in range(5)) if solver == "euler" else 0.8**2 + 2 * 0.8 / 5
    torch.testing.assert_close(found, torch.full_like(start, expected))


@pytest.mark.parametrize(
    ("solver", "times"), [("euler", [0, 0.25, 0.5, 0.75]), ("heun", [0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75])]
)
def test_the_field_is_never_asked_at_the_end(solver, times, start):
    asked = []

    def field(z: Tensor, t: float) -> Tensor:
        asked.append(t)
        return z

    integrate(field, start, num_steps=4, solver=solver)
    assert asked == times


def test_at_least_one_step(start):
    with pytest.raises(ValueError, match="found num_steps=0"):
        integrate(decay, start, num_steps=0)
