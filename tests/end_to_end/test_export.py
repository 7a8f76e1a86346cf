# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""A run as a folder that is moved, published and opened elsewhere: the same numbers, or one line."""

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from huggingface_hub import ModelCard

from bionemo.scale import api
from bionemo.scale.files.network_weight import WEIGHT_NAME
from bionemo.scale.files.provenance import hash_file
from bionemo.scale.model.checkpoint import find_checkpoint


pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
KANG = REPOSITORY / "examples" / "data" / "kang2018_pbmc_ifnb.h5ad"
CARD = ("--license", "apache-2.0", "--data-license", "CC BY 4.0", "--name", "Kang")
WITHOUT_NEMO = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("nemo", "nemo_run", "lightning", "pytorch_lightning"):
            raise ImportError(f"{name} is blocked")
        if name.startswith(("bionemo.llm", "bionemo.core")):
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Block())
"""
PREDICT = """
import anndata
from bionemo.scale import api

cells = anndata.read_h5ad(sys.argv[2])
predictor = api.Predictor.from_pretrained(sys.argv[1])
predictor.predict(cells, ["IFN-beta"]).write_h5ad(sys.argv[3])
"""


@pytest.fixture(scope="module")
def run(api_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has measured its network, so that estimate and network both predict."""
    folder = tmp_path_factory.mktemp("weighed") / "run"
    shutil.copytree(api_run, folder)
    (folder / WEIGHT_NAME).write_text(json.dumps({"network_weight": 0.3, "interval_scale": 1.5}))
    return folder


@pytest.fixture(scope="module")
def exported(run: Path, commands: Any) -> dict[str, Path]:
    folder = run.parent / "models"
    for name in ("safetensors", "megatron"):
        screen = commands.run("export", run, "--out", folder / name, "--format", name, *CARD)
        assert "the run was not scored, and the model card says so" in screen
    return {name: folder / name for name in ("safetensors", "megatron")}


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    adata = anndata.read_h5ad(KANG)
    path = tmp_path_factory.mktemp("cells") / "nk.h5ad"
    adata[(adata.obs["cell_type"].astype(str) == "NK").to_numpy()].copy().write_h5ad(path)
    return path


def predict(commands: Any, checkpoint: Path, cells: Path, out: Path) -> anndata.AnnData:
    commands.run("infer", "--checkpoint", checkpoint, "--adata", cells, "--perturbations", "IFN-beta", "--out", out)
    return anndata.read_h5ad(out)


@pytest.fixture(scope="module")
def expected(run: Path, cells: Path, commands: Any, tmp_path_factory: pytest.TempPathFactory) -> anndata.AnnData:
    """What the run itself predicts."""
    return predict(commands, run, cells, tmp_path_factory.mktemp("expected") / "out.h5ad")


def check_equal(found: anndata.AnnData, expected: anndata.AnnData) -> None:
    np.testing.assert_array_equal(found.X, expected.X)
    pd.testing.assert_frame_equal(found.obs[list(expected.obs)], expected.obs)
    pd.testing.assert_frame_equal(found.uns["conditions"], expected.uns["conditions"])
    assert set(found.varm) == set(expected.varm) == {"change", "change_sd", "change_low", "change_high"}
    for name in expected.varm:
        np.testing.assert_array_equal(found.varm[name], expected.varm[name])


@pytest.mark.parametrize("kind", ["safetensors", "megatron"])
def test_an_export_predicts_the_numbers_of_its_run(kind, exported, cells, expected, commands, tmp_path):
    moved = shutil.copytree(exported[kind], tmp_path / "elsewhere" / "model")
    check_equal(predict(commands, moved, cells, tmp_path / "out.h5ad"), expected)


