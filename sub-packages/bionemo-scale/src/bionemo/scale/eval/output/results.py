# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The result folder: cell-eval's tables under STATE's names, all models in one table, a summary that survives NaN.

Files are written into a sibling folder and moved when everything is there; files of an earlier evaluation that the
new one has not are removed, files of others are left alone.
"""

import contextlib
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import polars as pl

from bionemo.scale.eval.metrics.many.gene_tests import GeneTests
from bionemo.scale.eval.output.gene_table import GeneTable
from bionemo.scale.eval.output.summarise import metric_names
from bionemo.scale.eval.scores.scoring import ContextScores, Shift
from bionemo.scale.files.names import file_name
from bionemo.scale.files.text import read_json
from bionemo.scale.files.writing.atomic import remove_leftovers, temporary_name
from bionemo.scale.files.writing.lock import sole_writer
from bionemo.scale.types import InputError


SUMMARY = "summary.json"
GENES = "genes.parquet"
"""Predicted and observed change, how sure both are, and adjusted p-values, of every gene, pair and model."""
GENE_SETS = "gene_sets.csv"
"""Predicted and observed score of every gene set, pair and model, where sets were scored."""
CELL_EVAL2 = "cell_eval2.csv"
"""cell-eval2's value of each model, context and metric over all perturbations, and its place on the scale."""


def aggregate(scores: pl.DataFrame) -> pl.DataFrame:
    """Describe each model's metrics as cell-eval does: count, null_count, mean, std, min, quartiles, max."""
    names, value = metric_names(scores), pl.col("value")
    # All columns as one: polars plans a query for each, which took longer than to answer them.
    long = scores.unpivot(names, index="model", variable_name="metric").with_columns(value.cast(pl.Float64))
    described = long.group_by("model", "metric", maintain_order=True).agg(
        value.count().cast(pl.Float64).alias("count"),
        value.null_count().cast(pl.Float64).alias("null_count"),
        value.mean().alias("mean"),
        value.std().alias("std"),
        value.min().alias("min"),
        *(value.quantile(share, "nearest").alias(f"{share:.0%}") for share in (0.25, 0.5, 0.75)),
        value.max().alias("max"),
    )
    statistics = described.unpivot(index=["model", "metric"], variable_name="statistic")
    table = statistics.pivot("metric", index=["model", "statistic"], values="value", maintain_order=True)
    order = {model: row for row, model in enumerate(scores["model"].unique(maintain_order=True))}
    # A stable sort leaves the statistics of each model in their order.
    return table.sort(pl.col("model").replace_strict(order), maintain_order=True).select("model", "statistic", *names)


