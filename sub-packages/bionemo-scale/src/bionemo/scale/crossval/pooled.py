# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The scores of all folds together: every fold counts the same, whatever its size."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from bionemo.scale.crossval.crossval import RUN, SCORES, Crossval
from bionemo.scale.eval.metrics.catalogue import BY_COLUMN, loss
from bionemo.scale.eval.metrics.intervals import COVERAGE, FoldDifference, fold_interval, verdict_of
from bionemo.scale.eval.metrics.ranking import best_of
from bionemo.scale.eval.output.summarise import metric_names
from bionemo.scale.eval.output.summary import MetricSummary, Summary, only_fallbacks
from bionemo.scale.eval.output.table import Summaries, comparisons, in_columns, render_table
from bionemo.scale.eval.scores.task import CEILING
from bionemo.scale.files.network_weight import measured_weight
from bionemo.scale.files.provenance import versions_of
from bionemo.scale.files.text import read_json
from bionemo.scale.files.writing.atomic import atomic, write_text
from bionemo.scale.types import InputError


ESTIMATE = "mixed_model"
"""Where there is no network, the classical method that is compared with the others."""
_BY_FOLD = ("pearson_delta", "mse")
"""Columns that are shown for each fold."""


@dataclass(frozen=True, kw_only=True)
class ScoredFold:
    """A finished fold."""

    name: str
    scores: pl.DataFrame
    """One row per model, context and perturbation."""
    summary: Summary
    network_weight: float | None = None
    """As the fold's training measured it."""


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """What the folds say together."""

    folds: tuple[ScoredFold, ...]
    models: dict[str, dict[str, MetricSummary]]
    """Model, baseline or ceiling to column to its summary over folds."""
    against_best_baseline: dict[str, dict[str, FoldDifference]]
    """Model to column; empty for fewer than three folds."""
    unranked_baselines: tuple[str, ...]
    """Baselines that used their fallback for every cell of every fold."""
    rivals: tuple[str, ...]
    """Baselines that models are compared with."""

    @property
    def scores(self) -> pl.DataFrame:
        """Rows of all folds, the name of the fold first."""
        return pl.concat(
            [fold.scores.insert_column(0, pl.lit(fold.name).alias("fold")) for fold in map(_copy, self.folds)],
            how="diagonal_relaxed",
        )

    @property
    def table(self) -> str:
        """Text for a terminal."""
        parts = [
            f"means over {len(self.folds)} folds, each of which counts the same",
            render_table(self.models, ceiling=CEILING, fallbacks=self.unranked_baselines, over="folds"),
            *comparisons(self.against_best_baseline, interval="95 % intervals over folds (Student's t)"),
        ]
        if not self.against_best_baseline:
            parts.append("\nno intervals: fewer than three folds")
        return "\n".join([*parts, "", *self._fold_lines()])

    def _fold_lines(self) -> list[str]:
        compared, columns = compared_models(self.folds), []
        for column in _BY_FOLD:
            rival = _rival(self.models, self.rivals, column)
            names = [*compared, *([rival] if rival else []), *([CEILING] if CEILING in self.models else [])]
            columns += [(column, name) for name in names]
        header = ["fold", "pairs", "weight", *(f"{name} {BY_COLUMN[column].name}" for column, name in columns)]
        return in_columns(header, [self._fold_row(fold, columns) for fold in self.folds])

    @staticmethod
    def _fold_row(fold: ScoredFold, columns: Sequence[tuple[str, str]]) -> list[str]:
        means = fold.summary.means
        values = [(means.get(name, {}).get(column), BY_COLUMN[column].digits) for column, name in columns]
        weight = "-" if fold.network_weight is None else f"{fold.network_weight:.2f}"
        return [
            fold.name,
            str(fold.summary.pairs),
            weight,
            *("-" if value is None else f"{value:.{digits}f}" for value, digits in values),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return dicts and lists, ready for JSON."""
        return {
            "models": {
                name: {column: asdict(item) for column, item in row.items()} for name, row in self.models.items()
            },
            "against_best_baseline": {
                name: {column: asdict(item) for column, item in row.items()}
                for name, row in self.against_best_baseline.items()
            },
            "unranked_baselines": list(self.unranked_baselines),
            "folds": [
                {"name": fold.name, "pairs": fold.summary.pairs, "network_weight": fold.network_weight}
                for fold in self.folds
            ],
            "conventions": {
                "mean": "each fold has the mean over its (context, perturbation) pairs with a value; every fold "
                "counts the same",
                "interval": f"{COVERAGE:.0%}, Student's t over folds, which share training data",
                "against_best_baseline": "fold by fold, over pairs that both have; the baseline "
                "with the best mean over folds",
            },
            "versions": versions_of(("bionemo-scale", "cell-eval", "numpy", "torch")),
        }


def _copy(fold: ScoredFold) -> ScoredFold:
    # polars inserts in place.
    return ScoredFold(name=fold.name, scores=fold.scores.clone(), summary=fold.summary)


def read_folds(crossval: Crossval) -> tuple[ScoredFold, ...]:
    """Read the scores of all folds.

    Raises:
        InputError: A fold is not finished.
    """
    missing = [fold.name for number, fold in enumerate(crossval.folds) if not crossval.is_finished(number)]
    if missing:
        raise InputError(
            f"{crossval.out}: expected {len(crossval.folds)} finished folds, found "
            f"{len(crossval.folds) - len(missing)}; the first that is missing is {missing[0]!r}"
        )
    return tuple(read_fold(fold.name, folder) for fold, folder in zip(crossval.folds, crossval.folders, strict=True))


def read_fold(name: str, folder: Path) -> ScoredFold:
    """Read the scores of a fold.

    Raises:
        InputError: They are damaged.
    """
    scores = folder / SCORES
    try:
        summary = Summary.from_dict(read_json(scores / "summary.json"))
        table = pl.read_csv(
            scores / "results.csv",
            infer_schema_length=None,
            schema_overrides={"context": pl.String, "perturbation": pl.String, "model": pl.String},
        )
    except (KeyError, TypeError, OSError, pl.exceptions.PolarsError) as error:
        raise InputError(
            f"{scores}: cannot be read as scores: {error!r}; remove it to score the fold again"
        ) from error
    weight = None
    if (folder / RUN).is_dir():
        measured = measured_weight(folder / RUN)
        weight = None if measured is None else measured.network_weight
    return ScoredFold(name=name, scores=table, summary=summary, network_weight=weight)


def pool(folds: Sequence[ScoredFold]) -> Pooled:
    """Put the scores of folds together."""
    first = folds[0].summary
    compared = compared_models(folds)
    counts: Counter[str] = Counter()
    for fold in folds:
        counts.update(fold.summary.baselines.fallback_cells)
    unranked = only_fallbacks(counts, num_cells=sum(fold.summary.baselines.cells for fold in folds))
    rivals = tuple(name for name in first.names.baselines if name not in (*compared, *unranked))
    columns = metric_names(folds[0].scores)
    order = [*first.names.models, *first.names.baselines, *([CEILING] if _has_ceiling(folds) else [])]
    models = {name: {column: _summarise(folds, name, column) for column in columns} for name in order}
    against: dict[str, dict[str, FoldDifference]] = {}
    for column in columns:
        rival = _rival(models, rivals, column)
        if rival is None:
            continue
        for name in compared:
            difference = _difference(folds, name, rival, column=column)
            if difference is not None:
                against.setdefault(name, {})[column] = difference
    return Pooled(
        folds=tuple(folds), models=models, against_best_baseline=against, unranked_baselines=unranked, rivals=rivals
    )


def compared_models(folds: Sequence[ScoredFold]) -> list[str]:
    """Return what is compared with the baselines: the models or, without any, the classical estimate."""
    names = folds[0].summary.names
    return list(names.models) or [name for name in (ESTIMATE,) if name in names.baselines]


def write_pooled(crossval: Crossval, pooled: Pooled) -> None:
    """Write scores.csv and summary.json."""
    with atomic(crossval.out / "scores.csv") as temporary:
        pooled.scores.write_csv(temporary)
    described = {"leave_out": crossval.settings.leave_out, "command": crossval.words(fold=None), **pooled.to_dict()}
    for entry, fold, folder in zip(described["folds"], crossval.folds, crossval.folders, strict=True):
        entry |= {"left_out": [list(unit) for unit in fold.units], "folder": str(folder.relative_to(crossval.out))}
    write_text(crossval.out / "summary.json", json.dumps(described, indent=1, allow_nan=False) + "\n")


def _has_ceiling(folds: Sequence[ScoredFold]) -> bool:
    return any(CEILING in fold.summary.models for fold in folds)


def _rival(models: Summaries, rivals: Sequence[str], column: str) -> str | None:
    """Return the baseline with the best mean."""
    if column not in BY_COLUMN or BY_COLUMN[column].best not in ("high", "low"):
        return None
    means = {name: {each: item.mean for each, item in models[name].items()} for name in rivals}
    return best_of(rivals, BY_COLUMN[column], means)


def _summarise(folds: Sequence[ScoredFold], name: str, column: str) -> MetricSummary:
    found = [fold.summary.models[name][column] for fold in folds if name in fold.summary.models]
    values = np.array([item.mean for item in found if item.mean is not None])
    why: Counter[str] = Counter()
    for item in found:
        why.update(item.why if item.mean is None else {})
    return MetricSummary(
        mean=float(values.mean()) if len(values) else None,
        n=len(values),
        undefined=len(folds) - len(values),
        why=dict(why),
        interval=fold_interval(values),
    )


def _difference(folds: Sequence[ScoredFold], model: str, baseline: str, *, column: str) -> FoldDifference | None:
    keys = ["context", "perturbation"]
    found = []
    for fold in folds:
        ours, theirs = (
            fold.scores.filter(pl.col("model") == name).select(*keys, value=column) for name in (model, baseline)
        )
        both = ours.join(theirs, on=keys, suffix="_baseline").drop_nulls()
        if both.height:
            found.append(float((both["value"] - both["value_baseline"]).mean()))
    interval = fold_interval(np.array(found))
    if interval is None:
        return None
    return FoldDifference(
        baseline=baseline,
        difference=float(np.mean(found)),
        low=interval.low,
        high=interval.high,
        verdict=verdict_of(interval.low, interval.high, column),
        folds=len(found),
        ahead=sum(loss(value, BY_COLUMN[column].best) < 0 for value in found),
    )
