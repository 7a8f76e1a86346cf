# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import itertools

import pytest
import torch
from torch import Tensor

from bionemo.scale.flow.parameterization import flow_loss, interpret, velocity
from bionemo.scale.flow.path import sample_path


VARIANTS = list(itertools.product("xv", "xv"))


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(2, 5, 3, generator=generator) for name in ("output", "start", "target")}


def reference_loss(output: Tensor, start: Tensor, target: Tensor, pred: str, loss: str) -> Tensor:
    """Equations 27 to 30, letter by letter."""
    if pred == "x":
        endpoint = output
        displacement = endpoint - start
    else:
        displacement = output
        endpoint = start + displacement
    if loss == "x":
        return ((endpoint - target) ** 2).mean()
    return ((displacement - (target - start)) ** 2).mean()


def test_interpret_is_its_own_inverse(tensors):
    output, start = tensors["output"], tensors["start"]
    from_x = interpret(output, start=start, parameterization="x")
    assert torch.equal(from_x.endpoint, output)
    back = interpret(from_x.displacement, start=start, parameterization="v")
    torch.testing.assert_close(back.endpoint, output)
    from_v = interpret(output, start=start, parameterization="v")
    assert torch.equal(from_v.displacement, output)
    back = interpret(from_v.endpoint, start=start, parameterization="x")
    torch.testing.assert_close(back.displacement, output)


@pytest.mark.parametrize(("pred", "loss"), VARIANTS)
def test_loss_of_each_variant(pred, loss, tensors):
    output, start, target = tensors.values()
    prediction = interpret(output, start=start, parameterization=pred)
    found = flow_loss(prediction, start=start, target=target, loss_space=loss)
    torch.testing.assert_close(found, reference_loss(output, start, target, pred, loss))


@pytest.mark.parametrize("pred", "xv")
def test_both_losses_and_their_gradients_agree(pred, tensors):
    """The start cancels in the displacement's error, so the two spaces teach the same."""
    results = {}
    for loss in "xv":
        leaves = [tensor.clone().requires_grad_() for tensor in tensors.values()]
        output, start, target = leaves
        prediction = interpret(output, start=start, parameterization=pred)
        value = flow_loss(prediction, start=start, target=target, loss_space=loss)
        results[loss] = (value, *torch.autograd.grad(value, leaves, materialize_grads=True))
    for of_x, of_v in zip(results["x"], results["v"], strict=True):
        torch.testing.assert_close(of_x, of_v)


@pytest.mark.parametrize("pred", "xv")
def test_the_loss_of_jit_is_that_of_its_velocities(pred, tensors):
    """Both endpoints as velocities at (Z_t, t), with 1 - t no less than 0.05."""
    output, start, target = tensors.values()
    t = torch.tensor([0.3, 0.99])
    prediction = interpret(output, start=start, parameterization=pred)
    found = flow_loss(prediction, start=start, target=target, loss_space="jit-v", t=t)
    z_t, left = sample_path(start=start, target=target, t=t).z_t, torch.tensor([0.7, 0.05])[:, None, None]
    expected = ((prediction.endpoint - z_t) / left - (target - z_t) / left).square().mean()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("pred", "loss"), VARIANTS)
def test_a_perfect_prediction_costs_nothing(pred, loss, tensors):
    start, target = tensors["start"], tensors["target"]
    output = target if pred == "x" else target - start
    prediction = interpret(output, start=start, parameterization=pred)
    assert flow_loss(prediction, start=start, target=target, loss_space=loss) < 1e-12


def test_loss_of_half_precision_is_summed_in_single():
    zeros = torch.zeros(1, 64, 64, dtype=torch.bfloat16)
    prediction = interpret(zeros + 0.01, start=zeros, parameterization="x")
    loss = flow_loss(prediction, start=zeros, target=zeros, loss_space="x")
    assert loss.dtype == torch.float32
    assert loss == pytest.approx(float(torch.tensor(0.01).bfloat16()) ** 2, rel=1e-5)


@pytest.mark.parametrize("t", [0.0, 0.3, 0.9])
def test_velocity_of_the_true_endpoint_is_the_displacement(t, tensors):
    start, target = tensors["start"], tensors["target"]
    z_t = sample_path(start=start, target=target, t=torch.full((2,), t)).z_t
    from_x = velocity(target, z_t=z_t, t=t, parameterization="x")
    from_v = velocity(target - start, z_t=z_t, t=t, parameterization="v")
    torch.testing.assert_close(from_x, target - start, rtol=1e-4, atol=1e-5)
    assert torch.equal(from_v, target - start)


def test_an_endpoint_has_no_velocity_at_the_end(tensors):
    output, z_t = tensors["output"], tensors["start"]
    with pytest.raises(ValueError, match=r"expected t < 1, found t=1\.0"):
        velocity(output, z_t=z_t, t=1.0, parameterization="x")
    assert torch.equal(velocity(output, z_t=z_t, t=1.0, parameterization="v"), output)
