# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Metrics by hand, and against cell-eval on real cells."""

from dataclasses import replace

import numpy as np
import pytest

from bionemo.scale.eval.cell_eval.adapter import run_cell_eval
from bionemo.scale.eval.cells.populations import group_means, rows_by_label, to_anndata
from bionemo.scale.eval.metrics import formulas as metrics
from bionemo.scale.eval.metrics.differential import differential_expression
from bionemo.scale.eval.scores.sides import make_side


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


def scored_by_both(cells, spoil):
    """A spoilt prediction of real knock-outs, scored by cell-eval, and what our formulas read."""
    is_control = cells.perturbation == "control"
    pred = np.where(is_control[:, None], cells.dense(), spoil(cells.dense()))
    sides = []
    for expression in (pred.astype(np.float32), cells.dense()):
        part = replace(cells, expression=expression)
        perturbed, controls = part.select(~is_control), part.select(is_control)
        sides.append(make_side(perturbed, controls, control="control", engine="fast", by_batch=False))
    pred, real = sides
    theirs = run_cell_eval(
        pred=pred.adata, real=real.adata, de_pred=pred.tests.frame(), de_real=real.tests.frame(), control="control"
    )
    folds = [np.log2(side.tests.columns["fold_change"]) for side in sides]
    return pred.tested_genes(real.control_mean), real.tested_genes(real.control_mean), theirs, folds


def mixed(values):
    """Half of each cell is another cell, so that effects shrink to their mean: p-values that float32 holds."""
    return 0.5 * values + 0.5 * values[np.random.default_rng(1).permutation(len(values))]


@pytest.fixture
def both_sides(papalexi_population):
    return scored_by_both(papalexi_population, mixed)


def test_ranking_metrics_equal_cell_evals(both_sides):
    """AUROC and AUPRC are appendix A's formulas in cell-eval too, as long as no adjusted p-value is exactly 0."""
    pred, real, theirs, _ = both_sides
    assert (pred.fdr > 1e-45).all() and 0 < real.significant.sum() < real.fdr.size
    np.testing.assert_allclose(metrics.roc_auc(pred, real), theirs["roc_auc"].to_numpy(), atol=1e-6)
    np.testing.assert_allclose(metrics.average_precision(pred, real), theirs["pr_auc"].to_numpy(), atol=1e-6)


def test_tiny_p_values_rank_first_here_and_not_in_cell_eval(papalexi_population):
    """cell-eval 0.6.6 has adjusted p-values in float32 and raises 0 to 1e-10: good models get an AUROC below 0.5."""

    def without_dropout(values):
        noise = np.random.default_rng(1).normal(0, 0.1, values.shape)
        return np.maximum(0.8 * values + noise, 0)

    pred, real, theirs, _ = scored_by_both(papalexi_population, without_dropout)
    assert (pred.fdr < 1e-45).any()
    ours = metrics.roc_auc(pred, real)
    assert np.nanmax(ours - theirs["roc_auc"].to_numpy()) > 0.05
    one = metrics.Genes(fdr=np.array([[0.0, 1e-300, 0.5, 0.9]]), log_fc=np.ones((1, 4)))
    truth = metrics.Genes(fdr=np.array([[0.01, 0.9, 0.9, 0.9]]), log_fc=np.ones((1, 4)))
    assert metrics.roc_auc(one, truth) == pytest.approx([1])
    assert metrics.average_precision(one, truth) == pytest.approx([1])


def test_overlap_takes_the_top_of_the_significant_genes_of_each_side(both_sides):
    """With cell-eval's fold changes in their place the formulas are cell-eval's; with the paper's own they are not."""
    pred, real, theirs, cell_eval_log_fc = both_sides
    columns = {"overlap_at_N": metrics.de_overlap, "precision_at_N": metrics.de_precision}
    expm1 = [replace(genes, log_fc=log_fc) for genes, log_fc in zip((pred, real), cell_eval_log_fc, strict=True)]
    for name, function in columns.items():
        known = ~np.isnan(function(pred, real))
        np.testing.assert_allclose(function(*expm1)[known], theirs[name].to_numpy()[known], atol=1e-6, err_msg=name)
        assert (theirs[name].to_numpy()[~known] == 0).all(), "cell-eval says 0 where nothing is significant"


def test_gene_set_metrics_by_hand():
    real = metrics.Genes(
        fdr=np.array([[0.01, 0.01, 0.01, 0.5], [0.5, 0.5, 0.5, 0.5]]),
        log_fc=np.array([[3.0, -2.0, 1.0, 9.0], [1.0, 1.0, 1.0, 1.0]]),
    )
    pred = metrics.Genes(
        fdr=np.array([[0.01, 0.01, 0.5, 0.01], [0.01, 0.5, 0.5, 0.5]]),
        log_fc=np.array([[1.0, 2.0, 0.5, 3.0], [1.0, 1.0, 1.0, 1.0]]),
    )
    np.testing.assert_allclose(metrics.de_overlap(pred, real), [2 / 3, np.nan])
    np.testing.assert_allclose(metrics.de_precision(pred, real), [2 / 3, 0])
    np.testing.assert_allclose(metrics.direction_agreement(pred, real), [1 / 2, np.nan])
    np.testing.assert_allclose(metrics.fold_change_spearman(pred, real), [-0.5, np.nan])


def test_paper_errors_are_norms():
    pred, real = np.array([[1.0, 2, 3]]), np.array([[0.0, 0, 1]])
    assert metrics.error_l1(pred, real) == pytest.approx([5])
    assert metrics.error_l2(pred, real) == pytest.approx([9])
    assert metrics.error_l2(pred, real) == pytest.approx(3 * metrics.mse(pred, real))


def test_log_fold_change():
    found = metrics.log_fold_change(np.array([[2.0, 0.0]]), np.array([1.0, 0.0]), epsilon=1e-6)
    assert found == pytest.approx(np.array([[1.0, 0.0]]), abs=1e-5)


def test_one_control_mean_on_both_sides_correlates_what_has_no_effect():
    """Few controls, no effect, a prediction that is not made of the controls: 0.5 shared, 0 with disjoint halves."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=2000)
    controls = truth + rng.normal(size=(20, 2000))
    pred, real = (truth + rng.normal(scale=0.05**0.5, size=(1, 2000)) for _ in range(2))
    shared = metrics.pearson_delta(pred - controls.mean(axis=0), real - controls.mean(axis=0))
    halves = np.stack([controls[:10].mean(axis=0), controls[10:].mean(axis=0)])
    split = metrics.pearson_delta_split(pred, real, halves)
    assert shared[0] == pytest.approx(0.5, abs=0.05) and split[0] == pytest.approx(0, abs=0.05)
    both = [metrics.pearson_delta(pred - a, real - b)[0] for a, b in (halves, halves[::-1])]
    assert split[0] == pytest.approx(np.mean(both))
