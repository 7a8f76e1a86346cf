# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""How to make a run and its scores again: the commands of what every step recorded."""

import contextlib
import dataclasses
import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bionemo.scale.data.prepare.settings import PrepareSettings
from bionemo.scale.data.store.format import MANIFEST_NAME
from bionemo.scale.eval.output.summary import InputFile, Inputs, Summary
from bionemo.scale.eval.page.provenance import file_notes
from bionemo.scale.eval.page.sources import RunFiles, ScoreFiles
from bionemo.scale.eval.settings import EvaluateSettings
from bionemo.scale.files.text import read_json
from bionemo.scale.infer.settings import InferSettings
from bionemo.scale.options.arguments import arguments_of
from bionemo.scale.options.settings import Settings
from bionemo.scale.train.settings import TrainSettings
from bionemo.scale.types import DataCard, ExpressionScale, FileLabels, InputError


_OF_CARD = ("combination_separator", "dose_separator", "whole_agents", "matrix", "gene_key")
_DEFAULTS = {"target_sum": ExpressionScale().target_sum} | {
    field.name: field.default for field in dataclasses.fields(PrepareSettings) if field.name != "target_sum"
}


def commands(run: RunFiles | None, scores: ScoreFiles | None, pred: Path | None) -> list[str]:
    """Return the commands that make the run, the prediction and the scores, as far as they are recorded.

    Paths are relative to the folder that the commands were started in, where it shows.

    Args:
        run: The training; ``None`` leaves it out, and its prediction.
        scores: The evaluation; ``None`` leaves it out.
        pred: A predicted h5ad, for the options of the prediction.
    """
    notes = {} if pred is None else file_notes(pred)
    if run is None:
        return [] if scores is None else [_line("evaluate", EvaluateSettings, _evaluation(scores))]
    roots = _roots(run, notes)
    found = [_line("train", TrainSettings, _relative(run.config["run"], roots))]
    if "split" in notes and "store" in notes and pred is not None:
        prediction: dict[str, Any] = {"checkpoint": run.path.resolve(), "out": pred.resolve().parent}
        prediction |= {name: notes[name] for name in ("store", "split", "seed", "output") if name in notes}
        prediction |= _options(notes)
        found.append(_line("infer", InferSettings, _relative(prediction, roots)))
    if scores is not None:
        evaluation = {**_evaluation(scores), "out": scores.path.resolve()}
        found.append(_line("evaluate", EvaluateSettings, _relative(_found_below(evaluation, roots), roots)))
    start = [f"cd {shlex.quote(str(roots[0]))}"] if roots else []
    return [*start, _preparation(run, roots), *found]


def _options(notes: Mapping[str, str]) -> dict[str, Any]:
    """Return what else a prediction was asked for; nothing of earlier releases, which did not write it."""
    found = None
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(notes.get("options", ""))
    return found if isinstance(found, dict) else {}


def _preparation(run: RunFiles, roots: list[Path]) -> str:
    """Return the command that made the store, as far as the store tells; the rest stands in a comment above it."""
    store = _relative({"store": run.config["run"].get("store", "STORE")}, roots)["store"]
    values = {"inputs": ["INPUT.h5ad"], **_prepared(store, roots), "out": store}
    values |= {} if run.split is None else {"split": "SPLIT.toml"}
    split = "" if run.split is None else f" (SPLIT.toml of hash {run.split['sha256'][:12]})"
    return (
        f"# Put in the paths of the inputs and of the split file{split}.\n"
        "# No file records --hvg-factor, --join, --knockdown, --values, --least-shared-genes and --codec. Add those "
        "that you gave.\n"
        f"# {_line('prepare', PrepareSettings, values)}"
    )


def _prepared(store: str, roots: list[Path]) -> dict[str, Any]:
    """Return the settings of a preparation that its store shows, where they are no defaults; {} if it is gone."""
    folder = next((path for path in (root / store for root in roots) if (path / MANIFEST_NAME).is_file()), None)
    if folder is None:
        return {}
    with contextlib.suppress(InputError, OSError, KeyError, TypeError, ValueError):
        manifest = read_json(folder / MANIFEST_NAME)
        card, inputs = DataCard.from_dict(manifest["card"]), manifest["inputs"]
        most = max(int(item["num_genes"]) for item in inputs)
        found = {
            "inputs": [str(item["name"]) for item in inputs],
            "datasets": _once_if_equal([str(item["dataset"]) for item in inputs]),
            "keys": card.keys,
            "controls": card.all_controls,
            "num_hvg": len(card.genes) if len(card.genes) < most else 0,
            **{name: getattr(card, name) for name in _OF_CARD},
            **{name: getattr(card.scale, name) for name in ("target_sum", "library_size_key")},
        }
        return {name: value for name, value in found.items() if value != _DEFAULTS.get(name)}
    return {}


def _once_if_equal(names: list[str]) -> list[str]:
    """Return what ``prepare`` takes: one name for all inputs, or one for each."""
    return names[:1] if len(set(names)) == 1 else names


def _found_below(values: Mapping[str, Any], roots: list[Path]) -> dict[str, Any]:
    """Return values with relative paths as they are seen from the first root, where its folder has such a file.

    An evaluation records paths as they were typed, perhaps in a folder above.
    """

    def placed(path: str) -> str:
        parts = Path(path).parts
        tails = (Path(*parts[row:]) for row in range(len(parts)))
        return str(next((tail for tail in tails if roots and (roots[0] / tail).exists()), path))

    paths = {name: values[name] for name in ("real", "store", "gene_sets") if values.get(name)}
    return {**values, "pred": [placed(path) for path in values["pred"]], **{n: placed(v) for n, v in paths.items()}}


def _roots(run: RunFiles, notes: Mapping[str, str]) -> list[Path]:
    """Return where the run is now and where it was made: the folders that relative paths of its settings start in."""
    settings = run.config["run"]
    found = []
    for here, recorded in ((run.path.resolve(), settings.get("out")), (notes.get("store"), settings.get("store"))):
        if here is None or recorded is None:
            continue
        place, tail = Path(here), Path(str(recorded))
        tail = Path(tail.name) if tail.is_absolute() else tail
        if place.parts[-len(tail.parts) :] == tail.parts:
            found.append(Path(*place.parts[: -len(tail.parts)]))
    for name in ("out", "store"):
        if Path(str(settings.get(name, ""))).is_absolute():
            found.append(Path(str(settings[name])).parent)
    return list(dict.fromkeys(found))


def _relative(values: Mapping[str, Any], roots: list[Path]) -> dict[str, Any]:
    """Return values with paths below a root as they are seen from it."""

    def shown(value: Any) -> Any:
        if isinstance(value, list):
            return [shown(item) for item in value]
        if isinstance(value, str | Path) and Path(value).is_absolute():
            inside = (Path(value).relative_to(root) for root in roots if Path(value).is_relative_to(root))
            return str(next(inside, value))
        return value

    return {name: shown(value) for name, value in values.items()}


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
        "evaluator": _evaluator(summary),
        "no_baselines": not summary.names.baselines and not summary.names.ceiling,
        **summary.options,
        "out": scores.path,
        **_fields(inputs.real.labels),
        **_labels_of_predictions(inputs),
    }


def _evaluator(summary: Summary) -> str | None:
    if summary.second_evaluator is not None:
        return "cell-eval2"
    return None if summary.current_evaluator is None else "current"


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
    keys = {f"{name}_key": column for name, column in asdict(file.labels.keys).items() if column}
    return {**keys, **{name: getattr(file.labels, name) for name in ("control", "target_sum", "values")}}
