# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The result folder: cell-eval's tables under STATE's names, all models in one table, a summary that survives NaN.

Files are written into a sibling folder and moved when everything is there; files of an earlier evaluation that the
new one has not are removed, files of others are left alone.
"""

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import polars as pl

from bionemo.scale.eval.scoring import KEYS, ContextScores
from bionemo.scale.types import InputError


SUMMARY = "summary.json"


@dataclass(frozen=True, kw_only=True)
class MetricSummary:
    """One metric of one model over all (context, perturbation) pairs."""

    mean: float | None
    """Mean of the defined values, every pair weighing the same; ``None`` without any."""
    n: int
    """Pairs with a value."""
    undefined: int
    """Pairs without."""


def summarise(scores: pl.DataFrame) -> dict[str, dict[str, MetricSummary]]:
    """Return model to metric to its summary, models in order of appearance."""
    names = metric_names(scores)
    summaries = {}
    for (model,), frame in scores.group_by("model", maintain_order=True):
        summaries[str(model)] = {
            name: MetricSummary(
                mean=frame[name].mean(), n=frame.height - frame[name].null_count(), undefined=frame[name].null_count()
            )
            for name in names
        }
    return summaries


def metric_names(scores: pl.DataFrame) -> list[str]:
    """Return the metric columns of a results table."""
    return [name for name in scores.columns if name not in KEYS]


def aggregate(scores: pl.DataFrame) -> pl.DataFrame:
    """Describe each model's metrics as cell-eval does: count, null_count, mean, std, min, quartiles, max."""
    described = [
        frame.select(metric_names(scores)).describe().insert_column(0, pl.lit(model).alias("model"))
        for (model,), frame in scores.group_by("model", maintain_order=True)
    ]
    return pl.concat(described)


class ResultFolder:
    """Collects an evaluation's files; they appear under ``out`` only when :meth:`finish` is reached.

    Use as a context manager: leaving it by an exception leaves nothing behind.
    """

    def __init__(self, out: Path):
        self.out = out
        self._scores: list[pl.DataFrame] = []
        self._used = {"agg"}
        check_out(out)
        out.parent.mkdir(parents=True, exist_ok=True)
        self.staging = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".tmp", dir=out.parent))

    def __enter__(self) -> "ResultFolder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self.staging, ignore_errors=True)

    def add(self, scores: ContextScores) -> None:
        """Write a context's own files and keep its scores."""
        prefix = self._prefix(scores.context)
        for name, frame in (
            ("results", scores.first_results),
            ("agg_results", scores.first_results.drop("perturbation").describe()),
            ("real_de", scores.de_real),
            ("pred_de", scores.de_pred),
        ):
            frame.write_csv(self.staging / f"{prefix}_{name}.csv")
        self._scores.append(scores.scores)

    def scores(self) -> pl.DataFrame:
        """Return the scores of all contexts, models in order, then contexts."""
        table = pl.concat(self._scores)
        order = {name: index for index, name in enumerate(table["model"].unique(maintain_order=True))}
        return table.sort(pl.col("model").replace_strict(order), "context", "perturbation", maintain_order=True)

    def finish(self, summary: dict[str, Any]) -> None:
        """Write the tables of all contexts and the summary, and move everything to ``out``."""
        scores = self.scores()
        scores.write_csv(self.staging / "results.csv")
        aggregate(scores).write_csv(self.staging / "agg_results.csv")
        files = sorted([*(path.name for path in self.staging.iterdir()), SUMMARY])
        (self.staging / SUMMARY).write_text(json.dumps({**summary, "files": files}, indent=2, allow_nan=False) + "\n")
        _publish(self.staging, self.out, files)

    def _prefix(self, context: str) -> str:
        """Return the context as a file name; as in cell-eval, slashes become dashes."""
        plain = context.replace("/", "-").replace(os.sep, "-").replace("\0", "-")
        prefix, number = plain, 1
        while prefix in self._used:
            number += 1
            prefix = f"{plain}_{number}"
        self._used.add(prefix)
        return prefix


def check_out(out: Path) -> None:
    """Refuse a result folder that cannot be one.

    Raises:
        InputError: ``out`` or one of its parents is a file.
    """
    for path in (out, *out.parents):
        if path.exists():
            if not path.is_dir():
                raise InputError(f"{out}: expected a folder for the results, found that {path} is a file")
            return


def _publish(staging: Path, out: Path, files: list[str]) -> None:
    if not out.exists():
        os.chmod(staging, 0o777 & ~_umask())
        os.replace(staging, out)
        return
    earlier = _files_of(out / SUMMARY)
    # The summary goes last: it vouches for the others.
    for name in sorted(files, key=lambda name: name == SUMMARY):
        os.replace(staging / name, out / name)
    for name in set(earlier) - set(files):
        (out / name).unlink(missing_ok=True)


def _files_of(summary: Path) -> list[str]:
    try:
        listed = json.loads(summary.read_text())["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [name for name in listed if isinstance(name, str) and Path(name).name == name]


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
