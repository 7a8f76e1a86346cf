# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Metrics by hand, and against cell-eval on real cells."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from bionemo.scale.eval import metrics
from bionemo.scale.eval.cell_eval import run_cell_eval
from bionemo.scale.eval.differential import differential_expression
from bionemo.scale.eval.populations import group_means, rows_by_label, to_anndata


def test_pearson_delta_by_hand():
    real = np.array([[0.0, 1, 2], [0, 1, 2], [0, 1, 2]])
    pred = np.array([[1.0, 3, 5], [2, 1, 0], [1, 1, 1]])
    found = metrics.pearson_delta(pred, real)
    assert found[:2] == pytest.approx([1, -1])
    assert np.isnan(found[2])


def test_r2_by_hand():
    real = np.array([[0.0, 2, 4], [0, 2, 4], [3, 3, 3]])
    pred = np.array([[0.0, 2, 4], [2, 2, 2], [3, 3, 3]])
    found = metrics.r2(pred, real)
    assert found[:2].tolist() == [1, 0]
    assert np.isnan(found[2])


def test_errors_by_hand():
    real, pred = np.array([[0.0, 2, 4, 0]]), np.array([[1.0, 2, 1, 0]])
    assert metrics.mse(pred, real)[0] == 10 / 4
    assert metrics.mae(pred, real)[0] == 1


@pytest.mark.parametrize("metric", ["l1", "l2", "cosine"])
def test_discrimination_by_hand(metric):
    real = np.array([[1.0, 0], [0, 1], [-1, -1]])
    assert metrics.discrimination_score(real, real, metric=metric).tolist() == [1, 1, 1]
    turned = real[[1, 0, 2]]
    # The first two are closest to each other's real change: one of three is closer than their own.
    assert metrics.discrimination_score(turned, real, metric=metric) == pytest.approx([2 / 3, 2 / 3, 1])


def test_discrimination_leaves_the_target_gene_out():
    real = np.array([[9.0, 0, 1], [0, 9, 2]])
    pred = np.array([[9.0, 0, 2], [0, 9, 1]])
    assert metrics.discrimination_score(pred, real).tolist() == [1, 1]
    # Without the first perturbation's own gene, what is left of it looks like neither.
    alone = metrics.discrimination_score(pred[:, [0, 2]], real[:, [0, 2]], own_gene=np.array([0, -1]))
    assert alone.tolist() == [0.5, 1]


def test_discrimination_has_no_rank_among_one():
    assert np.isnan(metrics.discrimination_score(np.ones((1, 3)), np.ones((1, 3)))).all()


def test_sd_ratio_by_hand():
    real = np.array([[0.0, 1, 0], [2, 3, 0]])
    assert metrics.sd_ratio(real, real) == 1
    assert metrics.sd_ratio(real / 2, real) == 0.5
    assert metrics.sd_ratio(np.ones((5, 3)), real) == 0
    assert np.isnan(metrics.sd_ratio(real[:1], real))
    assert np.isnan(metrics.sd_ratio(real, np.zeros((4, 3))))


def test_sd_ratio_looks_at_expressed_genes_only():
    real = np.zeros((100, 2))
    real[::2, 0] = 1
    real[0, 1] = 5
    pred = real * np.array([0.5, 100])
    assert metrics.sd_ratio(pred, real) == pytest.approx(0.5)


def test_energy_distance_equals_its_definition(papalexi_population):
    rng = np.random.default_rng(0)
    a, b = papalexi_population.dense()[:40], papalexi_population.dense()[40:100]
    found = metrics.energy_distance(metrics.sample_cells(a, rng=rng), metrics.sample_cells(b, rng=rng))
    a, b = a.astype(float), b.astype(float)
    within_a, within_b = (cdist(x, x).sum() / (len(x) * (len(x) - 1)) for x in (a, b))
    assert found == pytest.approx(2 * cdist(a, b).mean() - within_a - within_b, abs=1e-9)


def test_energy_distance_tells_populations_apart(kang):
    cells = kang[kang.obs["cell_type"] == "CD8 T"]
    control = cells[cells.obs["perturbation"] == "control"].X.toarray()
    perturbed = cells[cells.obs["perturbation"] != "control"].X.toarray()

    def distance(a, b):
        first, second = (metrics.sample_cells(x, rng=np.random.default_rng(0), max_cells=30) for x in (a, b))
        assert len(first.cells) <= 30
        return metrics.energy_distance(first, second)

    apart = distance(control, perturbed)
    assert apart > 0.5
    assert abs(distance(perturbed[::2], perturbed[1::2])) < apart / 5
    assert distance(np.repeat(perturbed.mean(axis=0, keepdims=True), 30, axis=0), perturbed) > 0.5


def test_energy_distance_of_one_cell_is_undefined():
    rng = np.random.default_rng(0)
    one, two = metrics.sample_cells(np.ones((1, 2)), rng=rng), metrics.sample_cells(np.ones((2, 2)), rng=rng)
    assert np.isnan(metrics.energy_distance(one, two))


def test_parity_with_cell_eval(papalexi_population):
    """PDCorr, errors and all three PDS equal cell-eval's to 1e-6 on five real knock-outs, two of them in the panel."""
    cells = papalexi_population
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 0.3, (len(cells), len(cells.genes))).astype(np.float32)
    shuffled = cells.dense()[rng.permutation(len(cells))]
    pred = np.maximum(0.3 * cells.dense() + 0.7 * shuffled + noise, 0)
    sides = {}
    for name, expression in (("real", cells.dense()), ("pred", pred)):
        sides[name] = to_anndata(expression=expression, perturbation=cells.perturbation, genes=cells.genes)
    de = differential_expression(sides["real"], control="control")
    theirs = run_cell_eval(pred=sides["pred"], real=sides["real"], de_pred=de, de_real=de, control="control")
    names = tuple(theirs["perturbation"])
    rows = rows_by_label(cells.perturbation)
    rows = {name: rows[name] for name in ("control", *names)}
    means = {name: group_means(expression=side.X, rows=rows) for name, side in sides.items()}
    changes = {name: values[1:] - values[0] for name, values in means.items()}
    own_gene = np.array([cells.genes.index(name) if name in cells.genes else -1 for name in names])
    assert (own_gene >= 0).sum() == 2
    ours = {
        "pearson_delta": metrics.pearson_delta(changes["pred"], changes["real"]),
        "mse": metrics.mse(means["pred"][1:], means["real"][1:]),
        "mae": metrics.mae(means["pred"][1:], means["real"][1:]),
        "mse_delta": metrics.mse(changes["pred"], changes["real"]),
        "mae_delta": metrics.mae(changes["pred"], changes["real"]),
    }
    for metric in ("l1", "l2", "cosine"):
        score = metrics.discrimination_score(changes["pred"], changes["real"], metric=metric, own_gene=own_gene)
        ours[f"discrimination_score_{metric}"] = score
    for name, values in ours.items():
        np.testing.assert_allclose(values, theirs[name].to_numpy(), atol=1e-6, err_msg=name)
    assert 0 < ours["discrimination_score_l2"].min() < 1, "the case must tell right from wrong ranks"
