# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The vectorised rank-sum test equals pdex and scipy."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from bionemo.scale.eval.cells.populations import to_anndata
from bionemo.scale.eval.metrics.differential import differential_expression
from bionemo.scale.eval.metrics.wilcoxon import FOLD_CHANGE_CLIP


def rank_sums(expression, labels, genes):
    adata = to_anndata(expression=expression, perturbation=labels, genes=genes)
    return differential_expression(adata, control="control")


def assert_same_as_pdex(adata) -> None:
    fast = differential_expression(adata, control="control", engine="fast")
    slow = differential_expression(adata, control="control", engine="pdex")
    assert fast.columns == slow.columns
    for column in ("target", "reference", "feature"):
        assert fast[column].to_list() == slow[column].to_list()
    for column in ("target_mean", "reference_mean", "percent_change", "fold_change", "statistic"):
        np.testing.assert_array_equal(fast[column].to_numpy(), slow[column].to_numpy(), err_msg=column)
    for column in ("p_value", "fdr"):
        # scipy sums the tie correction in float32 here.
        ours, theirs = fast[column].to_numpy(), slow[column].to_numpy()
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-40, err_msg=column)
        assert np.abs(ours - theirs).max() < 1e-5


def test_equals_pdex_on_one_perturbation(kang):
    cells = kang[kang.obs["cell_type"] == "CD8 T"].to_memory()
    cells.X = cells.X.toarray()
    assert_same_as_pdex(cells)


def test_equals_pdex_on_several_perturbations(papalexi):
    cells = papalexi.copy()
    cells.X = cells.X.toarray()
    assert_same_as_pdex(cells)


def test_equals_pdex_where_scipy_takes_the_exact_law():
    rng = np.random.default_rng(0)
    expression = rng.random((27, 40), dtype=np.float32)
    expression[:, :20] = expression[:, :20].round(1)
    labels = np.array(["control"] * 7 + ["a+b c"] * 15 + ["d"] * 5, dtype=object)
    assert_same_as_pdex(to_anndata(expression=expression, perturbation=labels, genes=tuple(map(str, range(40)))))


def test_hand_made():
    expression = np.array([[0.0, 1, 0], [2, 1, 0], [1, 1, 3], [2, 1, 0], [3, 1, 0]], dtype=np.float32)
    labels = np.array(["control", "control", "a", "a", "a"], dtype=object)
    frame = rank_sums(expression, labels, ("x", "y", "z"))
    # x: 1 beats 0; 2 beats 0 and ties 2; 3 beats both. y: all six tie. z: 3 beats two zeros, the zeros tie.
    assert frame["statistic"].to_list() == [1 + 1.5 + 2, 3, 2 + 1 + 1]
    assert frame["p_value"][1] == 1
    assert frame["fold_change"].to_list()[1:] == [1.0, FOLD_CHANGE_CLIP]
    assert frame["fold_change"][0] == pytest.approx(np.expm1(2.0) / np.expm1(1.0))


def test_fold_change_where_a_mean_is_zero():
    expression = np.array([[0.0, 1], [0, 1], [0, 0], [0, 0]], dtype=np.float32)
    labels = np.array(["control", "control", "a", "a"], dtype=object)
    frame = rank_sums(expression, labels, ("x", "y"))
    assert frame["fold_change"].to_list() == [1.0, 1 / FOLD_CHANGE_CLIP]


@settings(deadline=None, max_examples=100)
@given(
    st.integers(1, 14).flatmap(lambda n: hnp.arrays(np.int8, (n, 3), elements=st.integers(-2, 4))),
    st.integers(1, 14).flatmap(lambda n: hnp.arrays(np.int8, (n, 3), elements=st.integers(-2, 4))),
)
@example(perturbed=np.zeros((1, 3), np.int8), control=np.array([[1, 2, 2], [2, 2, 2]], np.int8))
def test_equals_scipy_with_many_ties(perturbed, control):
    expression = np.concatenate([control, perturbed]).astype(np.float32)
    # -0.0 must tie with 0.0.
    expression[expression == 0] *= -1
    labels = np.array(["control"] * len(control) + ["a"] * len(perturbed), dtype=object)
    frame = rank_sums(expression, labels, ("x", "y", "z"))
    for gene in range(3):
        expected = stats.mannwhitneyu(perturbed[:, gene].astype(float), control[:, gene].astype(float))
        assert frame["statistic"][gene] == expected.statistic
        assert frame["p_value"][gene] == pytest.approx(np.nan_to_num(expected.pvalue, nan=1.0), abs=1e-12)


def test_blocks_of_genes_do_not_matter(papalexi_population, monkeypatch):
    cells = papalexi_population
    arguments = cells.dense(), cells.perturbation, cells.genes
    whole = rank_sums(*arguments)
    monkeypatch.setattr("bionemo.scale.eval.metrics.wilcoxon._BLOCK_VALUES", 1)
    assert rank_sums(*arguments).equals(whole)
