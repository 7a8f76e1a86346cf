# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import Tensor

from bionemo.scale.population import with_counted_zeros, with_mean


@pytest.fixture
def cells() -> Tensor:
    """Two sets of 40 cells, most values zero as in real cells, the others at least 0.7."""
    generator = torch.Generator().manual_seed(0)
    values = 0.7 + torch.randn(2, 40, 30, generator=generator).abs()
    return values * (torch.rand(2, 40, 30, generator=generator) < 0.3)


def offset(seed: int) -> Tensor:
    """Two sets of 30 genes."""
    return torch.rand(2, 30, generator=torch.Generator().manual_seed(seed))


def test_means_are_met_whether_genes_go_up_or_down(cells):
    up_and_down = cells.mean(1) * torch.linspace(0, 3, 30)
    moved = with_mean(cells, up_and_down)
    torch.testing.assert_close(moved.mean(1), up_and_down, rtol=1e-4, atol=1e-5)
    assert moved.min() >= 0


def test_a_mean_below_zero_silences_the_gene(cells):
    assert not with_mean(cells, torch.full((2, 30), -1.0)).any()


def test_cells_that_have_the_mean_stay(cells):
    torch.testing.assert_close(with_mean(cells, cells.mean(1)), cells, rtol=1e-4, atol=1e-5)


def test_a_gene_that_goes_down_keeps_its_zeros_and_its_order(cells):
    moved = with_mean(cells, cells.mean(1) / 2)
    assert (moved[cells == 0] == 0).all()
    gene = cells[0, :, 0].argsort()
    assert (moved[0, gene, 0].diff() >= 0).all()


def test_values_below_one_count_become_zero_or_one_count(cells):
    predicted = with_mean(cells, cells.mean(1) + 0.01)
    counted = with_counted_zeros(predicted, measured=cells, offset=offset(1))
    one_count = cells.masked_fill(cells == 0, torch.inf).amin(-1, keepdim=True)
    assert ((counted == 0) | (counted >= one_count)).all()
    assert torch.equal(counted[predicted >= one_count], predicted[predicted >= one_count])
    # Without this a shift of 0.01 leaves no zero at all.
    assert not (predicted == 0).any() and (counted == 0).float().mean() > 0.6


def test_sums_of_a_gene_are_off_by_less_than_one_count(cells):
    predicted = with_mean(cells, cells.mean(1) + 0.05)
    counted = with_counted_zeros(predicted, measured=torch.ones_like(cells), offset=offset(1))
    assert ((counted - predicted).sum(1).abs() < 1).all()


def test_the_mean_is_kept_on_average(cells):
    predicted = with_mean(cells, cells.mean(1) + 0.03)
    draws = torch.stack([with_counted_zeros(predicted, measured=cells, offset=offset(s)) for s in range(200)])
    torch.testing.assert_close(draws.mean(0).mean(1), predicted.mean(1), rtol=0, atol=2e-3)


def test_sets_do_not_mix(cells):
    predicted, begin = with_mean(cells, cells.mean(1) + 0.1), offset(5)
    both = with_counted_zeros(predicted, measured=cells, offset=begin)
    alone = with_counted_zeros(predicted[1:], measured=cells[1:], offset=begin[1:])
    assert torch.equal(alone[0], both[1])


def test_a_cell_without_any_count_is_left_alone():
    predicted = torch.full((1, 3, 4), 0.2)
    assert torch.equal(
        with_counted_zeros(predicted, measured=torch.zeros(1, 3, 4), offset=torch.rand(1, 4)), predicted
    )
