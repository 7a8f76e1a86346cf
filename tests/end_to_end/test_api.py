# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a notebook does: prepare, train, predict and evaluate as functions, on real data."""

import json
import os
import subprocess
import sys
import tempfile
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
    code = (
        "import sys; from bionemo.scale import api; "
        "print(sorted({'torch', 'nemo', 'anndata', 'pandas'} & set(sys.modules)))"
    )
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


def test_the_share_of_the_additive_effect_is_the_caller_s(api_run: Path, cells: anndata.AnnData):
    """0 is the network alone, 1 the mean effect of training alone; every mean between them is theirs."""
    asked = {share: api.Predictor.from_checkpoint(api_run, additive_share=share) for share in (0.0, 0.4, 1.0)}
    means = {share: each.predict(cells, perturbations=["IFN-beta"]).X.mean(axis=0) for share, each in asked.items()}
    trained = api.Predictor.from_checkpoint(api_run).predict(cells, perturbations=["IFN-beta"])
    np.testing.assert_array_equal(trained.X.mean(axis=0), means[0.4])
    # Genes that nothing clips at zero.
    high = np.minimum(means[0.0], means[1.0]) > 1
    assert high.sum() > 10 and not np.allclose(means[0.0], means[1.0], atol=0.01)
    np.testing.assert_allclose(means[0.4][high], (0.6 * means[0.0] + 0.4 * means[1.0])[high], atol=2e-3)
    assert api.Predictor.from_checkpoint(api_run, additive_share=0.0)._loaded.model.config.additive_share == 0


@pytest.mark.parametrize(
    ("chosen", "found"),
    [
        ({"additive_share": 1.5}, "additive_share must be at least 0 and at most 1, found 1.5"),
        ({"additive_share": 0.5, "generation": "decode"}, "an additive share needs generation='contrast', found"),
    ],
)
def test_a_share_that_cannot_be_is_refused(api_run: Path, chosen, found):
    with pytest.raises(api.InputError, match=found):
        api.Predictor.from_checkpoint(api_run, **chosen)


def test_predicting_again_gives_the_same(predictor: api.Predictor, cells: anndata.AnnData):
    first, again = (predictor.predict(cells).X for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_genes_are_matched_by_name(predictor: api.Predictor, cells: anndata.AnnData):
    turned = predictor.predict(cells[:, cells.var_names[::-1]].copy())
    np.testing.assert_array_equal(turned.X, predictor.predict(cells).X)


@pytest.mark.parametrize("number", [None, 20])
def test_the_prediction_is_the_command_s(
    predictor: api.Predictor,
    cells: anndata.AnnData,
    api_run: Path,
    tmp_path: Path,
    number: int | None,
    monkeypatch: pytest.MonkeyPatch,
):
    """And it needs no temporary file."""
    cells.write_h5ad(tmp_path / "nk.h5ad")
    out = tmp_path / "pred.h5ad"
    options = ["--checkpoint", str(api_run), "--adata", str(tmp_path / "nk.h5ad"), "--out", str(out)]
    options += [] if number is None else ["--cells-per-condition", str(number)]
    # Sums of another number of threads differ in the last bit.
    threads = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-m", "bionemo.scale.run.infer", *options]
    subprocess.run(command, check=True, capture_output=True, env=threads)
    expected = anndata.read_h5ad(out)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "no such folder"))
    found = predictor.predict(cells, cells_per_condition=number)
    np.testing.assert_array_equal(expected.X, found.X)
    for column in expected.obs:
        assert expected.obs[column].astype(str).tolist() == found.obs[column].astype(str).tolist()
    np.testing.assert_array_equal(*(each.uns["conditions"]["num_cells"] for each in (expected, found)))
    for name in expected.varm:
        np.testing.assert_array_equal(*(np.asarray(each.varm[name]) for each in (expected, found)))


def test_no_rank_is_left_in_the_environment(predictor: api.Predictor):
    assert not {"RANK", "WORLD_SIZE", "MASTER_PORT"} & set(os.environ)


def test_cells_of_pandas_strings_and_other_layers(predictor: api.Predictor, cells: anndata.AnnData, tmp_path: Path):
    expected = predictor.predict(cells)
    for frame in (cells.obs, cells.var):
        frame.index = frame.index.astype("string")
    other = cells.copy()
    for name in ("perturbation", "cell_type", "batch"):
        other.obs[name] = other.obs[name].astype("string")
    other.var["name"] = other.var_names.astype("string")
    other.var_names = [f"ENSG{number}" for number in range(other.n_vars)]
    other.layers["counts"], other.X = other.X, None
    with pytest.warns(UserWarning, match="control means of fewer than 50 cells"):
        found = predictor.predict(other, matrix="layers/counts", gene_key="name")
    np.testing.assert_array_equal(found.X, expected.X)
    donors = dict(zip(cells.obs_names, cells.obs["donor"].astype(str), strict=True))
    assert [donors[name] for name in found.obs["control_cell"]] == found.obs["donor"].astype(str).tolist()
    assert list(found.var.columns) == list(other.var.columns)
    found.write_h5ad(tmp_path / "found.h5ad")


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
    with pytest.raises(api.InputError, match="size must be one of"):
        api.train(api_store, tmp_path / "run", size="hug")
    assert not (tmp_path / "run").exists()


