# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""cell-eval behind the adapter: complete, quiet, loud about errors, no files."""

import logging
import os

import numpy as np
import pytest

from bionemo.scale.eval.cell_eval.adapter import SKIPPED, MetricError, metric_columns, run_cell_eval, versions
from bionemo.scale.eval.cells.populations import to_anndata
from bionemo.scale.eval.metrics.catalogue import PAPER_NAMES
from bionemo.scale.eval.metrics.differential import differential_expression


def sides(population, *, rename=lambda name: name, spoil=0.0):
    labels = np.array([name if name == "control" else rename(name) for name in population.perturbation], dtype=object)
    real = population.dense()
    pred = real.copy()
    is_perturbed = labels != "control"
    noise = np.random.default_rng(0).normal(0, 1, real.shape).astype(np.float32)
    pred[is_perturbed] = np.maximum(pred + spoil * noise, 0)[is_perturbed]
    return tuple(to_anndata(expression=x, perturbation=labels, genes=population.genes) for x in (pred, real))


def run(pred, real, engine="fast"):
    de_pred, de_real = (differential_expression(side, control="control", engine=engine) for side in (pred, real))
    return run_cell_eval(pred=pred, real=real, de_pred=de_pred, de_real=de_real, control="control")


def test_a_perfect_prediction(papalexi_population):
    results = run(*sides(papalexi_population))
    assert results["perturbation"].to_list() == ["ATF2", "IFNGR2", "JAK2", "SPI1", "STAT1"]
    assert results.columns == ["perturbation", *metric_columns()]
    for name in ("pearson_delta", "discrimination_score_l1", "discrimination_score_cosine"):
        assert results[name].to_list() == pytest.approx([1] * 5), name
    for name in ("mse", "mae", "mse_delta", "mae_delta"):
        assert results[name].to_list() == [0] * 5, name
    assert results["de_nsig_counts_real"].to_list() == results["de_nsig_counts_pred"].to_list()


def test_columns_are_the_full_profile_but_two():
    columns = metric_columns()
    expected = {"overlap_at_N", "precision_at_N", "de_direction_match", "de_spearman_lfc_sig", "de_spearman_sig"}
    expected |= {"de_sig_genes_recall", "roc_auc", "pr_auc", "de_nsig_counts_real", "de_nsig_counts_pred"}
    assert expected <= set(columns)
    assert not set(SKIPPED) & set(columns)
    assert set(PAPER_NAMES.values()) - {"r2"} <= set(columns)


def test_both_engines_give_the_same_scores(papalexi_population):
    pair = sides(papalexi_population, spoil=0.4)
    fast, slow = run(*pair), run(*pair, engine="pdex")
    for name in metric_columns():
        np.testing.assert_allclose(
            fast[name].to_numpy(), slow[name].to_numpy(), rtol=1e-4, atol=1e-6, equal_nan=True, err_msg=name
        )


def test_labels_with_plus_and_spaces(papalexi_population):
    results = run(*sides(papalexi_population, rename=lambda name: f"{name}+JAK2 (1 uM)/x"))
    assert results["perturbation"][0] == "ATF2+JAK2 (1 uM)/x"
    assert results["pearson_delta"].null_count() == 0


def test_nothing_significant_gives_nulls_and_not_missing_columns(papalexi_population):
    cells = papalexi_population.select(np.flatnonzero(papalexi_population.perturbation == "control")[:60])
    pair = sides(cells)
    for side in pair:
        side.obs["perturbation"] = np.array(["control", "a", "b"] * 20, dtype=object)
    results = run(*pair)
    assert results["de_direction_match"].null_count() == 2
    assert results["overlap_at_N"].to_list() == [0, 0]


def test_a_failing_metric_is_not_swallowed(papalexi_population, monkeypatch):
    from cell_eval.metrics import metrics_registry

    def broken(data, **kwargs):
        raise ZeroDivisionError("no gene left")

    monkeypatch.setattr(metrics_registry.metrics["mae"], "func", broken)
    with pytest.raises(MetricError, match="ZeroDivisionError: no gene left"):
        run(*sides(papalexi_population))


def test_silent_and_traceless(papalexi_population, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    root = logging.getLogger()
    before = (list(root.handlers), root.level)
    run(*sides(papalexi_population), engine="pdex")
    assert (list(root.handlers), root.level) == before
    assert capfd.readouterr() == ("", "")
    assert os.listdir(tmp_path) == []


def test_versions_name_what_decides_the_numbers():
    assert versions()["cell-eval"] == "0.6.6"
    assert versions()["pdex"].startswith("0.1.")
