# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Covariates end to end, on cells whose answer is known: what a perturbation does depends on the time."""

import json
import shutil
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from bionemo.scale import api


pytestmark = pytest.mark.slow

CELL_TYPES, PERTURBATIONS, TIMES, MODALITIES = ("A", "B", "C", "D"), ("P", "Q"), ("6h", "24h"), ("fresh", "fixed")
GENES, CELLS = 40, 30
KEYS = api.ObsKeys(covariate="time,modality")
# Genes that a perturbation raises at each time; nothing that it does is common to both.
RAISED = {("P", "6h"): range(5), ("P", "24h"): range(5, 10), ("Q", "6h"): range(10, 15), ("Q", "24h"): range(15, 20)}
TRAINING = dict(size="tiny", max_steps=600, val_interval=600, log_interval=200, blind_share=0, set_size=16, lr=2e-3)
SPLIT = '[training]\ntimes = "train"\n\n[zeroshot]\n"times.D" = "test"\n'


def _rates(cell_type: str, perturbation: str, time: str) -> np.ndarray:
    rates = np.random.default_rng(CELL_TYPES.index(cell_type)).gamma(2.0, 4.0, size=GENES)
    rates[list(RAISED.get((perturbation, time), ()))] *= 6
    return rates


def _cells() -> anndata.AnnData:
    rng = np.random.default_rng(0)
    labels = [
        (cell_type, perturbation, time, modality, f"b{number % 2}")
        for cell_type in CELL_TYPES
        for perturbation in ("control", *PERTURBATIONS)
        for time in TIMES
        for modality in MODALITIES
        for number in range(CELLS)
    ]
    counts = np.stack([rng.poisson(_rates(*label[:3])) for label in labels])
    columns = ["cell_type", "perturbation", "time", "modality", "batch"]
    obs = pd.DataFrame(labels, columns=columns, index=[f"c{number}" for number in range(len(labels))])
    return anndata.AnnData(
        csr_matrix(counts.astype(np.float32)), obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(GENES)])
    )


@pytest.fixture(scope="module")
def cells() -> anndata.AnnData:
    return _cells()


