# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Contexts, models and baselines scored together on real cells."""

import weakref
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from bionemo.scale.eval.cell_eval.adapter import DISCRIMINATION, MetricError, metric_columns
from bionemo.scale.eval.metrics.catalogue import extra_metrics
from bionemo.scale.eval.scores import discrimination, scoring, sides
from bionemo.scale.eval.scores.scoring import baseline_targets, context_matches, score_contexts
from bionemo.scale.eval.scores.task import KEYS, Model, Task


def split(population):
    is_control = population.perturbation == "control"
    return population.select(~is_control), population.select(is_control)


def shrunk(cells, factor=0.7):
    return replace(cells, expression=(cells.dense() * factor).astype(np.float32))


@pytest.fixture
def task(kang_population) -> Task:
    cells, controls = split(kang_population)
    model = Model(name="model", cells=shrunk(cells), controls=controls)
    return Task(cells=cells, controls=controls, control="control", models=(model,), baselines=("control",))


def test_rows_and_columns(task):
    heard = []
    scored = list(score_contexts(task, heard.append))
    assert [item.context for item in scored] == ["CD8 T", "NK"]
    assert heard == ["CD8 T / model", "CD8 T / control", "NK / model", "NK / control"]
    frame = pl.concat(item.scores for item in scored)
    assert frame.columns == [*KEYS, *metric_columns(), *extra_metrics()]
    assert frame["model"].to_list() == ["model", "control"] * 2
    assert frame["cells_real"].to_list() == [79, 79, 55, 55]
    assert frame["cells_real"].to_list() == frame["cells_pred"].to_list()


def test_genes_of_baselines_are_let_go(task, monkeypatch):
    changes, score = [], scoring.score_prediction

    def watched(task, prediction):
        found = score(task, prediction)
        changes.append(weakref.ref(found.changes))
        return found

    alive = []
    monkeypatch.setattr(scoring, "score_prediction", watched)
    contexts = score_contexts(task, lambda _: alive.append(changes[-1]() is not None))
    assert len(next(contexts).shifts) == 1
    assert alive == [True, False]


def test_a_rank_among_one_perturbation_is_undefined(task):
    scored = next(iter(score_contexts(task)))
    for name in DISCRIMINATION:
        assert scored.scores[name].null_count() == 2
        assert scored.first_results[name].to_list() == [1], "cell-eval's own table stays as it is"


def test_ranks_among_several_are_kept(papalexi_population):
    cells, controls = split(papalexi_population)
    model = Model(name="model", cells=cells, controls=controls)
    scored = next(iter(score_contexts(Task(cells=cells, controls=controls, control="control", models=(model,)))))
    assert scored.scores["discrimination_score_l1"].to_list() == [1] * 5
    assert scored.scores["r2"].to_list() == pytest.approx([1] * 5)
    assert scored.scores["sd_ratio"].to_list() == pytest.approx([1] * 5)
    assert scored.fallbacks == {"matching": 0, "model": 0}


def test_no_predicted_change_has_no_correlation(task):
    controls = task.controls
    cells = task.cells.select(np.arange(len(controls)))
    cells = replace(cells, expression=controls.expression, cell_type=controls.cell_type)
    model = Model(name="null", cells=cells, controls=controls)
    scored = next(iter(score_contexts(replace(task, models=(model,), baselines=()))))
    assert scored.scores["pearson_delta"].to_list() == [None]
    assert scored.scores["mse"][0] > 0


def test_coverage_is_the_share_of_genes_whose_observed_mean_is_in_the_interval(task):
    """The interval is of the prediction's sd and of the observed mean's own sampling error."""
    truth, model = task.cells.select(task.cells.cell_type == "NK"), task.models[0]
    sd = np.full(len(truth.genes), 0.02)
    sure = replace(model, sd={("NK", "IFN-beta"): sd, ("NK", "other"): sd})
    scored = list(score_contexts(replace(task, models=(sure,))))
    values = truth.dense().astype(np.float64)
    error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    inside = np.abs(0.3 * values.mean(axis=0)) <= 1.645 * np.sqrt(sd**2 + error**2)
    expected = inside.mean()
    assert 0.1 < expected < 0.95
    assert [item.scores["coverage"].to_list() for item in scored] == [[None, None], [pytest.approx(expected), None]]
    # Of the genes that enough of the controls express, whatever the observed cells do.
    expressed = (task.controls.select(task.controls.cell_type == "NK").dense() > 0).mean(axis=0) >= 0.05
    of_expressed = inside[expressed].mean()
    assert 0.05 < of_expressed < expected - 0.05, "genes that no cell has are always inside"
    assert scored[1].scores["coverage_expressed"].to_list() == [pytest.approx(of_expressed), None]
    shift = scored[1].shifts[0]
    np.testing.assert_array_equal(shift.sd_pred, sd)
    np.testing.assert_allclose(shift.error_real, error, rtol=1e-5)
    assert scored[0].shifts[0].sd_pred is None


def test_no_nan_is_left(task):
    for scored in score_contexts(task):
        for name in (*metric_columns(), *extra_metrics()):
            assert not scored.scores[name].is_nan().any(), name


