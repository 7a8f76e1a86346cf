# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Counts back from log1p, and drawn for a predicted mean: exact where nothing changes, gamma-Poisson where it does."""

import anndata
import numpy as np
import pytest
from scipy.sparse import csr_matrix

from bionemo.scale.counts.counted import Counted, check_counted, counted
from bionemo.scale.counts.draw import draw_again, draw_counts
from bionemo.scale.types import InputError


TARGET = 1e4


def log1p(counts: np.ndarray, library_size: np.ndarray) -> np.ndarray:
    return np.log1p(counts * (TARGET / library_size)[:, None]).astype(np.float32)


@pytest.fixture
def kang(pytestconfig):
    """CD4 T cells of the example: 800 genes with most counts, of (controls, stimulated cells)."""
    adata = anndata.read_h5ad(pytestconfig.rootpath / "examples/data/kang2018_pbmc_ifnb.h5ad")
    adata = adata[adata.obs["cell_type"] == "CD4 T"]
    adata = adata[:, np.sort(np.argsort(-np.asarray(adata.X.sum(axis=0)).ravel())[:800])]
    is_control = (adata.obs["perturbation"] == "control").to_numpy()

    def part(rows):
        counts, size = adata.X[rows].toarray().astype(np.float32), adata.obs["n_counts_full"].to_numpy(float)[rows]
        return Counted(counts=counts, library_size=size)

    return part(is_control), part(~is_control)


def gamma_poisson(rate, alpha, size, seed=0):
    rng = np.random.default_rng(seed)
    mean = size[:, None] * rate
    return Counted(
        counts=rng.poisson(mean * rng.gamma(1 / alpha, alpha, mean.shape)).astype(np.float32), library_size=size
    )


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_cells_that_are_drawn_again_have_mean_variance_and_zeros_of_the_first(alpha):
    rate, size = np.array([2e-4, 1e-3, 5e-3, 0.0]), np.full(4000, 2000.0)
    controls = gamma_poisson(rate, alpha, size)
    again = draw_again(controls, np.arange(4000), rng=np.random.default_rng(1))
    for statistic in (np.mean, np.var, lambda values, axis: (values == 0).mean(axis=axis)):
        found, expected = statistic(again, axis=0), statistic(controls.counts, axis=0)
        np.testing.assert_allclose(found, expected, rtol=0.1, atol=0.01)
    # Another cell of the same state: what counts have in common is the state.
    shared = np.corrcoef(again[:, 2], controls.counts[:, 2])[0, 1]
    assert 0.5 < shared < 0.99 and (again[:, 2] != controls.counts[:, 2]).mean() > 0.5


def test_real_cells_that_are_drawn_again_look_like_the_first(kang):
    controls, _ = kang
    again = draw_again(controls, np.arange(len(controls.counts)), rng=np.random.default_rng(0))
    expressed = controls.counts.mean(axis=0) > 0.2
    for statistic, limit in ((np.mean, 0.05), (np.var, 0.1)):
        found, expected = (statistic(counts, axis=0)[expressed] for counts in (again, controls.counts))
        assert np.median(found / expected) == pytest.approx(1, abs=limit)
    assert (again == 0).mean() == pytest.approx((controls.counts == 0).mean(), abs=0.01)
    assert len(np.unique(again, axis=0)) == len(again)


def test_counts_and_library_sizes_of_real_cells_come_back(kang):
    controls, _ = kang
    found = counted(csr_matrix(log1p(controls.counts, controls.library_size)), TARGET)
    np.testing.assert_array_equal(found.counts, controls.counts)
    np.testing.assert_allclose(found.library_size, controls.library_size, rtol=1e-5)


def test_a_cell_without_counts_has_the_median_library_size():
    found = counted(csr_matrix(np.log1p([[5.0, 10.0], [0.0, 0.0], [0.0, 2.5]])), TARGET)
    np.testing.assert_array_equal(found.counts, [[1, 2], [0, 0], [0, 1]])
    np.testing.assert_allclose(found.library_size, [2000, 3000, 4000], rtol=1e-6)


def test_smoothed_cells_are_refused():
    smooth = csr_matrix(np.random.default_rng(0).gamma(2.0, 0.5, (30, 50)))
    with pytest.raises(InputError, match="--output counts: expected control cells of scaled counts.*found 30 of 30"):
        check_counted(smooth)


def test_real_cells_pass_the_check(kang):
    check_counted(csr_matrix(log1p(kang[1].counts, kang[1].library_size)))