def test_cells_stand_for_files(api_run: Path, cells: anndata.AnnData, tmp_path: Path):
    """Prepared and predicted, they give what their file gives."""
    options = {"library_size_key": "n_counts_full", "num_hvg": 50}
    cells = cells.copy()
    # Files cannot hold the index that some versions of pandas give to slices.
    cells.obs_names, cells.var_names = cells.obs_names.astype(object), cells.var_names.astype(object)
    cells.write_h5ad(tmp_path / "adata.h5ad")
    stores = [tmp_path / name for name in ("of-cells", "of-file")]
    for given, store in zip((cells, tmp_path / "adata.h5ad"), stores, strict=True):
        api.prepare(given, store, **options)
    texts = [(store / "manifest.json").read_text() for store in stores]
    assert json.loads(texts[0])["card"] == json.loads(texts[1])["card"]
    assert [entry["name"] for entry in json.loads(texts[0])["inputs"]] == ["adata.h5ad"]
    with pytest.raises(api.InputError, match="^adata: obs has no column 'cell_typ'; did you mean 'cell_type'"):
        api.prepare(cells, tmp_path / "none", keys=api.ObsKeys(cell_type="cell_typ"))
    found = [tmp_path / "1.h5ad", tmp_path / "2.h5ad"]
    for given, out in zip((cells, tmp_path / "adata.h5ad"), found, strict=True):
        api.infer(api_run, out, adata=given)
    np.testing.assert_array_equal(*(anndata.read_h5ad(path).X for path in found))


def test_cells_are_trained_on(cells: anndata.AnnData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Their store stays with the run; the same call continues, other cells are refused, and nothing is left over."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    out, options = tmp_path / "run", {"size": "tiny", "set_size": 16, "val_interval": 2}
    prepare = {"library_size_key": "n_counts_full", "num_hvg": 50}
    with pytest.raises(api.InputError, match="no such field"):
        api.train(cells, out, prepare=prepare, max_steps=2, model={"no_such": 1}, **options)
    assert not out.exists()
    assert api.train(cells, out, prepare=prepare, max_steps=2, **options) == out
    assert api.train(cells.copy(), out, prepare=prepare, max_steps=4, **options) == out
    assert api.Run(out).history["step"].max() == 4
    with pytest.raises(api.InputError, match="expected the store of these cells and options, found another"):
        api.train(cells[10:].copy(), out, prepare=prepare, max_steps=6, **options)
    with pytest.raises(api.InputError, match="^prepare goes with cells"):
        api.train(out / "store", out, prepare=prepare, max_steps=6, **options)
    assert api.infer(out, tmp_path / "pred.h5ad", store=out / "store", all_perturbations=True).is_file()
    assert list((tmp_path / "tmp").iterdir()) == []


def test_evaluate_predictions(predictor: api.Predictor, api_run: Path, api_store: Path, tmp_path: Path):
    assert api.infer(api_run, tmp_path, store=api_store, split="val") == tmp_path / "adata_pred.h5ad"
    found = api.evaluate(
        {"ours": tmp_path / "adata_pred.h5ad"}, tmp_path / "adata_real.h5ad", tmp_path / "scores", store=api_store,
        baselines=("control", "perturbation_mean"), ceiling=False,
    )  # fmt: skip
    assert {"ours", "control", "perturbation_mean"} == set(found.scores["model"])
    assert "ours" in found.table and (tmp_path / "scores" / "summary.json").is_file()
    page = api.report(tmp_path / "scores", out=tmp_path / "page.html")
    assert page.is_file() and "ours" in page.read_text()


def test_a_run_says_what_it_holds(api_run: Path, tmp_path: Path):
    run = api.Run(api_run)
    assert run.config["run"]["max_steps"] == 6
    assert run.history["step"].tolist() == [3, 6, 6]
    assert run.history["val_loss"].notna().tolist() == [False, False, True]
    assert run.checkpoint.parent == api_run / "checkpoints"
    assert run.network_weight is None and "size tiny, 6 steps, network's weight not measured" in repr(run)
    with pytest.raises(api.InputError, match="config.yaml"):
        api.Run(tmp_path)


def test_several_columns_are_one_context(api_run: Path, tmp_path: Path):
    """From files to scores: each donor's cell type is a cell type of its own."""
    cells = anndata.read_h5ad(KANG)
    cells.obs["kind"] = np.where(cells.obs["cell_type"].isin(["B", "CD4 T"]), "lymphocyte", "other")
    cells.write_h5ad(tmp_path / "cells.h5ad")
    keys = api.ObsKeys(cell_type="donor,kind", batch="donor")
    split = tmp_path / "split.toml"
    split.write_text('[training]\ncells = "train"\n\n[zeroshot]\n"cells.1015:other" = "test"\n')
    options = {"library_size_key": "n_counts_full", "num_hvg": 100}
    summary = api.prepare(tmp_path / "cells.h5ad", tmp_path / "store", split=split, keys=keys, **options)
    assert summary.cells_by_split["test"] > 0
    run = api.train(tmp_path / "store", tmp_path / "run", size="tiny", max_steps=2, set_size=16)
    pred = api.infer(run, tmp_path / "out", store=tmp_path / "store")
    files = (pred, pred.with_name("adata_real.h5ad"))
    found = api.evaluate(*files, tmp_path / "scores", store=tmp_path / "store", baselines=("additive",), ceiling=False)
    assert set(found.scores["context"]) == {"1015:other"}
    controls = cells[(cells.obs["perturbation"] == "control").to_numpy()].copy()
    predicted = api.Predictor.from_checkpoint(run).predict(controls)
    assert "1015:other" in set(predicted.obs["donor,kind"])
