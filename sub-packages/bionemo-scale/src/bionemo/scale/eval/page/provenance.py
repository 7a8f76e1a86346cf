# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""How to get the page again: commands put together from what every step recorded."""

import shlex
from pathlib import Path
from typing import Any

from bionemo.scale.eval.page.sources import RunFiles, ScoreFiles
from bionemo.scale.files.checked_anndata import CheckedAnnData


def commands(run: RunFiles | None, scores: ScoreFiles, pred: Path | None) -> list[str]:
    """Return the commands that make the run, the prediction and the scores, as far as they are recorded."""
    found = []
    if run is not None:
        found.append(_train(run))
    notes = {} if pred is None else file_notes(pred)
    if run is not None and "split" in notes and "store" in notes:
        options = ["--checkpoint", str(run.path), "--store", notes["store"], "--split", notes["split"]]
        found.append(_line("bionemo-scale-infer", *options, "--out", str(pred.parent)))
    return [*found, _evaluate(scores)]


def file_notes(path: Path) -> dict[str, str]:
    """Return what uns["bionemo_scale"] of an h5ad says, without the data card; empty where it says nothing."""
    with CheckedAnnData(path) as file:
        own = file.element("uns/bionemo_scale") or {}
    return {name: str(value) for name, value in own.items() if name != "card"}


def _train(run: RunFiles) -> str:
    options: list[str] = []
    for name, value in run.config["run"].items():
        options += _options(name, value)
    return _line("bionemo-scale-train", *options)


def _options(name: str, value: Any) -> list[str]:
    if name == "overrides":
        return [part for key, setting in (value or {}).items() for part in ("--set", f"{key}={setting}")]
    flag = "--" + name.replace("_", "-")
    if value is None or value is False or value in ("", [], {}):
        return []
    return [flag] if value is True else [flag, str(value)]


def _evaluate(scores: ScoreFiles) -> str:
    summary = scores.summary
    options: list[str] = []
    for name, file in summary["inputs"]["pred"].items():
        options += ["--pred", file["path"], "--name", name]
    options += ["--real", summary["inputs"]["real"]["path"], *_label_options(summary["inputs"])]
    if summary["inputs"]["store"] is not None:
        options += ["--store", summary["inputs"]["store"]["path"]]
    options += ["--control-policy", summary["control_policy"], "--seed", str(summary["baselines"]["seed"])]
    if summary["current_evaluator"] is not None:
        options += ["--evaluator", "current"]
    return _line("bionemo-scale-evaluate", *options, "--out", str(scores.path))


def _label_options(inputs: dict[str, Any]) -> list[str]:
    """Return the options that name columns, controls and scale, of predictions where they are not the real file's."""
    real = _labels(inputs["real"])
    options = [part for name, value in real.items() for part in (f"--{name}", str(value))]
    predicted = [_labels(file) or real for file in inputs["pred"].values()]
    for name in dict.fromkeys(name for labels in predicted for name in labels):
        values = [labels.get(name, real.get(name)) for labels in predicted]
        if any(value != real.get(name) for value in values):
            options += [part for value in values for part in (f"--pred-{name}", str(value))]
    return options


def _labels(file: dict[str, Any]) -> dict[str, Any]:
    if "labels" not in file:
        return {}
    labels = file["labels"]
    found = {f"{name.replace('_', '-')}-key": key for name, key in labels["keys"].items()}
    return {**found, "control": labels["control"], "target-sum": labels["target_sum"]}


def _line(*parts: str) -> str:
    return " ".join(shlex.quote(part) for part in parts)
