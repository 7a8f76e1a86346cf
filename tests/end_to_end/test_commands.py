# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The four commands one after the other, on real data, each in a process of its own; what follows, in forks of one."""

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
import yaml

from bionemo.scale.train.callbacks.metrics_file import SPEED


pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"
STEPS = 12
SETS, SET_SIZE = 8, 16
"""Of a step: --micro-batch-size by default, and --set-size."""


def run(command: str, *arguments: object, code: int = 0) -> str:
    """Run a command in a process of its own and return what it wrote to the screen."""
    result = subprocess.run(
        [sys.executable, "-m", f"bionemo.scale.run.{command}", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=400,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    screen = result.stdout + result.stderr
    assert result.returncode == code, screen
    return screen


def train(store: Path, out: Path, max_steps: int, *more: object, code: int = 0, run: Callable[..., str] = run) -> str:
    options = (
        "--size",
        "tiny",
        "--max-steps",
        max_steps,
        "--val-interval",
        6,
        "--log-interval",
        3,
        "--set-size",
        SET_SIZE,
    )
    return run("train", "--store", store, "--out", out, *options, *more, code=code)


def proposed(screen: str, **names: object) -> list[str]:
    """Return the words of the command that a command proposes at its end, with the names that are left to the user."""
    (line,) = (line for line in screen.splitlines() if line.startswith("next      bionemo-scale-"))
    words = shlex.split(line.removeprefix("next      bionemo-scale-"))
    return [str(names.get(word, word)) for word in words]


def metrics(out: Path) -> list[dict[str, str]]:
    with (out / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kang")


@pytest.fixture(scope="module")
def store(folder: Path) -> Path:
    data = EXAMPLES / "data" / "kang2018_pbmc_ifnb.h5ad"
    split = EXAMPLES / "splits" / "kang.toml"
    options = ("--dataset", "kang", "--library-size-key", "n_counts_full", "--hvg", 200)
    screen = run("prepare", data, "--out", folder / "store", "--split", split, *options)
    assert proposed(screen, RUN="run") == ["train", "--store", str(folder / "store"), "--out", "run"]
    return folder / "store"


@pytest.fixture(scope="module")
def trained(folder: Path, store: Path) -> Path:
    screen = train(store, folder / "run", STEPS)
    assert "cells/s" in screen and "estimate  of the means" in screen
    assert "lowest validation loss " in screen
    chosen = ("--checkpoint", str(folder / "run"), "--store", str(store), "--split", "test")
    assert proposed(screen, PREDICTED="x") == ["infer", *chosen, "--out", "x"]
    assert "NeMo" not in screen, "library chatter belongs in the log file"
    return folder / "run"


@pytest.fixture(scope="module")
def predicted(folder: Path, store: Path, trained: Path) -> Path:
    screen = run("infer", "--checkpoint", trained, "--store", store, "--out", folder / "predicted", "--with-controls")
    (folder / "next.txt").write_text(screen)
    return folder / "predicted"


def test_run_folder_holds_what_is_promised(trained: Path, store: Path):
    rows = metrics(trained)
    logged = [int(row["step"]) for row in rows if row["loss"]]
    assert logged == [3, 6, 9, 12]
    assert [int(row["step"]) for row in rows if row["val_loss"]] == [6, 12]
    assert float(rows[-2]["loss"]) < float(rows[0]["loss"])
    for row in rows:
        if row["loss"]:
            cells, steps, fillers, waiting = (float(row[name]) for name in SPEED)
            assert cells > 0 and steps > 0 and 0 < waiting < 1 and 0 <= fillers < 1
            # Useful cells and fillers are what all sets of a step have.
            assert cells / (1 - fillers) == pytest.approx(steps * SETS * SET_SIZE, rel=1e-3)
    assert yaml.safe_load((trained / "config.yaml").read_text())["run"]["max_steps"] == STEPS
    assert json.loads((trained / "split.json").read_text()) == json.loads((store / "split.json").read_text())
    checkpoints = list((trained / "checkpoints").iterdir())
    assert all((path / "context" / "io.json").is_file() for path in checkpoints)
    assert any(path.name.endswith("-last") for path in checkpoints)
    # One validation loss: that of the table is in the name of the checkpoint.
    best = min(float(row["val_loss"]) for row in rows if row["val_loss"])
    named = [re.search(r"val_loss=([\d.]+)", path.name) for path in checkpoints]
    assert any(float(found[1].rstrip(".")) == pytest.approx(best, rel=1e-4) for found in named if found)


def test_training_continues_where_it_stopped(trained: Path, store: Path, commands: Any, tmp_path: Path):
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    screen = train(store, copy, STEPS + 6, run=commands.run)
    assert "estimate  of the means" not in screen, "it is fitted once"
    rows = metrics(copy)
    assert [int(row["step"]) for row in rows if row["loss"]] == [3, 6, 9, 12, 15, 18]
    assert rows[:4] == metrics(trained)[:4], "rows of the first part are kept"


def test_a_run_folder_keeps_other_runs_out(trained: Path, store: Path, commands: Any):
    before = (trained / "config.yaml").read_bytes()
    screen = train(store, trained, STEPS, "--seed", 1, code=2, run=commands.run)
    assert "holds another run" in screen and screen.count("\n") <= 2
    assert (trained / "config.yaml").read_bytes() == before


def test_predictions_carry_genes_labels_and_provenance(predicted: Path, store: Path):
    manifest = json.loads((store / "manifest.json").read_text())
    pred = anndata.read_h5ad(predicted / "adata_pred.h5ad")
    real = anndata.read_h5ad(predicted / "adata_real.h5ad")
    card = json.loads(pred.uns["bionemo_scale"]["card"])
    assert list(pred.var_names) == list(real.var_names) == card["genes"]
    assert pred.uns["bionemo_scale"]["split_sha256"] == card["split_sha256"] != ""
    assert set(pred.obs["cell_type"]) == {"CD4 T", "NK"}
    for column in ("perturbation", "cell_type", "batch"):
        assert pred.obs[column].value_counts().to_dict() == real.obs[column].value_counts().to_dict()
    assert np.isfinite(pred.X).all() and pred.X.min() >= 0
    is_control = (pred.obs["perturbation"] == "control").to_numpy()
    real_controls = real[(real.obs["perturbation"] == "control").to_numpy()]
    np.testing.assert_array_equal(pred.X[is_control], real_controls.X.toarray())
    assert set(pred.obs["control_cell"][~is_control]) <= set(real_controls.obs_names)
    assert manifest


def test_predictions_repeat(predicted: Path, trained: Path, store: Path, commands: Any, tmp_path: Path):
    commands.run("infer", "--checkpoint", trained, "--store", store, "--out", tmp_path / "again.h5ad")
    first = anndata.read_h5ad(predicted / "adata_pred.h5ad")
    again = anndata.read_h5ad(tmp_path / "again.h5ad")
    np.testing.assert_array_equal(first.X[: again.n_obs], again.X)


def test_any_controls_can_be_predicted(trained: Path, commands: Any, tmp_path: Path):
    cells = anndata.read_h5ad(EXAMPLES / "data" / "kang2018_pbmc_ifnb.h5ad")
    cells = cells[(cells.obs["cell_type"].astype(str) == "B").to_numpy()].copy()
    # Genes in another order: they are matched by name.
    cells = cells[:, cells.var_names[::-1]].copy()
    cells.write_h5ad(tmp_path / "b.h5ad")
    commands.run(
        "infer", "--checkpoint", trained, "--adata", tmp_path / "b.h5ad", "--perturbations", "IFN-beta",
        "--out", tmp_path / "b_pred.h5ad",
    )  # fmt: skip
    pred = anndata.read_h5ad(tmp_path / "b_pred.h5ad")
    assert pred.n_obs == int((cells.obs["perturbation"].astype(str) == "control").sum())
    assert set(pred.obs["perturbation"]) == {"IFN-beta"}


def test_a_labs_own_file_is_predicted_and_scored(trained: Path, commands: Any, tmp_path: Path):
    """It has the controls and what was measured; scores need no store."""
    cells = anndata.read_h5ad(EXAMPLES / "data" / "kang2018_pbmc_ifnb.h5ad")
    cells[cells.obs["cell_type"].isin(["NK", "B"])].copy().write_h5ad(tmp_path / "lab.h5ad")
    files = ("--adata", tmp_path / "lab.h5ad", "--out", tmp_path / "pred.h5ad", "--measured", tmp_path / "real.h5ad")
    screen = commands.run("infer", "--checkpoint", trained, *files)
    assert "measured cells of what is predicted, and their controls" in screen
    commands.run(*proposed(screen, SCORES=tmp_path / "scores"), "--no-baselines")
    (scores,) = json.loads((tmp_path / "scores" / "summary.json").read_text())["models"].values()
    assert scores["pearson_delta"]["n"] == 2


def test_scores_stand_beside_baselines(predicted: Path, store: Path, folder: Path):
    out = folder / "scores"
    # What prediction proposed.
    words = proposed((folder / "next.txt").read_text(), SCORES=out)
    screen = run(*words, "--name", "SCALE")
    assert proposed(screen) == ["report", str(out)]
    models = json.loads((out / "summary.json").read_text())["models"]
    assert {"SCALE", "control", "perturbation_mean", "context_mean", "additive"} <= set(models)
    assert "PDCorr" in screen and "SCALE" in screen
    assert (out / "results.csv").is_file() and (out / "agg_results.csv").is_file()


class TestRefusals:
    """Each is one line on the screen, exit code 2, and no file left."""

    @pytest.fixture(autouse=True)
    def use(self, commands: Any) -> None:
        self.run = commands.run

    def refuse(self, *arguments: object, out: Path) -> str:
        screen = self.run("infer", *arguments, "--out", out, code=2)
        # On a busy machine a command says every few seconds that it is still at work.
        lines = [line for line in screen.splitlines() if line and not line.startswith("loading ")]
        assert len(lines) == 1 and lines[0].startswith("error: "), screen
        assert not out.exists()
        return lines[0]

    def test_unknown_perturbation_names_the_nearest(self, trained: Path, tmp_path: Path):
        source = EXAMPLES / "data" / "kang2018_pbmc_ifnb.h5ad"
        line = self.refuse(
            "--checkpoint", trained, "--adata", source, "--perturbations", "IFN-bta", out=tmp_path / "p.h5ad"
        )
        assert "IFN-bta" in line and "IFN-beta" in line

    def test_unknown_cell_type_names_the_nearest(self, trained: Path, tmp_path: Path):
        cells = anndata.read_h5ad(EXAMPLES / "data" / "kang2018_pbmc_ifnb.h5ad")
        cells.obs["cell_type"] = cells.obs["cell_type"].astype(str).replace({"CD4 T": "CD4 Tcell"})
        cells.write_h5ad(tmp_path / "renamed.h5ad")
        line = self.refuse("--checkpoint", trained, "--adata", tmp_path / "renamed.h5ad", out=tmp_path / "p.h5ad")
        assert "CD4 Tcell" in line and "'CD4 T'" in line

    def test_missing_checkpoint(self, store: Path, tmp_path: Path):
        line = self.refuse("--checkpoint", tmp_path / "no", "--store", store, out=tmp_path / "p.h5ad")
        assert "found nothing" in line

    def test_truncated_weights(self, trained: Path, store: Path, tmp_path: Path):
        shutil.copytree(trained, tmp_path / "run")
        for path in (tmp_path / "run" / "checkpoints").glob("*/weights/*.distcp"):
            path.write_bytes(path.read_bytes()[:100])
        line = self.refuse("--checkpoint", tmp_path / "run", "--store", store, out=tmp_path / "p.h5ad")
        assert "weights" in line

    def test_checkpoint_without_context(self, trained: Path, store: Path, tmp_path: Path):
        shutil.copytree(trained, tmp_path / "run")
        for path in (tmp_path / "run" / "checkpoints").glob("*/context/io.json"):
            path.unlink()
        line = self.refuse("--checkpoint", tmp_path / "run", "--store", store, out=tmp_path / "p.h5ad")
        assert "io.json" in line

    @pytest.mark.parametrize("text", ["config: [", "trainer: 3", "config: {_target_: a.OtherModel}"])
    def test_context_of_something_else(self, text: str, trained: Path, store: Path, tmp_path: Path):
        shutil.copytree(trained, tmp_path / "run")
        for path in (tmp_path / "run" / "checkpoints").glob("*/context/model.yaml"):
            path.write_text(text)
        line = self.refuse("--checkpoint", tmp_path / "run", "--store", store, out=tmp_path / "p.h5ad")
        assert "OtherModel" in line or "model.yaml: cannot be read" in line or "model.yaml: expected YAML" in line

    def test_store_of_another_split(self, trained: Path, tmp_path: Path):
        data = EXAMPLES / "data" / "kang2018_pbmc_ifnb.h5ad"
        self.run(
            "prepare", data, "--out", tmp_path / "other", "--dataset", "kang", "--hvg", 200,
            "--library-size-key", "n_counts_full",
        )  # fmt: skip
        line = self.refuse("--checkpoint", trained, "--store", tmp_path / "other", out=tmp_path / "p.h5ad")
        assert "trained on" in line


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (("--size", "hug"), "tiny"),
        (("--set", "hidden_siz=3"), "hidden_size"),
        (("--set", "prior=contrl"), "gaussian_mix"),
        (("--set", "num_layers=x"), "expected int"),
        (("--tensor-parallel", "2"), "multiple"),
        (("--precision", "x"), "--precision must be one of"),
        (("--spec", "x"), "--spec must be one of"),
    ],
)
def test_training_refuses_what_it_cannot_use(
    store: Path, commands: Any, tmp_path: Path, arguments: tuple[str, ...], found: str
):
    screen = commands.run("train", "--store", store, "--out", tmp_path / "run", *arguments, code=2)
    errors = [line for line in screen.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and found in errors[0], screen
    assert not (tmp_path / "run" / "config.yaml").exists()
