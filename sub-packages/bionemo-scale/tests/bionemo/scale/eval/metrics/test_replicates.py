# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Replicates are summed, tested by the real pydeseq2, and refused where there are too few."""

import importlib.util

import numpy as np
import pytest
from scipy import sparse

from bionemo.scale.eval.metrics import replicates
from bionemo.scale.eval.metrics.replicates import ReplicateTests, check_replicates, compare_tests, replicate_tests
from bionemo.scale.types import InputError


@pytest.fixture(scope="module")
def cells():
    """Four donors, ten cells each of a control and of a perturbation that doubles gene 0 and halves gene 1."""
    rng = np.random.default_rng(0)
    labels, donors = np.repeat(["control", "A"], 40), np.tile(np.repeat(["w", "x", "y", "z"], 10), 2)
    rate = np.full((80, 20), 30.0) * (1 + np.unique(donors, return_inverse=True)[1] / 5)[:, None]
    rate[40:, 0] *= 2
    rate[40:, 1] /= 2
    return sparse.csr_matrix(rng.poisson(rate)), labels.astype(object), donors.astype(object)


def test_sums_are_those_of_each_sample(cells):
    counts, labels, donors = cells
    table, samples = replicates._sums(counts, labels, donors)
    for row, sample in zip(table, samples.itertuples(), strict=True):
        chosen = (labels == sample.condition) & (donors == sample.replicate)
        np.testing.assert_array_equal(row, counts.toarray()[chosen].sum(axis=0))
    assert len(table) == 8


@pytest.mark.slow
def test_what_changes_is_found_and_nothing_else(cells):
    counts, labels, donors = cells
    found = replicate_tests(counts, labels, donors, names=["A"], control="control")
    assert np.flatnonzero(found.fdr[0] < 0.05).tolist() == [0, 1]
    np.testing.assert_allclose(found.log_fc[0, :2], [1, -1], atol=0.15)
    frame = found.frame(["A"], tuple(f"g{index}" for index in range(20)))
    assert frame.height == 20 and frame.filter(frame["fdr"] < 0.05)["feature"].to_list() == ["g0", "g1"]


def test_sides_are_compared_by_hand():
    real = ReplicateTests(fdr=np.array([[0.01, 0.01, 0.9, 0.01]]), log_fc=np.array([[1.0, -2.0, 0.1, 3.0]]))
    pred = ReplicateTests(fdr=np.array([[0.01, 0.9, 0.01, 0.01]]), log_fc=np.array([[2.0, 1.0, 0.1, 4.0]]))
    found = compare_tests(pred, real, cell_fdr=np.array([[0.01, 0.01, 0.01, 0.9]]))
    assert {name: value[0] for name, value in found.items()} == {
        "deseq2_nsig_real": 3,
        "deseq2_nsig_pred": 3,
        "deseq2_recall": pytest.approx(2 / 3),
        "deseq2_precision": pytest.approx(2 / 3),
        "deseq2_direction": pytest.approx(2 / 3),
        "deseq2_lfc_spearman": pytest.approx(1.0),
        "deseq2_confirms": pytest.approx(2 / 3),
    }


def test_few_replicates_are_refused_or_warned_of():
    labels = np.array(["control", "control", "A", "A"], dtype=object)
    expected = (
        "real, T: --de pydeseq2 needs at least 2 replicates of each perturbation and of the controls, found 1 of 'A'"
    )
    with pytest.raises(InputError, match=expected):
        check_replicates(labels, np.array(["x", "y", "x", "x"]), where="real, T")
    assert "'A' has two replicates" in check_replicates(labels, np.array(["x", "y", "x", "y"]), where="real, T")
    three = np.repeat(labels[[0, 2]], 3), np.tile(["x", "y", "z"], 2)
    assert check_replicates(*three, where="real, T") is None


def test_without_pydeseq2_a_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"--de pydeseq2 needs pydeseq2; pip install 'bionemo-scale\[de\]'"):
        replicates.check_pydeseq2()
