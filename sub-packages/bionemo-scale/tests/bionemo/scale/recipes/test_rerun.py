# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import shlex
from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import polars as pl
import pytest

from bionemo.scale.data.prepare.settings import PrepareSettings
from bionemo.scale.eval.output.summary import Summary
from bionemo.scale.eval.page.sources import RunFiles, ScoreFiles
from bionemo.scale.eval.settings import EvaluateSettings
from bionemo.scale.infer.settings import InferSettings
from bionemo.scale.options.parser import make_settings
from bionemo.scale.recipes.rerun import commands
from bionemo.scale.run import evaluate, infer, prepare
from bionemo.scale.run.train import settings_from
from bionemo.scale.types import FileLabels, ObsKeys


LABELS = {
    "keys": {"perturbation": "gene", "cell_type": "cell_type", "batch": "batch"},
    "control": "non-targeting",
    "target_sum": 1e4,
}


def file(path: str, **fields) -> dict:
    return {"path": path, "sha256": "0", **fields}


def recorded(**inputs) -> ScoreFiles:
    empty = ("models", "against_best_baseline", "paper_names", "paper_metrics", "contexts")
    summary = {
        **{name: {} for name in empty},
        "names": {"models": ["m", "n"], "baselines": [], "ceiling": False},
        "pairs": 1,
        "pairs_without_significant_real_gene": 0,
        "notes": [],
        "evaluator": {"versions": {}, "de_engine": "fast", "conventions": {}},
        "inputs": {
            "pred": {"m": file("a b/pred.h5ad"), "n": file("n.h5ad")},
            "real": file("real.h5ad"),
            "store": {"path": "store", "split_sha256": None},
            **inputs,
        },
        "baselines": {"fitted_on": None, "ridge_penalty": None, "cells": 1, "seed": 4, "fallback_cells": {}},
        "control_policy": "both",
        "options": {"leave_out_targets": True, "gene_sets": "sets.gmt", "engine": "pdex"},
        "current_evaluator": {"columns": "current_*", "versions": {}, "conventions": {}},
    }
    return ScoreFiles(
        path=Path("out"), summary=Summary.from_dict(summary), results=pl.DataFrame(), genes=pl.DataFrame()
    )


def evaluation(scores: ScoreFiles) -> EvaluateSettings:
    (line,) = commands(None, scores, None)
    name, *words = shlex.split(line)
    assert name == "bionemo-scale-evaluate"
    return make_settings(EvaluateSettings, evaluate.parser().parse_args(words))


def test_training_is_the_run_that_was_recorded():
    config = {"run": {"store": "s t", "out": "run", "freeze": ["encoder", "decoder"], "from_checkpoint": "before",
                      "lora": 0, "wandb": "", "overrides": {"prior": "control"}, "option_of_long_ago": 3}}  # fmt: skip
    run = RunFiles(path=Path("runs/x"), config=config, split=None, metrics={})
    preparation, training, _ = commands(run, recorded(), None)
    assert preparation.startswith("# ") and "bionemo-scale-prepare INPUT.h5ad --out 's t'" in preparation
    name, *words = shlex.split(training)
    settings = settings_from(words)
    assert name == "bionemo-scale-train" and settings.freeze == ("encoder", "decoder")
    assert settings.overrides == {"prior": "control"} and settings.store == Path("s t").resolve()


def test_paths_start_in_one_folder_also_where_the_run_was_moved(tmp_path):
    """Training recorded relative paths, evaluation absolute ones, and both folders were copied since."""
    old = "/made/here"
    config = {"run": {"store": f"{old}/store", "out": f"{old}/run", "size": "small"}}
    run = RunFiles(path=tmp_path / "run", config=config, split={"sha256": "a" * 64}, metrics={})
    inputs = {
        "pred": {"m": file(f"{old}/predicted/pred.h5ad"), "n": file("/elsewhere/n.h5ad")},
        "real": file(f"{old}/predicted/real.h5ad"),
        "store": {"path": f"{old}/store", "split_sha256": None},
    }
    scores = replace(recorded(**inputs), path=tmp_path / "scores")
    start, preparation, training, evaluation = commands(run, scores, None)
    assert start == f"cd {shlex.quote(str(tmp_path.resolve()))}" and "hash aaaaaaaaaaaa" in preparation
    assert "--store store --out run" in training
    assert "--pred predicted/pred.h5ad /elsewhere/n.h5ad" in evaluation or (
        "--pred predicted/pred.h5ad" in evaluation and "/elsewhere/n.h5ad" in evaluation
    )
    assert "--out scores" in evaluation and old not in "".join((start, preparation, training, evaluation))


