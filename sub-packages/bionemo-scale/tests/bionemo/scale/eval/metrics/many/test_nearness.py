# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Ranks by one pass over all pairs, against the formulas with a matrix for each."""

import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_distances

from bionemo.scale.eval.metrics.formulas import discrimination_score
from bionemo.scale.eval.metrics.many.nearness import all_nearness
from bionemo.scale.eval.metrics.unseen import centroid_accuracy, panel_discrimination


def changes(seed, *, num, genes):
    """Predicted and real changes; two real ones are the same, one is nothing, and one prediction is nothing."""
    rng = np.random.default_rng(seed)
    real = rng.normal(size=(num, genes))
    pred = real + 2 * rng.normal(size=(num, genes))
    real[3], real[7], pred[8] = real[4], 0, 0
    own = np.where(rng.random(num) < 0.4, rng.integers(0, genes, num), -1)
    return pred, real, own, rng.random(genes) < 0.3


def cosine_without_own(pred, real, own, *, row):
    """Count closer and equally distant real changes by the distance that cell-eval uses."""
    kept = np.arange(pred.shape[1]) != own[row]
    away = cosine_distances(real[:, kept], pred[row : row + 1, kept])[:, 0]
    return (away < away[row]).sum(), (away == away[row]).sum()


def check(pred, real, own, targets):
    found = all_nearness(pred, real, own_gene=own, targets=targets)
    for metric in ("l1", "l2", "cosine"):
        expected = discrimination_score(pred, real, metric=metric)
        np.testing.assert_allclose(found.whole[metric].score, expected, err_msg=metric)
        if metric != "cosine":
            expected = discrimination_score(pred, real, metric=metric, own_gene=own)
            np.testing.assert_allclose(
                found.without_own[metric].score, expected, err_msg=f"{metric} without own genes"
            )
    ranks = found.without_own["cosine"]
    expected = [cosine_without_own(pred, real, own, row=row) for row in range(len(pred))]
    np.testing.assert_array_equal(np.stack([ranks.closer, ranks.equal], axis=1), expected)
    np.testing.assert_allclose(found.whole["l2"].share_farther, centroid_accuracy(pred, real))
    np.testing.assert_allclose(found.panel.share_farther, panel_discrimination(pred, real, targets))
    return found


@pytest.mark.parametrize(("num", "genes"), [(60, 11), (97, 37)])
def test_equals_the_formulas(num, genes):
    pred, real, own, targets = changes(0, num=num, genes=genes)
    found = check(pred, real, own, targets)
    assert np.isnan(found.whole["cosine"].score[[7, 8]]).all(), "no change has no direction"
    assert found.whole["l1"].equal[3] == 2, "of two equal real changes none is closer"


@pytest.mark.parametrize("all_targets", [False, True])
def test_without_targets_and_with_nothing_else(all_targets):
    pred, real, own, targets = changes(1, num=40, genes=9)
    found = check(pred, real, np.full_like(own, -1), np.full_like(targets, all_targets))
    assert np.isnan(found.panel.share_farther).all() == all_targets


def test_a_change_of_the_own_gene_alone_leaves_nothing():
    pred, real, own, targets = changes(2, num=40, genes=9)
    own[:3] = 0, 1, 2
    real[0], real[1], pred[2] = 0, 0, 0
    # One third squared is no sum of powers of two: what is left of it must be nothing all the same.
    real[0, 0], real[1, 1:3], pred[2, 2] = 1 / 3, (1e3, 1e-6), 1 / 3
    found = check(pred, real, own, targets)
    assert found.without_own["cosine"].equal[2] == 40, "at a right angle to all"
    assert found.without_own["cosine"].mean_score[2] == pytest.approx(1 - 39 / 2 / 40)


def test_one_has_no_rank():
    found = all_nearness(np.ones((1, 3)), np.ones((1, 3)), own_gene=np.array([-1]), targets=np.zeros(3, dtype=bool))
    assert np.isnan(found.whole["l1"].score).all() and np.isnan(found.panel.share_farther).all()
