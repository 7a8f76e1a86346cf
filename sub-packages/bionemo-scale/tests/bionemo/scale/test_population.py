# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from torch import Tensor

from bionemo.scale.population import note_few_controls, one_count, one_count_of_sparse, with_counted_zeros, with_mean


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


def counted(cells: Tensor, measured: Tensor, begin: Tensor) -> Tensor:
    return with_counted_zeros(cells, one_count=one_count(measured), offset=begin)


def test_values_become_zero_or_at_least_one_count(cells):
    predicted = with_mean(cells, cells.mean(1) + 0.01)
    found, worth = counted(predicted, cells, offset(1)), one_count(cells)[..., None]
    # Without this a shift of 0.01 leaves no zero at all.
    assert not (predicted == 0).any() and (found == 0).float().mean() > 0.6
    possible = (found == 0) | (found >= worth * (1 - 1e-6))
    assert possible.float().mean() > 0.999


@settings(max_examples=60, deadline=None)
@given(
    num_cells=st.integers(1, 40),
    seed=st.integers(0, 2**31),
    scale=st.floats(1e-4, 3.0),
    share=st.floats(0.0, 1.0),
    worth=st.floats(0.01, 3.0),
)
def test_means_are_exact_at_any_number_of_cells(num_cells, seed, scale, share, worth):
    generator = torch.Generator().manual_seed(seed)
    cells = scale * torch.rand(2, num_cells, 50, generator=generator) ** 3
    cells *= torch.rand(2, num_cells, 50, generator=generator) < share
    worth_of_cells = worth * (0.5 + torch.rand(2, num_cells, generator=generator))
    begin = torch.rand(2, 50, generator=generator)
    found = with_counted_zeros(cells.clone(), one_count=worth_of_cells, offset=begin)
    torch.testing.assert_close(found.mean(1), cells.mean(1), rtol=1e-5, atol=1e-3)
    assert torch.isfinite(found).all() and found.min() >= 0
    assert not found[cells == 0].any()
    # A value below one count stands only where a gene has no value above it.
    above = (found > worth_of_cells[..., None] * (1 + 1e-4)).any(dim=1, keepdim=True)
    below = (found > 0) & (found < worth_of_cells[..., None] * (1 - 1e-4))
    assert not (above & below & (cells.sum(1, keepdim=True) > 2 * worth_of_cells.sum(1)[:, None, None])).any()


def test_as_many_values_are_expressed_as_counting_would_express(cells):
    """Rank tests see how many: a gene expressed in too many cells is significant whatever its mean."""
    predicted = with_mean(cells, cells.mean(1) + 0.03)
    worth = one_count(cells)[..., None]
    expected = (predicted / worth).clamp_max(1).mean(1)
    draws = torch.stack([(counted(predicted, cells, offset(s)) > 0).float().mean(1) for s in range(200)])
    torch.testing.assert_close(draws.mean(0), expected, rtol=0, atol=5e-3)


def test_the_spread_of_cells_is_kept(cells):
    predicted = with_mean(cells, cells.mean(1) * 1.2)
    found = counted(predicted, cells, offset(3))
    torch.testing.assert_close(found.std(1), predicted.std(1), rtol=0.1, atol=0.02)


def test_sets_do_not_mix(cells):
    predicted, begin = with_mean(cells, cells.mean(1) + 0.1), offset(5)
    both = counted(predicted, cells, begin)
    assert torch.equal(counted(predicted[1:], cells[1:], begin[1:])[0], both[1])


def test_a_cell_without_any_count_is_left_alone():
    predicted = torch.full((1, 3, 4), 0.2)
    assert torch.equal(counted(predicted, torch.zeros(1, 3, 4), torch.rand(1, 4)), predicted)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((0, 1, 3, 9), 1),
        ((2, 3, 0, 8), 1),
        ((0, 0, 3, 4), 1),
        ((3, 6, 0, 9), 3),
        ((0, 0, 0, 0), 0),
        ((0, 400, 3, 7), 1),
    ],
)
def test_one_count_is_told_by_what_values_are_multiples_of(counts, expected):
    """The panel of a model may hold no gene of the cell with a single count."""
    worth = torch.tensor([0.02, 0.7, 6.0])[:, None]
    measured = torch.log1p(worth * torch.tensor([counts], dtype=torch.float32))
    torch.testing.assert_close(one_count(measured), torch.log1p(worth[:, 0] * expected), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_count_is_told_by_values_without_zeros(dtype):
    counts = torch.poisson(torch.full((30, 40), 0.3), generator=torch.Generator().manual_seed(0))
    counts[7] = 0
    counts[:5] *= 3
    measured = torch.log1p(0.7 * counts).numpy().astype(dtype)
    expected = one_count(torch.from_numpy(measured))
    assert (expected == 0).sum() == 1
    assert torch.equal(one_count_of_sparse(csr_matrix(measured)), expected)
    assert not one_count_of_sparse(csr_matrix((2, 3), dtype=np.float32)).any()


def test_one_count_of_values_that_are_no_counts_is_the_smallest():
    torch.testing.assert_close(one_count(torch.tensor([0.0, 0.31, 0.47, 1.13])), torch.tensor(0.31))


def test_enough_controls_are_not_mentioned():
    assert note_few_controls({("NK", "b1"): 50, ("B", "b1"): 800}) is None


def test_groups_with_few_controls_are_named_fewest_first():
    note = note_few_controls({("NK", "b1"): 12, ("NK", "b2"): 1, ("B", "b1"): 50, ("r1", "r1"): 49})
    assert "fewer than 50 cells in 3 of 4 groups" in note
    assert "NK / b2 (1), NK / b1 (12), r1 (49);" in note


def test_the_line_stays_short():
    note = note_few_controls({("NK", str(number)): 3 for number in range(2000)})
    assert "and 1995 more" in note and len(note) < 250
