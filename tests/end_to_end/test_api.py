# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a notebook does: prepare, train, predict and evaluate as functions, on real data."""

import os
import subprocess
import sys
from pathlib import Path

import anndata
import numpy as np
import pytest
import torch
import yaml

from bionemo.scale import api


pytestmark = pytest.mark.slow

KANG = Path(__file__).parents[2] / "examples" / "data" / "kang2018_pbmc_ifnb.h5ad"


@pytest.fixture(scope="module")
def cells() -> anndata.AnnData:
    adata = anndata.read_h5ad(KANG)
    return adata[(adata.obs["cell_type"].astype(str) == "NK").to_numpy()].copy()


@pytest.fixture(scope="module")
def predictor(api_run: Path) -> api.Predictor:
    return api.Predictor.from_checkpoint(api_run)


def test_importing_the_api_is_quick():
    code = "import sys; from bionemo.scale import api; print(sorted({'torch', 'nemo', 'anndata', 'pandas'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_training_is_the_command(api_run: Path):
    settings = yaml.safe_load((api_run / "config.yaml").read_text())["run"]
    assert (settings["size"], settings["max_steps"], settings["set_size"]) == ("tiny", 6, 16)


def test_predict_controls_of_a_notebook(predictor: api.Predictor, cells: anndata.AnnData):
    is_control = (cells.obs["perturbation"].astype(str) == "control").to_numpy()
    predicted = predictor.predict(cells, perturbations=["IFN-beta"])
    assert predicted.shape == (is_control.sum(), 200)
    assert list(predicted.var_names) == list(predictor.card.genes)
    assert set(predicted.obs["perturbation"]) == {"IFN-beta"} and set(predicted.obs["cell_type"]) == {"NK"}
    assert sorted(predicted.obs["control_cell"]) == sorted(cells.obs_names[is_control])
    assert np.isfinite(predicted.X).all() and predicted.X.min() >= 0
    assert predicted.uns["bionemo_scale"]["checkpoint"].endswith("-last")


def test_predicting_again_gives_the_same(predictor: api.Predictor, cells: anndata.AnnData):
    first, again = (predictor.predict(cells).X for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_genes_are_matched_by_name(predictor: api.Predictor, cells: anndata.AnnData):
    turned = predictor.predict(cells[:, cells.var_names[::-1]].copy())
    np.testing.assert_array_equal(turned.X, predictor.predict(cells).X)


def test_the_prediction_is_the_command_s(
    predictor: api.Predictor, cells: anndata.AnnData, api_run: Path, tmp_path: Path
):
    cells.write_h5ad(tmp_path / "nk.h5ad")
    out = tmp_path / "pred.h5ad"
    options = ["--checkpoint", str(api_run), "--adata", str(tmp_path / "nk.h5ad"), "--out", str(out)]
    # Sums of another number of threads differ in the last bit.
    threads = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-m", "bionemo.scale.run.infer", *options]
    subprocess.run(command, check=True, capture_output=True, env=threads)
    np.testing.assert_array_equal(anndata.read_h5ad(out).X, predictor.predict(cells).X)


def test_no_rank_is_left_in_the_environment(predictor: api.Predictor):
    assert not {"RANK", "WORLD_SIZE", "MASTER_PORT"} & set(os.environ)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda adata: adata[:, :50].copy(), "adata: expected the model's 200 genes"),
        (lambda adata: adata[adata.obs["perturbation"] == "IFN-beta"].copy(), "adata: expected control cells"),
    ],
)
def test_cells_that_cannot_be_used_are_refused_by_name(predictor: api.Predictor, cells, change, found):
    with pytest.raises(api.InputError, match="^" + found):
        predictor.predict(change(cells))


def test_unknown_perturbations_are_refused(predictor: api.Predictor, cells):
    with pytest.raises(api.InputError, match="unknown perturbation 'IFN-bta'; did you mean 'IFN-beta'"):
        predictor.predict(cells, perturbations=["IFN-bta"])


def test_training_refuses_as_the_command_does(api_store: Path, tmp_path: Path):
    with pytest.raises(api.InputError, match="unknown setting 'max_step'"):
        api.train(api_store, tmp_path / "run", max_step=3)
    with pytest.raises(api.InputError, match="--size must be one of"):
        api.train(api_store, tmp_path / "run", size="hug")
    assert not (tmp_path / "run").exists()


def test_evaluate_predictions(predictor: api.Predictor, api_run: Path, api_store: Path, tmp_path: Path):
    options = ["--checkpoint", str(api_run), "--store", str(api_store), "--out", str(tmp_path), "--split", "val"]
    # Sums of another number of threads differ in the last bit.
    threads = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-m", "bionemo.scale.run.infer", *options]
    subprocess.run(command, check=True, capture_output=True, env=threads)
    found = api.evaluate(
        {"ours": tmp_path / "adata_pred.h5ad"}, tmp_path / "adata_real.h5ad", tmp_path / "scores", store=api_store,
        baselines=("control", "perturbation_mean"), ceiling=False,
    )  # fmt: skip
    assert {"ours", "control", "perturbation_mean"} == set(found.scores["model"])
    assert "ours" in found.table and (tmp_path / "scores" / "summary.json").is_file()
