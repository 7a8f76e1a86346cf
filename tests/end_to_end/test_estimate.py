# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""A run measures how much its network is worth, and predicts by it."""

import json
import shutil
from pathlib import Path

import anndata as ad
import numpy as np
import pytest

from bionemo.scale import api
from bionemo.scale.data.store.blind import Fold
from bionemo.scale.data.store.reader import Store


pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"
SPLIT = '[training]\nkang = "train"\n\n[fewshot."kang.NK"]\ntest = ["IFN-beta"]\n'


@pytest.fixture(scope="module")
def folder(commands, tmp_path_factory) -> Path:
    """A store without validation groups, and a run of 100 steps that measured its network with a blind one."""
    folder = tmp_path_factory.mktemp("estimate")
    (folder / "split.toml").write_text(SPLIT)
    data, options = (
        EXAMPLES / "data" / "kang2018_pbmc_ifnb.h5ad",
        ("--library-size-key", "n_counts_full", "--hvg", 200),
    )
    commands.run(
        "prepare", data, "--out", folder / "store", "--dataset", "kang", "--split", folder / "split.toml", *options
    )
    size = ("--size", "tiny", "--max-steps", 100, "--val-interval", 100, "--blind-share", 0.2)
    commands.run("train", "--store", folder / "store", "--out", folder / "run", *size)
    return folder


def means_of(path: Path) -> np.ndarray:
    cells = ad.read_h5ad(path)
    return np.asarray(cells[cells.obs["perturbation"] == "IFN-beta"].X).mean(axis=0)


def test_the_network_is_measured_on_what_it_has_not_seen(folder):
    found = json.loads((folder / "run" / "network_weight.json").read_text())
    # Seven cell types are trained with IFN-beta; every third is held out of the blind network.
    assert found["num_pairs"] == 2
    assert 0 <= found["network_weight"] <= 1
    assert found["error_of_both"] <= min(found["error_of_estimate"], found["error_of_network"]) + 1e-9
    assert not (folder / "run" / "weighing").exists()