@pytest.fixture(scope="module")
def runs(cells: anndata.AnnData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs on the same cells: told of the covariates, and not told."""
    folder = tmp_path_factory.mktemp("covariates")
    (folder / "split.toml").write_text(SPLIT)
    for name, keys in (("told", KEYS), ("untold", api.ObsKeys())):
        store = folder / f"{name}-store"
        api.prepare(cells, store, split=folder / "split.toml", keys=keys, datasets=["times"], num_hvg=0)
        api.train(store, folder / name, **TRAINING)
    return folder


def _change(run: Path, cells: anndata.AnnData, **options: Any) -> dict[tuple[str, str], np.ndarray]:
    """Predicted mean change of the held-out cell type under each perturbation, at each time."""
    controls = cells[(cells.obs["perturbation"] == "control") & (cells.obs["cell_type"] == "D")].copy()
    predicted = api.Predictor.from_pretrained(run, **options).predict(controls, PERTURBATIONS)
    found = {}
    for name in PERTURBATIONS:
        for time in TIMES:
            chosen = (predicted.obs["perturbation"] == name) & (predicted.obs["time"] == time)
            found[name, time] = predicted.X[chosen].mean(axis=0) - _log(controls[controls.obs["time"] == time])
    return found


def _log(cells: anndata.AnnData) -> np.ndarray:
    counts = cells.X.toarray()
    return np.log1p(counts * 1e4 / counts.sum(axis=1, keepdims=True)).mean(axis=0)


def _errors(changes: dict[tuple[str, str], np.ndarray], cells: anndata.AnnData) -> float:
    """Squared error of predicted changes over that of no change."""
    error = size = 0.0
    for (name, time), change in changes.items():
        here = cells[(cells.obs["cell_type"] == "D") & (cells.obs["time"] == time)]
        truth = _log(here[here.obs["perturbation"] == name]) - _log(here[here.obs["perturbation"] == "control"])
        error += float(((change - truth) ** 2).sum())
        size += float((truth**2).sum())
    return error / size


@pytest.mark.parametrize(("weight", "most"), [(1.0, 0.35), (0.0, 0.1)], ids=["network", "estimate"])
def test_what_depends_on_the_time_is_predicted_by_those_that_know_it(runs, cells, weight, most):
    told, untold = (_errors(_change(runs / name, cells, network_weight=weight), cells) for name in ("told", "untold"))
    assert told < most
    # Half of each effect is the mean over times, so that half of the squared error is left at best.
    assert untold > 0.45


def test_a_stated_time_is_predicted_for_the_same_controls(runs, cells):
    predictor = api.Predictor.from_pretrained(runs / "told", network_weight=0.5)
    chosen = (cells.obs["perturbation"] == "control") & (cells.obs["cell_type"] == "D")
    controls = cells[chosen & (cells.obs["time"] == "6h")].copy()
    own = predictor.predict(controls, ["P"])
    stated = predictor.predict(controls, ["P"], covariate={"time": "24h"})
    assert set(stated.obs["time"]) == {"24h"} and set(own.obs["time"]) == {"6h"}
    raised = [predicted.X.mean(axis=0) - _log(controls) for predicted in (own, stated)]
    for change, time, other in ((raised[0], "6h", "24h"), (raised[1], "24h", "6h")):
        assert change[list(RAISED["P", time])].mean() > 2 * change[list(RAISED["P", other])].mean()
    # The column need not be there, where its value is stated.
    without = controls.copy()
    del without.obs["time"]
    again = predictor.predict(without, ["P"], covariate={"time": "24h"})
    assert set(again.obs["time"]) == {"24h"}


def test_unknown_values_are_refused_or_predicted_as_unknown(runs, cells):
    predictor = api.Predictor.from_pretrained(runs / "told", network_weight=1.0)
    controls = cells[(cells.obs["perturbation"] == "control") & (cells.obs["cell_type"] == "A")][:40].copy()
    controls.obs["time"] = "48h"
    with pytest.raises(api.InputError, match="unknown time '48h'"):
        predictor.predict(controls, ["P"])
    found = predictor.predict(controls, ["P"], allow_unknown=True)
    assert set(found.obs["time"]) == {"48h"} and np.isfinite(found.X).all()
    with pytest.raises(api.InputError, match="no covariate 'hour'"):
        predictor.predict(controls, ["P"], covariate={"hour": "6h"})
    del controls.obs["modality"]
    with pytest.raises(api.InputError, match=r"obs has no column 'modality'"):
        predictor.predict(controls, ["P"], covariate={"time": "6h"})


def test_commands_score_each_time_and_an_export_predicts_the_same(runs, commands):
    """Infer, evaluate with every baseline, export, and the same cells of the export."""
    run, store, out = runs / "told", runs / "told-store", runs / "out"
    shutil.copytree(run, out / "run")
    (out / "run" / "network_weight.json").write_text(json.dumps({"network_weight": 0.5, "interval_scale": 1.2}))
    commands.run("infer", "--checkpoint", out / "run", "--store", store, "--out", out / "pred", "--with-controls")
    predicted = anndata.read_h5ad(out / "pred" / "adata_pred.h5ad")
    assert {"time", "modality"} <= set(predicted.obs)
    contexts = {f"D:{time}:{modality}" for time in TIMES for modality in MODALITIES}
    assert set(predicted.uns["conditions"]["cell_type"]) == contexts
    files = ("--pred", out / "pred" / "adata_pred.h5ad", "--real", out / "pred" / "adata_real.h5ad")
    commands.run("evaluate", *files, "--name", "S", "--store", store, "--out", out / "scores")
    results = pd.read_csv(out / "scores" / "results.csv")
    assert set(results["context"]) == contexts
    error = results.groupby("model")["mse"].mean()
    # Of the simple methods only the mixed model knows what the times of other cell types say.
    assert error["mixed_model"] < 0.3 * error["additive"] and error["S"] < error["additive"]
    commands.run("export", out / "run", "--out", out / "export")
    assert "covariate time" in (out / "export" / "README.md").read_text()
    commands.run("infer", "--checkpoint", out / "export", "--store", store, "--out", out / "again", "--with-controls")
    again = anndata.read_h5ad(out / "again" / "adata_pred.h5ad")
    np.testing.assert_array_equal(again.X, predicted.X)
    assert again.obs.equals(predicted.obs)


def test_a_run_that_is_continued_has_the_same_covariates(runs, commands, tmp_path):
    options = ("--size", "tiny", "--val-interval", 4, "--set-size", 16, "--blind-share", 0)
    for steps in (4, 8):
        commands.run(
            "train", "--store", runs / "told-store", "--out", tmp_path / "run", *options, "--max-steps", steps
        )
    assert "covariate_sizes: '[2, 2]'" in (tmp_path / "run" / "config.yaml").read_text()
    started = ("--from-checkpoint", tmp_path / "run", "--out", tmp_path / "second", "--max-steps", 4)
    screen = commands.run("train", "--store", runs / "untold-store", *started, *options[2:])
    assert "starts from" in screen