def without_nemo(code: str, *arguments: object, folder: Path) -> str:
    """Run code in a process that cannot import NeMo, and return what it prints."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", WITHOUT_NEMO + code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("kind", ["safetensors", "megatron"])
def test_an_export_opens_with_torch_and_megatron_alone(kind, exported, cells, expected, tmp_path):
    arguments = [exported[kind], cells, tmp_path / "out.h5ad"]
    without_nemo(PREDICT, *arguments, folder=tmp_path)
    check_equal(anndata.read_h5ad(tmp_path / "out.h5ad"), expected)


def test_the_first_lines_of_the_readme_run(exported, tmp_path):
    (code, *_) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(), flags=re.DOTALL)
    (tmp_path / "examples").symlink_to(REPOSITORY / "examples")
    (tmp_path / "run").symlink_to(exported["safetensors"])
    shown = without_nemo(code, folder=tmp_path)
    # 1,050 controls of 8 cell types, each carried to one perturbation.
    assert re.search(r"n_obs . n_vars = 1050 . 200", shown) and "change_low" in shown
    assert "T activated" in shown and "cell type never trained" in shown and "[8 rows x" in shown
    assert {path.name for path in tmp_path.iterdir()} == {"examples", "run"}


def test_the_files(exported):
    names = {path.name for path in exported["safetensors"].iterdir()}
    assert names == {
        *("README.md", "config.json", "data_card.json", "model.safetensors", "estimate.npz"),
        WEIGHT_NAME,
    }
    assert {path.name for path in exported["megatron"].iterdir()} == names - {"model.safetensors"} | {"weights"}


def test_an_export_is_exported_again(exported, cells, expected, commands, tmp_path):
    """From the distributed format to safetensors: the same file."""
    commands.run("export", exported["megatron"], "--out", tmp_path / "again")
    first, again = (folder / "model.safetensors" for folder in (exported["safetensors"], tmp_path / "again"))
    assert first.read_bytes() == again.read_bytes()


def test_fine_tuning_starts_from_an_export(exported, api_store, run, commands, tmp_path):
    options = ("--store", api_store, "--max-steps", 2, "--val-interval", 2, "--log-interval", 1)
    screens = {}
    for name, start in (("export", exported["safetensors"]), ("run", run)):
        screens[name] = commands.run("train", *options, "--from-checkpoint", start, "--out", tmp_path / name)
    assert f"starts from {exported['safetensors']}" in screens["export"]
    losses = [pd.read_csv(tmp_path / name / "metrics.csv")["loss"].dropna().tolist() for name in ("export", "run")]
    assert losses[0] == losses[1] and len(losses[0]) == 2


def test_the_card_is_the_hub_s(exported):
    text = (exported["safetensors"] / "README.md").read_text()
    card = ModelCard(text)
    assert card.data.license == "apache-2.0" and card.data.library_name == "bionemo-scale"
    assert "single-cell" in card.data.tags and card.data.eval_results is None
    for part in (
        "# Kang",
        "CC BY 4.0",
        "data sets: kang",
        "`IFN-beta`",
        "The run was not scored",
        "0.30 of the network",
    ):
        assert part in text, part
    split = json.loads((exported["safetensors"] / "data_card.json").read_text())["split_sha256"]
    assert split in text
    # What is of the exporter's machine alone is nobody's business.
    assert str(REPOSITORY) not in text and str(exported["safetensors"].parent) not in text


@pytest.fixture(scope="module")
def scored(run: Path, api_store: Path, commands: Any) -> Path:
    """The run with its scores beside it."""
    held_out = ("--store", api_store, "--split", "test", "--with-controls")
    commands.run("infer", "--checkpoint", run, *held_out, "--out", run.parent / "predicted")
    files = [run.parent / "predicted" / f"adata_{name}.h5ad" for name in ("pred", "real")]
    names = ("--pred", files[0], "--real", files[1], "--name", "ours", "--store", api_store, "--baselines", "additive")
    commands.run("evaluate", *names, "--out", run.parent / "scores")
    return run


def test_the_card_has_the_scores_beside_baselines(scored, commands, tmp_path):
    commands.run("export", scored, "--out", tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    assert "This model is the row `ours`" in text and "\nadditive " in text and "\nours " in text
    found = {each.metric_type: each.metric_value for each in ModelCard(text).data.eval_results}
    means = json.loads((scored.parent / "scores" / "summary.json").read_text())["models"]["ours"]
    assert found["mse"] == round(means["mse"]["mean"], 4) and found["mse"] > 0


@pytest.mark.parametrize("change", ["split", "checkpoint"])
def test_scores_of_another_run_are_not_this_one_s(change, scored, commands, tmp_path):
    scores, path = tmp_path / "scores", scored.parent / "predicted" / "adata_pred.h5ad"
    shutil.copytree(scored.parent / "scores", scores)
    summary = json.loads((scores / "summary.json").read_text())
    if change == "split":
        summary["inputs"]["store"]["split_sha256"] = "0" * 64
        expected = "expected scores on the run's split"
    else:
        other = anndata.read_h5ad(path)
        other.uns["bionemo_scale"]["checkpoint"] = "/elsewhere/checkpoints/step=99"
        other.write_h5ad(tmp_path / "other.h5ad")
        summary["inputs"]["pred"]["ours"] = {
            "path": str(tmp_path / "other.h5ad"),
            "sha256": hash_file(tmp_path / "other.h5ad"),
        }
        expected = f"expected predictions by {find_checkpoint(scored).name} among ours, found none that says so"
    (scores / "summary.json").write_text(json.dumps(summary))
    refused = commands.run("export", scored, "--out", tmp_path / "out", "--scores", scores, code=2)
    assert expected in refused and not (tmp_path / "out").exists()


def test_an_export_is_replaced_when_asked_and_nothing_else_is(exported, run, commands, tmp_path):
    out = shutil.copytree(exported["safetensors"], tmp_path / "out")
    before = (out / "README.md").read_text()
    assert "exists already" in commands.run("export", run, "--out", out, code=2)
    assert (out / "README.md").read_text() == before
    commands.run("export", run, "--out", out, "--overwrite", "--name", "Second")
    assert "# Second" in (out / "README.md").read_text()
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    assert "found something else there" in commands.run("export", run, "--out", mine, "--overwrite", code=2)
    assert (mine / "thesis.txt").read_text() == "years of work"
    assert "would replace the input" in commands.run("export", out, "--out", out, "--overwrite", code=2)
    assert "would change the export" in commands.run("export", out, "--out", out / "inside", code=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "out"]


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return exec, (f"open({str(self.marker)!r}, 'w').close()",)


def with_own_hash(export: Path, name: str) -> None:
    """Let config.json say that a file is the one that was written, as a stranger would."""
    config = json.loads((export / "config.json").read_text())
    config["files"][name] = hash_file(export / name)
    (export / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("safetensors", "model.safetensors"),
        ("safetensors", "data_card.json"),
        ("safetensors", "estimate.npz"),
        ("safetensors", WEIGHT_NAME),
        ("megatron", "weights/.metadata"),
        ("megatron", "weights/common.pt"),
    ],
)
def test_a_hostile_file_is_one_line(kind, name, exported, cells, commands, tmp_path):
    model, marker = shutil.copytree(exported[kind], tmp_path / "model"), tmp_path / "marker"
    if name.endswith(".pt"):
        torch.save(Payload(marker), model / name)
    else:
        (model / name).write_bytes(pickle.dumps(Payload(marker)))
    for told in (False, True):
        if told:
            with_own_hash(model, name)
        line = commands.run("infer", "--checkpoint", model, "--adata", cells, "--out", tmp_path / "out.h5ad", code=2)
        assert line.startswith("error: ") and line.count("\n") == 1 and str(model) in line
        assert not marker.exists() and not (tmp_path / "out.h5ad").exists()


def test_the_api_exports_too(run, tmp_path, cells, expected):
    folder = api.export(run, tmp_path / "out", license="apache-2.0")
    predicted = api.Predictor.from_pretrained(folder).predict(anndata.read_h5ad(cells), ["IFN-beta"])
    assert predicted.shape == expected.shape
    with pytest.raises(api.InputError, match="exists already"):
        api.export(run, tmp_path / "out")
