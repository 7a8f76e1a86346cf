# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Covariates end to end, on cells whose answer is known: what a perturbation does depends on the time."""

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
TRAINING = dict(size="tiny", max_steps=150, val_interval=150, log_interval=50, blind_share=0, set_size=16)
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
    print(weight, told, untold)
    assert told < most
    # Half of each effect is the mean over times, so that half of the squared error is left at best.
    assert untold > 0.45