def test_controls_of_the_prediction_change_its_scores_alone(task):
    own = Model(name="own", cells=task.models[0].cells, controls=shrunk(task.controls))
    scored = next(iter(score_contexts(replace(task, models=(task.models[0], own), baselines=()))))
    same, other = scored.scores["pearson_delta"]
    assert other > same, "cells and controls shrunk alike keep the direction of change"
    assert scored.scores["mse"][0] == pytest.approx(scored.scores["mse"][1])


def test_real_differential_expression_is_computed_once(task, monkeypatch):
    calls = []

    def counted(**kwargs):
        calls.append(len(kwargs["cells"]))
        return original(**kwargs)

    original = sides.gene_tests
    monkeypatch.setattr(sides, "gene_tests", counted)
    list(score_contexts(task))
    assert len(calls) == 2 * (1 + 2), "per context: real, model, control"


def test_seed_and_labels_decide_the_draws(task):
    def run(seed, contexts=("CD8 T", "NK")):
        keep = np.isin(task.cells.cell_type, contexts)
        model = replace(task.models[0], cells=task.models[0].cells.select(keep))
        some = replace(task, cells=task.cells.select(keep), models=(model,), seed=seed)
        return list(score_contexts(some))[-1].scores

    assert run(0).equals(run(0))
    assert run(0).equals(run(0, contexts=("NK",))), "another cell type in the file changes nothing"
    assert not run(0).equals(run(1))


def test_baseline_control_has_the_spread_of_real_cells_and_no_effect(task):
    scores = pl.concat(item.scores for item in score_contexts(task)).filter(pl.col("model") == "control")
    assert (scores["sd_ratio"] - 1).abs().max() < 0.35
    assert scores["pearson_delta"].abs().max() < 0.35


def test_ceiling_scores_one_half_of_the_real_cells_against_the_other(papalexi_population):
    cells, controls = split(papalexi_population)
    model = Model(name="model", cells=shrunk(cells), controls=controls)
    few = np.flatnonzero(cells.perturbation == "SPI1")[3:]
    keep = np.setdiff1d(np.arange(len(cells)), few)
    cells, model = cells.select(keep), replace(model, cells=model.cells.select(keep))
    task = Task(cells=cells, controls=controls, control="control", models=(model,), ceiling=True)
    scores = next(iter(score_contexts(task))).scores.filter(pl.col("model") == "ceiling")
    assert scores["perturbation"].to_list() == ["ATF2", "IFNGR2", "JAK2", "STAT1"], "three cells are too few to cut"
    counts = [int((cells.perturbation == name).sum()) for name in scores["perturbation"]]
    assert scores["cells_pred"].to_list() == [-(-count // 2) for count in counts]
    assert scores["cells_real"].to_list() == [count // 2 for count in counts]
    value = dict(zip(scores["perturbation"], scores["pearson_delta"], strict=True))
    assert value["STAT1"] > 0.5
    assert 0 < scores["edistance"].abs().max() < 0.5


def test_a_failure_names_model_and_context(task, monkeypatch):
    def fail(**kwargs):
        raise MetricError("cell-eval failed")

    monkeypatch.setattr(discrimination, "run_cell_eval", fail)
    with pytest.raises(MetricError, match=r"model 'model', context 'CD8 T'"):
        list(score_contexts(task))


def test_chance_and_split_controls_are_those_of_the_cells(papalexi_population):
    cells, controls = split(papalexi_population)
    model = Model(name="model", cells=shrunk(cells), controls=controls)
    scores = next(
        iter(score_contexts(Task(cells=cells, controls=controls, control="control", models=(model,))))
    ).scores
    smaller = scores.select(pl.min_horizontal("de_nsig_counts_real", "de_nsig_counts_pred") / len(cells.genes))
    assert scores["de_chance"].to_list() == smaller.to_series().to_list() and scores["de_chance"].max() > 0
    assert (scores["pearson_delta_split"] < scores["pearson_delta"]).all()
    assert scores["pearson_delta_split"].min() > -1


def test_borrowed_controls_keep_the_covariates_that_they_were_measured_at(task):
    """Controls of 0 h that stand in at 24 h say nothing of untreated cells at 24 h."""
    borrowed = np.where(np.arange(len(task.controls)) % 2, "NK:0h", "NK:24h").astype(object)
    controls = replace(
        task.controls, cell_type=np.full(len(borrowed), "NK:24h", dtype=object), measured_context=borrowed
    )
    timed = replace(task, covariates={"NK:24h": ("24h",), "NK:0h": ("0h",)})
    matches = context_matches(timed, "NK:24h", controls, controls=controls)
    found = baseline_targets(timed, "NK:24h", controls, controls=controls.dense(), matches=matches).control_groups
    expected = sorted(set(zip(borrowed.tolist(), controls.batch.tolist(), strict=True)))
    assert sorted((group.context, group.batch) for group in found.groups) == expected
    assert {(group.cell_type, group.covariates) for group in found.groups} == {("NK", ("0h",)), ("NK", ("24h",))}
    for group, mean, count in zip(found.groups, found.means, found.counts.tolist(), strict=True):
        rows = (borrowed == group.context) & (controls.batch == group.batch)
        assert count == rows.sum()
        np.testing.assert_allclose(mean, controls.dense()[rows].mean(axis=0), rtol=1e-5)
