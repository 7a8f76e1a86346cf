# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import Tensor, nn

from bionemo.scale.model.products import add_product, linear, product


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), requires_grad=True)


def gradients(result: Tensor, *leaves: Tensor) -> tuple[Tensor, ...]:
    weights = torch.linspace(-1, 1, result.numel()).view_as(result)
    return torch.autograd.grad((result * weights).sum(), leaves)


@torch.no_grad()
def distance(one: Tensor, other: Tensor) -> float:
    return ((one - other).norm() / other.norm()).item()


def test_unrounded_products_are_torchs():
    x, weight, bias = normal(5, 7, 16, seed=0), normal(9, 16, seed=1), normal(9, seed=2)
    assert torch.equal(linear(x, weight, bias, rounded=False), nn.functional.linear(x, weight, bias))
    assert torch.equal(product(x[0], weight.T, rounded=False), x[0] @ weight.T)
    added = add_product(x[0, :, :9], x[0], weight.T, rounded=False)
    torch.testing.assert_close(added, x[0, :, :9] + x[0] @ weight.T)


@pytest.mark.parametrize("with_bias", [True, False])
def test_a_rounded_map_is_near_with_near_gradients(with_bias):
    x, weight = normal(5, 7, 64, seed=0), normal(9, 64, seed=1)
    bias = normal(9, seed=2) if with_bias else None
    leaves = [leaf for leaf in (x, weight, bias) if leaf is not None]
    found, expected = (linear(x, weight, bias, rounded=rounded) for rounded in (True, False))
    assert found.dtype is torch.float32 and found.shape == expected.shape
    assert 0 < distance(found, expected) < 0.01
    for one, other in zip(gradients(found, *leaves), gradients(expected, *leaves), strict=True):
        assert one.dtype is torch.float32
        assert distance(one, other) < 0.02


def test_rounded_batches_of_products_are_near_with_near_gradients():
    a, b = normal(3, 20, 32, seed=0), normal(3, 32, 10, seed=1)
    found, expected = (product(a, b, rounded=rounded) for rounded in (True, False))
    assert found.dtype is torch.float32
    assert 0 < distance(found, expected) < 0.01
    for one, other in zip(gradients(found, a, b), gradients(expected, a, b), strict=True):
        assert distance(one, other) < 0.02


def test_what_is_added_is_not_rounded():
    x = 1 + 2**-12 * torch.ones(4, 3)
    assert torch.equal(add_product(x, torch.zeros(4, 8), torch.zeros(8, 3), rounded=True), x)


def test_data_get_no_gradient():
    x, weight = normal(4, 8, seed=0).detach(), normal(3, 8, seed=1)
    linear(x, weight, None, rounded=True).sum().backward()
    assert x.grad is None and weight.grad is not None
