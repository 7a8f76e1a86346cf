# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Each metric against a few lines of numpy and scipy on real cells, and what it is there to see."""

import numpy as np
import pytest
from scipy import stats

from bionemo.scale.eval.cells.populations import group_means, rows_by_label
from bionemo.scale.eval.metrics.formulas import discrimination_score
from bionemo.scale.eval.metrics.unseen import (
    centroid_accuracy,
    centroid_delta,
    gene_weights,
    panel_discrimination,
    weighted_mse,
    weighted_r2,
)


@pytest.fixture(scope="module")
def cells(papalexi_population):
    """Perturbed cells, their rows, real means, and means of a worse prediction."""
    perturbed = papalexi_population.select(papalexi_population.perturbation != "control")
    rows, values = rows_by_label(perturbed.perturbation), perturbed.dense()
    real = group_means(expression=values, rows=rows)
    pred = real + 0.1 * np.random.default_rng(0).standard_normal(real.shape)
    return values, rows, real, pred


def test_one_centroid_is_removed_from_both_sides(cells):
    *_, real, pred = cells
    centroid = real.mean(axis=0)
    expected = [np.corrcoef(p - centroid, r - centroid)[0, 1] for p, r in zip(pred, real, strict=True)]
    np.testing.assert_allclose(centroid_delta(pred, real), expected)
    assert np.isnan(centroid_delta(np.tile(centroid, (len(real), 1)), real)).all(), "the mean of all tells nothing"
    assert np.isnan(centroid_delta(pred[:2], real[:2])).all()


def test_centroid_accuracy_is_a_share_of_comparisons(cells):
    *_, real, pred = cells
    expected = []
    for index, row in enumerate(pred):
        away = np.linalg.norm(real - row, axis=1)
        others = np.delete(away, index)
        expected.append(np.mean((others > away[index]) + (others == away[index]) / 2))
    np.testing.assert_allclose(centroid_accuracy(pred, real), expected)
    assert centroid_accuracy(real, real).tolist() == [1] * len(real)
    assert centroid_accuracy(np.tile(real.mean(axis=0), (len(real), 1)), real).mean() == pytest.approx(0.5, abs=0.2)
    assert np.isnan(centroid_accuracy(real[:1], real[:1])).all()


def test_ranks_without_target_genes_do_not_reward_them():
    """Each prediction lowers the targets of the other perturbations' less: their own genes alone tell them apart."""
    num, genes = 5, 40
    rng = np.random.default_rng(0)
    real, targets = 0.1 * rng.standard_normal((num, genes)), np.arange(genes) < num
    real[:, :num] -= 3 * np.eye(num)
    pred = np.zeros_like(real)
    pred[:, :num] = -3 * np.eye(num)
    assert panel_discrimination(pred, real, ~targets & targets).tolist() == [1] * num
    found = panel_discrimination(pred, real, targets)
    away = np.abs(real[:, num:]).sum(axis=1)
    expected = [(np.delete(away, index) > away[index]).mean() for index in range(num)]
    np.testing.assert_allclose(found, expected)
    assert found.mean() == 0.5, "nothing but the targets was predicted"
    assert np.isnan(panel_discrimination(pred, real, targets | ~targets)).all(), "no gene is left"


def test_the_rank_is_that_of_the_plain_score_but_for_its_denominator(cells):
    *_, real, pred = cells
    plain, nothing = discrimination_score(pred, real, metric="l1"), np.zeros(real.shape[1], dtype=bool)
    num = len(real)
    np.testing.assert_allclose(panel_discrimination(pred, real, nothing), 1 - (1 - plain) * num / (num - 1))
    ties = panel_discrimination(np.zeros_like(real), np.ones_like(real), nothing)
    assert ties.tolist() == [0.5] * num


def test_weights_are_squared_scaled_test_statistics(cells):
    values, rows, *_ = cells
    found = gene_weights(values, rows)
    for index, members in enumerate(rows.values()):
        rest = np.setdiff1d(np.arange(len(values)), members)
        score = np.abs(
            stats.ttest_ind(values[members].astype(float), values[rest].astype(float), equal_var=False).statistic
        )
        score = np.nan_to_num(score)
        expected = ((score - score.min()) / (score.max() - score.min())) ** 2
        np.testing.assert_allclose(found[index], expected / expected.sum(), atol=1e-9)


def test_one_perturbation_has_no_weights():
    assert np.isnan(gene_weights(np.eye(3, dtype=np.float32), {"A": np.arange(3)})).all()


def test_genes_without_spread_count_as_much_as_the_best(cells):
    values = np.zeros((8, 3), dtype=np.float32)
    values[:4, 0], values[:, 1] = 1, [1, 2, 3, 4, 0, 1, 2, 2]
    found = gene_weights(values, {"A": np.arange(4), "B": np.arange(4, 8)})
    np.testing.assert_allclose(found, [[0.5, 0.5, 0]] * 2)


def test_weighted_errors_by_hand(cells):
    values, rows, real, pred = cells
    weights, reference = gene_weights(values, rows), values.mean(axis=0, dtype=np.float64)
    for index in range(len(real)):
        w, error, change = weights[index], pred[index] - real[index], real[index] - reference
        assert weighted_mse(pred, real, weights)[index] == pytest.approx(np.average(error**2, weights=w))
        expected = 1 - np.average(error**2, weights=w) / np.average(
            (change - np.average(change, weights=w)) ** 2, weights=w
        )
        assert weighted_r2(pred, real, weights, reference=reference)[index] == pytest.approx(expected)
    np.testing.assert_allclose(weighted_r2(real, real, weights, reference=reference), 1)
    np.testing.assert_array_less(
        weighted_r2(np.tile(reference, (len(real), 1)), real, weights, reference=reference), 1e-9
    )