def test_genes_that_stay_keep_their_counts(kang):
    controls, _ = kang
    same = log1p(controls.counts, controls.library_size).mean(axis=0, dtype=np.float64)
    found = draw_counts(controls, same, target_sum=TARGET, seed=3)
    assert (found != controls.counts).mean() < 1e-3
    assert (draw_counts(controls, same + 0.01, target_sum=TARGET, seed=3) != controls.counts).mean() < 0.05
    np.testing.assert_array_equal(found, draw_counts(controls, same, target_sum=TARGET, seed=3))


@pytest.mark.parametrize("factor", [0.3, 2.0])
def test_genes_that_change_are_gamma_poisson_at_their_new_rate(factor):
    size, rate = np.random.default_rng(1).uniform(1000, 3000, 400), np.array([1e-4, 1e-3, 4e-3] * 20)
    controls = gamma_poisson(rate, 0.5, size)
    wanted = gamma_poisson(rate * factor, 0.5, size, seed=2)
    mean = log1p(wanted.counts, size).mean(axis=0, dtype=np.float64)
    found = draw_counts(controls, mean, target_sum=TARGET, seed=0)
    assert found.dtype == np.float32 and (found == np.round(found)).all() and found.min() == 0
    error = log1p(found, size).mean(axis=0) - mean
    assert abs(error).max() < 4.5 * (log1p(found, size).std(axis=0) / 20).max() and abs(error.mean()) < 0.02
    for first in range(3):
        new, real = found[:, first::3], wanted.counts[:, first::3]
        assert (new == 0).mean() == pytest.approx((real == 0).mean(), abs=0.03)
        assert new.var(axis=0).mean() == pytest.approx(real.var(axis=0).mean(), rel=0.2)


def test_silent_genes_can_rise_and_others_fall_silent():
    controls = gamma_poisson(np.array([2e-3, 0.0]), 0.5, np.full(300, 2000.0))
    found = draw_counts(controls, np.array([0.0, 1.0]), target_sum=TARGET, seed=0)
    assert found[:, 0].max() == 0 and log1p(found, controls.library_size)[:, 1].mean() == pytest.approx(1, abs=0.15)
    assert 0.1 < (found[:, 1] == 0).mean() < 0.9


def test_another_library_size_changes_the_depth_and_not_the_rate():
    controls = gamma_poisson(np.full(40, 1e-3), 0.3, np.full(300, 2000.0))
    mean = log1p(controls.counts, controls.library_size).mean(axis=0, dtype=np.float64)
    for size in (500.0, 8000.0):
        found = draw_counts(controls, mean, target_sum=TARGET, seed=0, library_size=size)
        assert found.mean() == pytest.approx(size * 1e-3, rel=0.06)
        assert found.var(axis=0).mean() == pytest.approx(size * 1e-3 + 0.3 * (size * 1e-3) ** 2, rel=0.2)


def test_stimulated_cells_have_the_zeros_and_the_spread_of_measured_ones(kang):
    """Told the measured mean, the drawn cells are nearer to the measured ones than the controls are."""
    controls, real = kang
    goal = log1p(real.counts, real.library_size)
    mean = goal.mean(axis=0, dtype=np.float64)
    drawn = draw_counts(controls, mean, target_sum=TARGET, seed=0)
    cells = {"drawn": log1p(drawn, controls.library_size), "controls": log1p(controls.counts, controls.library_size)}
    changed = np.argsort(-abs(cells["controls"].mean(axis=0) - mean))[:100]
    zeros = {name: (values[:, changed] == 0).mean() - (goal[:, changed] == 0).mean() for name, values in cells.items()}
    assert abs(zeros["drawn"]) < 0.03 < abs(zeros["controls"])
    fano = [x[:, changed].var(axis=0) / np.maximum(x[:, changed].mean(axis=0), 1e-3) for x in (drawn, real.counts)]
    assert np.median(fano[0]) == pytest.approx(np.median(fano[1]), rel=0.15)
    assert ((cells["drawn"].mean(axis=0) - mean) ** 2).mean() < 2 * (goal.var(axis=0) / len(drawn)).mean()
    expressed = np.argsort(-mean)[:100]
    pairs = np.triu_indices(100, 1)
    like = {
        name: np.corrcoef(np.cov(x[:, expressed].T)[pairs], np.cov(goal[:, expressed].T)[pairs])[0, 1]
        for name, x in cells.items()
    }
    assert like["drawn"] > 0.5 * like["controls"] > 0.05