def test_folds_measure_the_network_on_every_training_context_and_continue(folder, commands, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(folder / "run", run)
    (run / "network_weight.json").unlink()
    # One part was measured before the run was stopped, and one by a version that named parts by their number alone.
    errors = {"estimate": 1.0, "cross": 0.1, "difference": 1.0, "squared_scales": [2.0] * 21}
    kept = {"cell_type": "kept", "perturbation": "IFN-beta", **errors}
    (run / "weighing").mkdir()
    with Store.open(folder / "store") as store:
        name = store.hold_out(Fold(0, 2))
    (run / "weighing" / f"0-of-2-{name}.json").write_text(json.dumps([kept]))
    (run / "weighing" / "1-of-2.json").write_text(json.dumps([kept]))
    size = ("--size", "tiny", "--max-steps", 100, "--val-interval", 100, "--blind-share", 0.05)
    screen = commands.run("train", "--store", folder / "store", "--out", run, *size, "--folds", 2)
    assert "the run has its 100 steps already" in screen
    found = json.loads((run / "network_weight.json").read_text())
    # Seven cell types: four in part 0, which is the one kept, and three in part 1.
    assert found["num_pairs"] == len(found["pairs"]) == 1 + 3
    assert found["pairs"][0] == kept
    assert found["standard_error"] > 0
    assert not (run / "weighing").exists()


def test_a_network_is_measured_on_whole_genes_as_the_run_reads_them(commands, write_pairs, tmp_path):
    """The store was not told of the separator: by whole labels other pairs would be left out, or none."""
    write_pairs(tmp_path)
    store = ("--store", tmp_path / "store", "--out", tmp_path / "run")
    commands.run(
        *("prepare", tmp_path / "screen.h5ad", "--out", tmp_path / "store", "--dataset", "screen"),
        *("--split", tmp_path / "split.toml"),
    )
    size = ("--size", "tiny", "--max-steps", 100, "--val-interval", 100, "--blind-share", 0.05, "--folds", 2)
    commands.run("train", *store, *size, "--set-size", 8, "--set", "combination_separator=+")
    found = json.loads((tmp_path / "run" / "network_weight.json").read_text())
    # Part 0 is of a and c, part 1 of b and d.
    assert [pair["perturbation"] for pair in found["pairs"]] == ["a", "a+b", "c", "a+b", "b", "d"]


def test_predicted_means_lie_between_estimate_and_network(folder, commands):
    for name, options in (("both", ()), ("estimate", ("--network-weight", 0)), ("network", ("--network-weight", 1))):
        what = ("--checkpoint", folder / "run", "--store", folder / "store", "--split", "test")
        commands.run("infer", *what, "--out", folder / name, *options)
    both, estimate, network = (means_of(folder / name / "adata_pred.h5ad") for name in ("both", "estimate", "network"))
    weight = json.loads((folder / "run" / "network_weight.json").read_text())["network_weight"]
    # Each batch's mean is exact to 0.001; where a mean would be below zero it is zero.
    away = np.abs(both - estimate - weight * (network - estimate))
    assert np.median(away) < 2e-3 and away.max() < 0.1
    assert np.abs(network - estimate).max() > 0.05


def test_a_pseudobulk_says_how_sure_it_is(folder, commands):
    what = ("--checkpoint", folder / "run", "--store", folder / "store", "--all-perturbations", "--cell-types", "NK")
    commands.run("infer", *what, "--out", folder / "screen.h5ad", "--output", "pseudobulk", "--network-weight", 0)
    commands.run("infer", *what[:4], "--split", "test", "--out", folder / "truth")
    screen, real = ad.read_h5ad(folder / "screen.h5ad"), ad.read_h5ad(folder / "truth" / "adata_real.h5ad")
    sd = np.asarray(screen.layers["sd"])
    assert sd.shape == screen.shape and (sd > 0).all()
    cells = np.asarray(real[real.obs["perturbation"] == "IFN-beta"].X.todense())
    sampling = cells.std(axis=0) / np.sqrt(len(cells))
    weights = screen.obs["num_cells"].to_numpy(float)
    away = np.abs(np.average(screen.X, axis=0, weights=weights) - cells.mean(axis=0))
    # A nominal 90 % interval, of a cell type that no network and no estimate has seen perturbed.
    inside = away < 1.645 * np.sqrt(sd.mean(axis=0) ** 2 + sampling**2)
    assert 0.75 < inside.mean() < 0.99
    table = screen.uns["conditions"]
    assert table["cell_type"].tolist() == ["NK"] and screen.varm["change_sd"].shape == (200, 1)
    # Batches err together, not as if each were another experiment.
    assert 0.5 < np.median(screen.varm["change_sd"][:, 0] / sd.mean(axis=0)) <= 1.0
    assert (screen.obs["nearest_context"] == table["nearest_context"].iloc[0]).all()


def test_predicted_cells_have_intervals_whose_coverage_is_scored(folder, commands):
    what = ("--checkpoint", folder / "run", "--store", folder / "store")
    said = commands.run("infer", *what, "--split", "test", "--out", folder / "cells", "--with-controls")
    assert "warning: never trained with perturbed cells: 1 cell type ('NK')" in said
    path = folder / "cells" / "adata_pred.h5ad"
    cells = ad.read_h5ad(path)
    row = cells.uns["conditions"].iloc[0]
    assert (row["cell_type"], row["perturbation"], row["trained_contexts"]) == ("NK", "IFN-beta", 7)
    assert row["nearest_effect"] == "IFN-beta" and "cell type never trained" in row["warnings"]
    change, sd = cells.varm["change"][:, 0], cells.varm["change_sd"][:, 0]
    assert (sd > 0).all() and (cells.varm["change_low"][:, 0] <= change + 1e-6).all()
    found = json.loads((folder / "run" / "network_weight.json").read_text())
    assert found["interval_scale"] == 1 or found["network_weight"] > 0
    files = ("--pred", path, "--real", folder / "cells" / "adata_real.h5ad", "--store", folder / "store")
    table = commands.run("evaluate", *files, "--out", folder / "scores", "--baselines", "control")
    assert "in 90 %" in table
    summary = json.loads((folder / "scores" / "summary.json").read_text())
    assert 0.7 < summary["models"]["adata_pred"]["coverage"]["mean"] <= 1
    assert summary["models"]["control"]["coverage"]["mean"] is None


def test_python_predicts_between_estimate_and_network_too(folder):
    """On control cells of a cell type that was never seen perturbed, read as their own controls."""
    cells = ad.read_h5ad(EXAMPLES / "data" / "kang2018_pbmc_ifnb.h5ad")
    controls = cells[(cells.obs["cell_type"] == "NK") & (cells.obs["perturbation"] == "control")].copy()
    measured, estimate, network = (
        np.asarray(api.Predictor.from_checkpoint(folder / "run", network_weight=weight).predict(controls).X).mean(
            axis=0
        )
        for weight in (None, 0.0, 1.0)
    )
    weight = json.loads((folder / "run" / "network_weight.json").read_text())["network_weight"]
    assert np.median(np.abs(measured - estimate - weight * (network - estimate))) < 5e-3
    assert np.abs(network - estimate).max() > 0.05
