# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Find and read what training, inference and evaluation left on disk."""

import csv
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from bionemo.scale.eval.output.results import GENE_SETS, GENES, SUMMARY
from bionemo.scale.eval.output.summary import InputFile, Summary
from bionemo.scale.eval.page.embedding import CellFiles
from bionemo.scale.files.provenance import hash_file
from bionemo.scale.files.text import read_json, read_yaml
from bionemo.scale.files.url import Url, path_or_url
from bionemo.scale.types import FileLabels, InputError, from_plain


_LABELS = ("model", "context", "perturbation")
SET_SCORES = ("score_pred", "score_real", "fdr_pred", "fdr_real")
"""Numbers of a gene set."""


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
    summary: Summary
    results: pl.DataFrame
    genes: pl.DataFrame
    """Labels are categories, and numbers as narrow as they are stored: a large screen has millions of rows."""
    gene_sets: pl.DataFrame | None = None
    """Scores of gene sets; ``None`` where none were scored."""


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
    folder = score_folder(path, given)
    if folder is not None:
        return _read_scores(folder)
    found = ", ".join(str(folder) for folder in _tried(path, given))
    raise InputError(
        f"{path}: no scores: expected {SUMMARY} of bionemo-scale-evaluate in {found}; --scores says where"
    )


def score_folder(path: Path, given: Path | None) -> Path | None:
    """Return where :func:`find_scores` finds results; ``None`` where there are none."""
    return next((folder for folder in _tried(path, given) if (folder / SUMMARY).is_file()), None)


def _tried(path: Path, given: Path | None) -> tuple[Path, ...]:
    return (given,) if given is not None else (path, path / "scores", path.resolve().parent / "scores")


def cell_files(
    scores: ScoreFiles, *, pred: Path | None, real: Path | None, target_sum: float | None
) -> CellFiles | None:
    """Return the predicted and real h5ad files: those given, or those that the scores name, also where they moved.

    Args:
        scores: The results.
        pred: File of the first model.
        real: File of the real cells.
        target_sum: Scale of files that do not record it, if it is to be another than the scores say.

    Returns:
        ``None`` where the real file or all predicted ones are gone.

    Raises:
        InputError: A given file is not there.
    """
    for given in (pred, real):
        if given is not None and not given.exists():
            raise InputError(f"{given}: no such file; expected an h5ad or a zarr store")
    inputs, folder = scores.summary.inputs, scores.path.resolve()
    first = next(iter(inputs.pred))
    found = {name: pred if pred and name == first else _find(file, folder) for name, file in inputs.pred.items()}
    there = {name: path for name, path in found.items() if path is not None}
    measured = real or _find(inputs.real, folder)
    if measured is None or not there:
        return None

    def labels_of(file: InputFile) -> FileLabels | None:
        return file.labels if target_sum is None else replace(file.labels or FileLabels(), target_sum=target_sum)

    return CellFiles(
        pred=there,
        real=measured,
        labels={name: labels_of(inputs.pred[name]) for name in there},
        real_labels=labels_of(inputs.real),
    )


def _find(named: InputFile, scores: Path) -> Path | None:
    """Return the file that the scores name, at its path relative to them or as recorded, if its sha256 is the same."""
    path = path_or_url(named.path)
    if isinstance(path, Url):
        return path if path.exists() and hash_file(path) == named.sha256 else None
    tails = [Path(*path.parts[-length:]) for length in range(min(3, len(path.parts)), 0, -1)]
    # A copied folder has its own: they come before those of the folder it was copied from.
    moved = [folder / tail for folder in (scores, *scores.parents[:3]) for tail in tails if not tail.is_absolute()]
    places = (place for place in (*moved, path) if place.exists() and hash_file(place) == named.sha256)
    return next(places, None)


def name_of_data(run: RunFiles | None, scores: ScoreFiles) -> str:
    """Return the names of the data sets of a run, else the folder and name of the real file."""
    if named := data_sets(run):
        return named
    real = Path(scores.summary.inputs.real.path)
    return f"{real.parent.name}/{real.name}" if real.parent.name else real.name


def data_sets(run: RunFiles | None) -> str:
    """Return the names of the data sets of a run's split; empty where it says none."""
    if run is None or run.split is None or "dataset" not in run.split["columns"]:
        return ""
    column = run.split["columns"].index("dataset")
    return ", ".join(dict.fromkeys(str(row[column]) for row in run.split["conditions"]))


def _read_run(folder: Path) -> RunFiles:
    try:
        config = read_yaml(folder / "config.yaml")
        split = folder / "split.json"
        return RunFiles(
            path=folder,
            config={"run": dict(config["run"]), "model": dict(config["model"])},
            split=_read_split(split) if split.is_file() else None,
            metrics=_read_metrics(folder / "metrics.csv"),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder}: is no run folder of bionemo-scale-train ({error!r})") from error


def _read_split(path: Path) -> dict[str, Any]:
    """Return a resolved split, of which pages show the counts."""
    split = from_plain(dict[str, Any], read_json(path), path.name)
    from_plain(dict[str, dict[str, int]], split["counts"], "counts")
    return split


def _read_metrics(path: Path) -> dict[str, list[float | None]]:
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if None not in row.values()]
    columns = rows[0] if rows else {}
    return {name: [float(row[name]) if row[name] else None for row in rows] for name in columns}


def _numbers(table: pl.DataFrame, labels: tuple[str, ...]) -> pl.DataFrame:
    """Return a table whose label columns are text and whose other columns are numbers, for the report."""
    return table.with_columns(pl.col(labels).cast(pl.String), pl.exclude(labels).cast(pl.Float64))


def _read_scores(folder: Path) -> ScoreFiles:
    try:
        return ScoreFiles(
            path=folder,
            summary=Summary.from_dict(read_json(folder / SUMMARY)),
            results=_numbers(pl.read_csv(folder / "results.csv", infer_schema_length=None), _LABELS),
            genes=_read_genes(folder / GENES),
            gene_sets=_read_gene_sets(folder / GENE_SETS),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, pl.exceptions.PolarsError) as error:
        raise InputError(
            f"{folder}: is no result folder of this version of bionemo-scale-evaluate ({error!r}); evaluate again"
        ) from error


def _read_genes(path: Path) -> pl.DataFrame:
    """Read the gene table column by column, so that no more than one is in memory as text."""
    columns = []
    for name in pl.read_parquet_schema(path):
        column = pl.read_parquet(path, columns=[name]).to_series()
        if name in (*_LABELS, "gene"):
            columns.append(column.cast(pl.String).cast(pl.Categorical))
        else:
            columns.append(column if column.dtype == pl.Float32 else column.cast(pl.Float64))
    return pl.DataFrame(columns)


def _read_gene_sets(path: Path) -> pl.DataFrame | None:
    if not path.is_file():
        return None
    found = _numbers(pl.read_csv(path, infer_schema_length=None), (*_LABELS, "gene_set"))
    return found.select(*_LABELS, "gene_set", "num_genes", *SET_SCORES, "same_direction")
