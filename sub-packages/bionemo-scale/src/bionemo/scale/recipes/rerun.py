# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""How to make a run and its scores again: the commands of what every step recorded."""

import shlex
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bionemo.scale.eval.output.summary import InputFile, Inputs
from bionemo.scale.eval.page.provenance import file_notes
from bionemo.scale.eval.page.sources import RunFiles, ScoreFiles
from bionemo.scale.eval.settings import EvaluateSettings
from bionemo.scale.infer.settings import InferSettings
from bionemo.scale.options.arguments import arguments_of
from bionemo.scale.options.settings import Settings
from bionemo.scale.train.settings import TrainSettings
from bionemo.scale.types import FileLabels


def commands(run: RunFiles | None, scores: ScoreFiles, pred: Path | None) -> list[str]:
    """Return the commands that make the run, the prediction and the scores, as far as they are recorded."""
    lines = []
    if run is not None:
        lines.append(_line("train", TrainSettings, run.config["run"]))
    notes = {} if pred is None else file_notes(pred)
    if run is not None and "split" in notes and "store" in notes:
        prediction = {"checkpoint": run.path, "store": notes["store"], "split": notes["split"], "out": pred.parent}
        lines.append(_line("infer", InferSettings, prediction))
    return [*lines, _line("evaluate", EvaluateSettings, _evaluation(scores))]


def _line(command: str, settings_class: type[Settings], values: Mapping[str, Any]) -> str:
    return shlex.join([f"bionemo-scale-{command}", *arguments_of(settings_class, values)])


def _evaluation(scores: ScoreFiles) -> dict[str, Any]:
    summary, inputs = scores.summary, scores.summary.inputs
    return {
        "pred": [file.path for file in inputs.pred.values()],
        "name": list(inputs.pred),
        "real": inputs.real.path,
        "store": None if inputs.store is None else inputs.store.path,
        "control_policy": summary.control_policy,
        "seed": summary.baselines.seed,
        "evaluator": None if summary.current_evaluator is None else "current",
        "out": scores.path,
        **_fields(inputs.real.labels),
        **_labels_of_predictions(inputs),
    }


def _fields(labels: FileLabels | None) -> dict[str, Any]:
    return {} if labels is None else asdict(labels)


def _labels_of_predictions(inputs: Inputs) -> dict[str, list]:
    """Return what labels the cells of each prediction, where that is not what labels the real file's."""
    real = _labels(inputs.real)
    predicted = [_labels(file) or real for file in inputs.pred.values()]
    options = {}
    for name in dict.fromkeys(name for labels in predicted for name in labels):
        values = [labels.get(name, real.get(name)) for labels in predicted]
        if any(value != real.get(name) for value in values):
            options[f"pred_{name}"] = values
    return options


def _labels(file: InputFile) -> dict[str, Any]:
    if file.labels is None:
        return {}
    keys = {f"{name}_key": column for name, column in asdict(file.labels.keys).items()}
    return {**keys, **{name: getattr(file.labels, name) for name in ("control", "target_sum", "values")}}
