# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Find and read what training, inference and evaluation left on disk."""

import csv
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from bionemo.scale.eval.results import GENES, SUMMARY
from bionemo.scale.types import FileLabels, InputError, ObsKeys


@dataclass(frozen=True, kw_only=True)
class RunFiles:
    """What a run folder holds; ``None`` for what it does not."""

    path: Path
    config: dict[str, Any]
    """Of config.yaml: ``run`` and ``model``."""
    split: dict[str, Any] | None
    metrics: dict[str, list[float | None]]
    """Columns of metrics.csv; ``None`` for an empty field."""


@dataclass(frozen=True, kw_only=True)
class ScoreFiles:
    """What a result folder of bionemo-scale-evaluate holds."""

    path: Path
    summary: dict[str, Any]
    results: pl.DataFrame
    genes: pl.DataFrame


def find_run(path: Path) -> RunFiles | None:
    """Read a run folder: ``path`` itself, or ``path/run``; ``None`` where neither has a config.yaml.

    Raises:
        InputError: The folder is not there, or a file in it cannot be read.
    """
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; expected a run folder of bionemo-scale-train")
    for folder in (path, path / "run"):
        if (folder / "config.yaml").is_file():
            return _read_run(folder)
    return None


def find_scores(path: Path, given: Path | None) -> ScoreFiles:
    """Read the results: the given folder, or the first of ``path``, ``path/scores`` and ``path/../scores``.

    Raises:
        InputError: There are none, or they cannot be read.
    """
    tried = (given,) if given is not None else (path, path / "scores", path.resolve().parent / "scores")
    for folder in tried:
        if (folder / SUMMARY).is_file():
            return _read_scores(folder)
    found = ", ".join(str(folder) for folder in tried)
    raise InputError(
        f"{path}: no scores: expected {SUMMARY} of bionemo-scale-evaluate in {found}; --scores says where"
    )


def population_files(scores: ScoreFiles, pred: Path | None, real: Path | None) -> tuple[Path | None, Path | None]:
    """Return the predicted and the real h5ad: those given, or those that the scores name where they are still there.

    Raises:
        InputError: A given file is not there.
    """
    inputs = scores.summary["inputs"]
    first = next(iter(inputs["pred"].values()))["path"]
    chosen = []
    for given, named in ((pred, first), (real, inputs["real"]["path"])):
        if given is not None and not given.is_file():
            raise InputError(f"{given}: no such file; expected an h5ad")
        path = given or Path(named)
        chosen.append(path if path.is_file() else None)
    return chosen[0], chosen[1]


def file_labels(scores: ScoreFiles, target_sum: float | None) -> tuple[FileLabels | None, FileLabels | None]:
    """Return how the first predicted and the real file were read, as the scores record it.

    Args:
        scores: The results.
        target_sum: Scale of files that do not record it, if it is to be another than the scores say.
    """
    inputs = scores.summary["inputs"]
    found = []
    for file in (next(iter(inputs["pred"].values())), inputs["real"]):
        labels = None
        if "labels" in file:
            labels = FileLabels(**{**file["labels"], "keys": ObsKeys(**file["labels"]["keys"])})
        if target_sum is not None:
            labels = replace(labels or FileLabels(), target_sum=target_sum)
        found.append(labels)
    return found[0], found[1]


def _read_run(folder: Path) -> RunFiles:
    try:
        config = yaml.safe_load((folder / "config.yaml").read_text())
        split = folder / "split.json"
        return RunFiles(
            path=folder,
            config={"run": dict(config["run"]), "model": dict(config["model"])},
            split=json.loads(split.read_text()) if split.is_file() else None,
            metrics=_read_metrics(folder / "metrics.csv"),
        )
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise InputError(f"{folder}: is no run folder of bionemo-scale-train ({error!r})") from error


def _read_metrics(path: Path) -> dict[str, list[float | None]]:
    if not path.is_file():
        return {}
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if None not in row.values()]
    columns = rows[0] if rows else {}
    return {name: [float(row[name]) if row[name] else None for row in rows] for name in columns}


def _read_scores(folder: Path) -> ScoreFiles:
    try:
        summary = json.loads((folder / SUMMARY).read_text())
        for key in ("models", "names", "contexts", "inputs", "against_best_baseline", "current_evaluator"):
            summary[key]
        return ScoreFiles(
            path=folder,
            summary=summary,
            results=pl.read_csv(folder / "results.csv", infer_schema_length=None),
            genes=pl.read_parquet(folder / GENES),
        )
    except (OSError, ValueError, KeyError, pl.exceptions.PolarsError) as error:
        raise InputError(
            f"{folder}: is no result folder of this version of bionemo-scale-evaluate ({error!r}); evaluate again"
        ) from error
