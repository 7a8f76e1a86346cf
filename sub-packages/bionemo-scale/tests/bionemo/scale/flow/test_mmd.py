# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bionemo.scale.flow.mmd import BANDWIDTHS, compare, mmd_squared, squared_distances


def cells(*shape: int, seed: int = 0, shift: float = 0.0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) + shift


def reference(a: Tensor, b: Tensor, estimator: str) -> float:
    """Equation 16 of one set, pair by pair in double precision."""
    pooled = torch.cat([a, b]).double().numpy()
    size, num_a = len(pooled), len(a)
    distance = [[float(((x - y) ** 2).sum()) for y in pooled] for x in pooled]
    pairs = sorted(distance[i][j] for i in range(size) for j in range(i + 1, size))
    # torch's median of an even count is the lower of the middle two.
    median = pairs[(len(pairs) - 1) // 2]

    def kernel(i: int, j: int) -> float:
        return sum(math.exp(-distance[i][j] / (multiple * median)) for multiple in BANDWIDTHS) / len(BANDWIDTHS)

    def mean(rows: range, columns: range, *, skip_self: bool) -> float:
        return float(np.mean([kernel(i, j) for i in rows for j in columns if not (skip_self and i == j)]))

    of_a, of_b, skip = range(num_a), range(num_a, size), estimator == "unbiased"
    within = mean(of_a, of_a, skip_self=skip) + mean(of_b, of_b, skip_self=skip)
    return within - 2 * mean(of_a, of_b, skip_self=False)


@pytest.mark.parametrize("estimator", ["biased", "unbiased"])
@pytest.mark.parametrize("sizes", [(6, 6), (4, 7)])
def test_mmd_is_the_double_loop(estimator, sizes):
    a, b = cells(3, sizes[0], 5), cells(3, sizes[1], 5, seed=1, shift=0.7)
    found = mmd_squared(a, b, estimator=estimator)
    expected = [reference(a[i], b[i], estimator) for i in range(3)]
    assert found.tolist() == pytest.approx(expected, abs=2e-6)


def test_equal_populations_have_none():
    a = cells(2, 8, 5)
    assert mmd_squared(a, a).abs().max() < 1e-6
    assert mmd_squared(a, a[:, torch.randperm(8, generator=torch.Generator().manual_seed(0))]).abs().max() < 1e-6


def test_mmd_grows_with_the_shift():
    values = [float(mmd_squared(cells(1, 64, 5), cells(1, 64, 5, seed=1, shift=shift))) for shift in (0, 0.5, 1, 2)]
    assert values == sorted(values)
    assert values[1] > 2 * values[0] > 0


def test_unbiased_averages_to_zero_on_one_population():
    """200 pairs of samples of one distribution: the biased estimate is off by about 2 / N, the unbiased by nothing."""
    a, b = cells(200, 10, 5), cells(200, 10, 5, seed=1)
    unbiased, biased = mmd_squared(a, b, estimator="unbiased"), mmd_squared(a, b)
    standard_error = float(unbiased.std()) / math.sqrt(200)
    assert abs(float(unbiased.mean())) < 4 * standard_error
    assert float(biased.mean()) > 20 * standard_error


def test_sets_do_not_see_each_other():
    a, b = cells(2, 6, 5), cells(2, 6, 5, seed=1, shift=1)
    both = mmd_squared(a, b)
    other = mmd_squared(a, torch.cat([b[:1], b[1:] + 3]))
    assert other[0] == both[0] and other[1] != both[1]


def test_gradient_draws_the_populations_together():
    target = cells(1, 32, 4, seed=1, shift=1.5)
    moving = cells(1, 32, 4).requires_grad_()
    before = mmd_squared(moving, target).sum()
    before.backward()
    assert moving.grad.abs().sum(-1).min() > 0
    with torch.no_grad():
        assert mmd_squared(moving - 5 * moving.grad, target).sum() < before
    # Up along the shift is where the loss falls.
    assert (moving.grad.mean(dim=(0, 1)) < 0).all()


def test_gradient_is_that_of_finite_differences():
    a, b = cells(1, 4, 3).requires_grad_(), cells(1, 4, 3, seed=1, shift=1)
    mmd_squared(a, b).sum().backward()
    direction = cells(1, 4, 3, seed=2)
    step, slope = 1e-2, (a.grad * direction).sum()
    with torch.no_grad():
        # The bandwidth carries no gradient, so it stays what it was.
        median = _median(a, b)
        up, down = (_with_median(a + sign * step * direction, b, median) for sign in (1, -1))
    assert float(slope) == pytest.approx(float(up - down) / (2 * step), rel=0.02)


def _median(a: Tensor, b: Tensor) -> Tensor:
    pooled = torch.cat([a, b], dim=1)[0].double()
    return torch.pdist(pooled).square().median()


def _with_median(a: Tensor, b: Tensor, median: Tensor) -> Tensor:
    a, b = a[0].double(), b[0].double()

    def mean_kernel(x: Tensor, y: Tensor) -> Tensor:
        distance = (x[:, None] - y[None]).square().sum(-1) / median
        return torch.stack([torch.exp(-distance / multiple) for multiple in BANDWIDTHS]).mean()

    return mean_kernel(a, a) + mean_kernel(b, b) - 2 * mean_kernel(a, b)


def test_compared_cells_have_the_squared_error_beside_mmd():
    a, b = cells(3, 6, 5).requires_grad_(), cells(3, 6, 5, seed=1, shift=0.7)
    found = compare(a, b)
    torch.testing.assert_close(found.squared_error, (a - b).square().mean(dim=(1, 2)))
    assert torch.equal(found.mmd_squared, mmd_squared(a, b))
    (gradient,) = torch.autograd.grad(found.squared_error.sum(), a)
    torch.testing.assert_close(gradient, 2 * (a - b).detach() / 30)


@pytest.mark.parametrize("estimator", ["biased", "unbiased"])
def test_gradient_is_that_of_the_formula(estimator):
    a, b = (cells(2, 5, 7, seed=seed, shift=3).double() for seed in (0, 1))
    medians = torch.stack([_median(a[i : i + 1], b[i : i + 1]) for i in range(2)])
    leaf = a.clone().requires_grad_()

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        distances = (x[:, :, None] - y[:, None]).square().sum(-1) / medians[:, None, None]
        return torch.stack([torch.exp(-distances / multiple) for multiple in BANDWIDTHS]).mean(0)

    pairs = 25 if estimator == "biased" else 20
    (4 * kernel(leaf, leaf).sum() / pairs - 8 * kernel(leaf, b).mean(dim=(1, 2)).sum()).backward()
    found = a.float().requires_grad_()
    (4 * mmd_squared(found, b.float(), estimator=estimator).sum()).backward()
    torch.testing.assert_close(found.grad.double(), leaf.grad, rtol=1e-4, atol=1e-5)


def test_gradient_is_finite_where_cells_coincide():
    a = torch.zeros(1, 4, 3, requires_grad=True)
    mmd_squared(a, torch.zeros(1, 4, 3)).sum().backward()
    assert torch.isfinite(a.grad).all()


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_distances_far_from_the_origin(offset):
    x = cells(2, 9, 30).double()
    exact = (x[:, :, None] - x[:, None]).square().sum(-1)
    found = squared_distances((x + offset).float())
    # A float32 near 1000 is itself off by 3e-5.
    torch.testing.assert_close(found.double(), exact, rtol=1e-4, atol=3e-3 if offset else 1e-4)


@settings(max_examples=25, deadline=None)
@given(
    num_cells=st.integers(1, 7),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
    offset=st.sampled_from([0.0, -1e3, 1e6]),
    seed=st.integers(0, 1000),
)
def test_distances_are_symmetric_not_negative_and_zero_to_oneself(num_cells, scale, offset, seed):
    distances = squared_distances(cells(2, num_cells, 3, seed=seed) * scale + offset)
    assert torch.equal(distances, distances.transpose(1, 2))
    assert distances.min() >= 0
    assert distances.diagonal(dim1=1, dim2=2).abs().max() == 0


def test_a_long_cell_never_meets_another_gene_by_gene():
    """B x N x N numbers: no tensor of the graph may hold N x N x G."""
    largest = 0

    def note(tensor: Tensor) -> Tensor:
        nonlocal largest
        largest = max(largest, tensor.numel())
        return tensor

    a, b = cells(2, 16, 500).requires_grad_(), cells(2, 16, 500, seed=1)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        mmd_squared(a, b).sum().backward()
    assert largest <= 2 * 32 * 500


@pytest.mark.parametrize("estimator", ["biased", "unbiased"])
def test_cells_without_a_share_are_not_there(estimator):
    """The value and the gradient are those of the other cells alone."""
    a, b = cells(2, 7, 5).requires_grad_(), cells(2, 7, 5, seed=1, shift=0.7)
    counted = [4, 7]
    share = torch.stack([(torch.arange(7) < number) / number for number in counted])
    found = compare(a, b, estimator=estimator, share=share)
    (found.mmd_squared.sum() + 3 * found.squared_error.sum()).backward()
    for row, number in enumerate(counted):
        alone = a.detach()[row : row + 1, :number].clone().requires_grad_()
        expected = compare(alone, b[row : row + 1, :number], estimator=estimator)
        (expected.mmd_squared + 3 * expected.squared_error).sum().backward()
        torch.testing.assert_close(found.mmd_squared[row : row + 1], expected.mmd_squared, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(found.squared_error[row : row + 1], expected.squared_error)
        torch.testing.assert_close(a.grad[row, :number], alone.grad[0], rtol=1e-4, atol=1e-6)
        assert not a.grad[row, number:].any()


@pytest.mark.parametrize("estimator", ["biased", "unbiased"])
def test_one_cell_that_counts_has_a_finite_gradient(estimator):
    a, share = cells(1, 4, 3).requires_grad_(), torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    mmd_squared(a, cells(1, 4, 3, seed=1), estimator=estimator, share=share).sum().backward()
    assert a.grad.isfinite().all() and a.grad[0, 0].any()