def test_an_evaluation_that_was_typed_in_a_folder_above_starts_where_the_others_do(tmp_path):
    for name in ("predicted/pred.h5ad", "predicted/real.h5ad", "store/manifest.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    config = {"run": {"store": f"{tmp_path}/store", "out": f"{tmp_path}/run"}}
    run = RunFiles(path=tmp_path / "run", config=config, split=None, metrics={})
    inputs = {
        "pred": {"m": file("runs/x/predicted/pred.h5ad"), "n": file("runs/gone/n.h5ad")},
        "real": file("runs/x/predicted/real.h5ad"),
        "store": {"path": "runs/x/store", "split_sha256": None},
    }
    words = shlex.split(commands(run, replace(recorded(**inputs), path=tmp_path / "scores"), None)[-1])
    settings = make_settings(EvaluateSettings, evaluate.parser().parse_args(words[1:]))
    assert settings.pred == (Path("predicted/pred.h5ad"), Path("runs/gone/n.h5ad"))
    assert (settings.real, settings.store) == (Path("predicted/real.h5ad"), Path("store"))


def test_a_preparation_is_asked_for_as_far_as_the_store_tells(screen, tmp_path):
    screen.obs = screen.obs.rename(columns={"perturbation": "gene"})
    screen.write_h5ad(tmp_path / "a.h5ad")
    given = ["--out", str(tmp_path / "store"), "--dataset", "d", "--hvg", "7", "--perturbation-key", "gene"]
    assert prepare.main([str(tmp_path / "a.h5ad"), *given, "--dose-separator", "@", "--target-sum", "5000"]) == 0
    config = {"run": {"store": f"{tmp_path}/store", "out": f"{tmp_path}/run"}}
    run = RunFiles(path=tmp_path / "run", config=config, split=None, metrics={})
    _, preparation, training = commands(run, None, None)
    assert training.startswith("bionemo-scale-train --store store --out run")
    words = shlex.split(preparation.splitlines()[-1].removeprefix("# "))
    settings = make_settings(PrepareSettings, prepare.parser().parse_args(words[1:]))
    expected = PrepareSettings.make(
        inputs=[Path("a.h5ad")], out=Path("store"), datasets=["d"], num_hvg=7, keys=ObsKeys(perturbation="gene"),
        dose_separator="@", target_sum=5000.0,
    )  # fmt: skip
    assert settings == expected


@pytest.mark.parametrize("options", ['{"with_controls": true, "network_weight": 0.5}', "", "no json", "[1]"])
def test_a_prediction_is_asked_for_as_it_was(tmp_path, options):
    notes = {"store": f"{tmp_path}/store", "split": "val", "seed": "3", "output": "cells", "options": options}
    pred = tmp_path / "predicted" / "adata_pred.h5ad"
    pred.parent.mkdir()
    anndata.AnnData(X=np.ones((1, 1), dtype=np.float32), uns={"bionemo_scale": notes}).write_h5ad(pred)
    config = {"run": {"store": "store", "out": "run"}}
    run = RunFiles(path=tmp_path / "run", config=config, split=None, metrics={})
    (line,) = (line for line in commands(run, recorded(), pred) if line.startswith("bionemo-scale-infer"))
    settings = make_settings(InferSettings, infer.parser().parse_args(shlex.split(line)[1:]))
    expected = {"checkpoint": Path("run"), "store": Path("store"), "out": Path("predicted"), "split": "val", "seed": 3}
    assert {name: getattr(settings, name) for name in expected} == expected
    assert settings.with_controls == (settings.network_weight == 0.5) == ("true" in options)
    assert settings.chosen == {
        **({"with_controls": True, "network_weight": 0.5} if "true" in options else {}),
        **CHOSEN,
    }


CHOSEN = {"split": "val", "seed": 3}


def test_an_evaluation_is_that_of_the_scores():
    settings = evaluation(recorded())
    assert (settings.pred, settings.name) == ((Path("a b/pred.h5ad"), Path("n.h5ad")), ("m", "n"))
    assert (settings.control_policy, settings.seed, settings.evaluator) == ("both", 4, "current")
    assert settings.labels is None and settings.out == Path("out") and settings.no_baselines
    assert (settings.leave_out_targets, settings.gene_sets, settings.engine) == (True, Path("sets.gmt"), "pdex")


def test_options_of_an_evaluation_are_recorded_where_they_are_chosen():
    settings = EvaluateSettings.make(pred=["p.h5ad"], real="r.h5ad", out="out", gene_sets="sets.gmt", engine="pdex")
    scoring = settings.scoring(baselines=("control",))
    assert scoring.recorded == {"gene_sets": str(Path("sets.gmt").absolute()), "engine": "pdex"}


def test_labels_of_files_that_name_none_come_back():
    other = {**LABELS, "control": "ctrl"}
    pred = {"m": file("m.h5ad", labels=other), "n": file("n.h5ad", labels=LABELS)}
    settings = evaluation(recorded(real=file("real.h5ad", labels=LABELS), pred=pred))
    expected = FileLabels(keys=ObsKeys(perturbation="gene"), control="non-targeting", target_sum=1e4)
    assert settings.labels == settings.pred_labels[1] == expected
    assert settings.pred_labels[0].control == "ctrl"


def test_labels_of_a_prediction_beside_a_real_file_that_names_its_own():
    settings = evaluation(recorded(pred={"m": file("m.h5ad", labels=LABELS), "n": file("n.h5ad", labels=LABELS)}))
    assert settings.pred_perturbation_key == ("gene", "gene") and settings.pred_covariate_key == ()