class ResultFolder:
    """Collects an evaluation's files; they appear under ``out`` only when :meth:`finish` is reached.

    Use as a context manager: leaving it by an exception leaves nothing behind. One evaluation at a time writes to a
    folder.
    """

    def __init__(self, out: Path):
        self.out = out
        self._scores: list[pl.DataFrame] = []
        self._second: list[pl.DataFrame] = []
        self._genes: GeneTable | None = None
        self._sets: list[pl.DataFrame] = []
        self._prefixes: dict[str, str] = {}
        check_out(out)
        out.parent.mkdir(parents=True, exist_ok=True)
        self._open = ExitStack()
        self._open.enter_context(sole_writer(out, out.with_name(f".{out.name}.lock")))
        # Of evaluations that were killed: nobody continues them.
        remove_leftovers(out)
        self.staging = temporary_name(out)
        self.staging.mkdir()
        self._open.callback(shutil.rmtree, self.staging, ignore_errors=True)

    def __enter__(self) -> "ResultFolder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and self._genes is not None:
            # Its end cannot be written either, if the disk is full.
            with contextlib.suppress(OSError):
                self._genes.close()
        self._open.close()

    def add(self, scores: ContextScores) -> None:
        """Write a context's own files and keep its scores."""
        prefix = self._prefix(scores.context)
        for name, frame in (
            ("results", scores.first_results),
            ("agg_results", scores.first_results.drop("perturbation").describe()),
        ):
            self._write(f"{prefix}_{name}.csv", frame.write_csv)
        if scores.replicates is not None:
            self._write(f"{prefix}_real_deseq2.csv", scores.replicates.write_csv)
        self._scores.append(scores.scores)
        self._second += [] if scores.second is None else [scores.second]
        self._sets += [] if scores.gene_sets is None else [scores.gene_sets]
        self._add_genes(scores.shifts)

    def add_tests(self, context: str, side: str, tests: GeneTests) -> None:
        """Write the tests of a context, part by part.

        Args:
            context: Its name.
            side: Whose cells were tested, "real" or "pred".
            tests: All of them.
        """
        name = f"{self._prefix(context)}_{side}_de.csv"
        with self._errors_of(name), (self.staging / name).open("wb") as file:
            for number, frame in enumerate(tests.frames()):
                table = io.BytesIO()
                frame.write_csv(table, include_header=number == 0)
                file.write(table.getbuffer())

    def _prefix(self, context: str) -> str:
        """Return the beginning of the names of a context's own files."""
        if context not in self._prefixes:
            # "a_agg_results.csv" would be the results of a context "a_agg", too.
            used = [name for prefix in self._prefixes.values() for name in (prefix, f"{prefix}_agg")]
            self._prefixes[context] = file_name(context, ["agg", *used])
        return self._prefixes[context]

    def _add_genes(self, shifts: Sequence[Shift]) -> None:
        if not shifts:
            return
        with self._errors_of(GENES):
            if self._genes is None:
                self._genes = GeneTable(self.staging / GENES)
            self._genes.add(shifts)

    @contextlib.contextmanager
    def _errors_of(self, name: str) -> Iterator[None]:
        """Name a file that cannot be written as it will be called."""
        try:
            yield
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.out / name)) from error

    def _write(self, name: str, write: Callable[[io.BytesIO], object]) -> None:
        """Write a table by way of memory: polars has exceptions of its own for a full disk."""
        table = io.BytesIO()
        write(table)
        with self._errors_of(name):
            (self.staging / name).write_bytes(table.getbuffer())

    @property
    def prefixes(self) -> dict[str, str]:
        """Context to the beginning of the names of its own files."""
        return dict(self._prefixes)

    def scores(self) -> pl.DataFrame:
        """Return the scores of all contexts, models in order, then contexts."""
        table = pl.concat(self._scores)
        order = {name: index for index, name in enumerate(table["model"].unique(maintain_order=True))}
        return table.sort(pl.col("model").replace_strict(order), "context", "perturbation", maintain_order=True)

    def second(self) -> pl.DataFrame | None:
        """Return what cell-eval2 says of each model and context; ``None`` where it was not asked."""
        return pl.concat(self._second) if self._second else None

    def finish(self, summary: dict[str, Any]) -> None:
        """Write the tables of all contexts and the summary, and move everything to ``out``."""
        scores = self.scores()
        self._write("results.csv", scores.write_csv)
        self._write("agg_results.csv", aggregate(scores).write_csv)
        second = self.second()
        if second is not None:
            self._write(CELL_EVAL2, second.write_csv)
        if self._sets:
            self._write(GENE_SETS, pl.concat(self._sets).write_csv)
        if self._genes is not None:
            with self._errors_of(GENES):
                self._genes.close()
        files = sorted([*(path.name for path in self.staging.iterdir()), SUMMARY])
        (self.staging / SUMMARY).write_text(json.dumps({**summary, "files": files}, indent=2, allow_nan=False) + "\n")
        _publish(self.staging, self.out, files)


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
        listed = read_json(summary)["files"]
    except (InputError, KeyError, TypeError):
        return []
    return [name for name in listed if isinstance(name, str) and Path(name).name == name]
