# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""cell-eval2 on real counts: what it must say of perfect cells and of controls, and its scale."""

import importlib.util
from pathlib import Path

import anndata as ad
import numpy as np
import pytest

from bionemo.scale.eval.cell_eval import challenge, challenge_worker
from bionemo.scale.eval.cell_eval.challenge import CHALLENGE, ONE, PER_PERTURBATION, PREFIX, CellEval2, own_environment


needs_cell_eval2 = pytest.mark.skipif(own_environment() is None, reason="the pinned cell-eval2 is not installed here")


@pytest.fixture(scope="module")
def cells(pytestconfig) -> ad.AnnData:
    """Counts of 300 control cells and of three knock-outs, two of which change much."""
    adata = ad.read_h5ad(pytestconfig.rootpath / "examples/data/papalexi2021_thp1_eccite.h5ad")
    labels, rng = adata.obs["perturbation"].to_numpy(), np.random.default_rng(0)
    sizes = {"control": 300, "STAT1": 120, "IFNGR2": 120, "SMAD4": 60}
    chosen = [rng.choice(np.flatnonzero(labels == name), size, replace=False) for name, size in sizes.items()]
    adata = adata[np.sort(np.concatenate(chosen))]
    return ad.AnnData(X=adata.X.astype(np.float32), obs=adata.obs[["perturbation"]].astype(str), var=adata.var[[]])


def as_controls(cells: ad.AnnData) -> ad.AnnData:
    """Return the cells with control cells in place of all perturbed ones."""
    pool = np.flatnonzero(cells.obs["perturbation"] == "control")
    rows = np.where(cells.obs["perturbation"] == "control", np.arange(cells.n_obs), np.resize(pool, cells.n_obs))
    return ad.AnnData(X=cells.X[rows], obs=cells.obs.copy(), var=cells.var.copy())


@needs_cell_eval2
@pytest.mark.slow
def test_perfect_cells_and_controls(cells):
    with CellEval2(own_environment()) as evaluator:
        given = {"real": cells, "real_key": "real T", "control": "control"}
        perfect = evaluator.score(pred=cells, scaled=True, **given)
        nothing = evaluator.score(pred=as_controls(cells), scaled=False, **given)
    assert perfect.rows["perturbation"].to_list() == ["IFNGR2", "SMAD4", "STAT1"]
    assert perfect.rows.columns[1:] == [PREFIX + name for name in PER_PERTURBATION]
    for name, best in (("pds_cosine", 1.0), ("de_wilcoxon_sig_jaccard", 1.0), ("de_wilcoxon_lfc_nmae", 0.0)):
        assert perfect.values[name] == pytest.approx(best), name
    assert nothing.values["pds_cosine"] < 1 and nothing.values["de_wilcoxon_sig_jaccard"] < 1
    assert set(perfect.scaled) == set(CHALLENGE) and nothing.scaled == {}
    scales = evaluator.scales()["real T"]
    for name, scaled in perfect.scaled.items():
        ends = scales[name]
        assert (scaled is None) or (ends.why == "" and ends.mean_response is not None), name
    assert perfect.scaled["pds_cosine"] >= 1, "no replicate tells perturbations apart better than the cells themselves"


@needs_cell_eval2
@pytest.mark.slow
def test_one_perturbation_has_no_mean_response(cells):
    one = cells[cells.obs["perturbation"].isin(["control", "SMAD4"])].copy()
    with CellEval2(own_environment()) as evaluator:
        found = evaluator.score(pred=one, real=one, real_key="real T", control="control", scaled=True)
    assert set(found.scaled.values()) == {None}
    assert {end.why for end in evaluator.scales()["real T"].values()} == {ONE}


@needs_cell_eval2
@pytest.mark.slow
def test_cells_without_an_effect_have_no_ratio(cells):
    """A sum of effects below zero stops cell-eval2; the other metrics have values all the same."""
    labels = cells.obs["perturbation"].to_numpy(object)
    controls = cells[labels == "control"].copy()
    rows = np.arange(controls.n_obs)
    controls.obs["perturbation"] = np.where(rows < 200, "control", np.where(rows % 2, "A", "B"))
    with CellEval2(own_environment()) as evaluator:
        found = evaluator.score(pred=controls, real=controls, real_key="real T", control="control", scaled=False)
    assert found.values["expr_mse_unbiased_capped_norm"] is None or found.values["expr_distance_unbiased"] > 0
    assert found.values["pds_cosine"] == 1 and found.values["de_wilcoxon_lfc_nmae"] is None


@needs_cell_eval2
def test_the_scale_runs_from_mean_response_to_replicate():
    ends = {
        "pds_cosine": {"mean_response": 0.5, "replicate": 0.9},
        "de_wilcoxon_lfc_nmae": {"mean_response": 1.0, "replicate": 0.6},
        "de_wilcoxon_sig_jaccard": {"mean_response": 0.4, "replicate": 0.4},
    }
    values = {"pds_cosine": 0.7, "de_wilcoxon_lfc_nmae": 0.9, "de_wilcoxon_sig_jaccard": 0.3}
    scaled = challenge_worker._scaled(values, ends)
    assert scaled == {
        "pds_cosine": pytest.approx(0.5),
        "de_wilcoxon_lfc_nmae": pytest.approx(0.25),
        "de_wilcoxon_sig_jaccard": None,
    }


def test_the_worker_needs_nothing_of_this_package():
    text = Path(challenge_worker.__file__).read_text()
    assert "bionemo" not in text.partition("import contextlib")[2]


def test_another_version_is_not_taken_for_the_pinned_one(monkeypatch):
    monkeypatch.setattr(challenge.importlib.metadata, "version", lambda name: "0.1")
    assert own_environment() is None
    assert importlib.util.find_spec("scanpy") is not None
