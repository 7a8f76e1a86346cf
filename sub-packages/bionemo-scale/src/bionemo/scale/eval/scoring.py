# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Score predictions and baselines context by context, as STATE does: one cell type at a time.

The false discovery rate, the discrimination rank and the control all belong to one context. The differential
expression of the real cells is computed once for a context and serves every model.
"""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import anndata as ad
import numpy as np
import polars as pl

from bionemo.scale.eval import metrics
from bionemo.scale.eval.baselines import BASELINES, Matches, Targets, match_controls
from bionemo.scale.eval.cell_eval import DISCRIMINATION, MetricError, run_cell_eval
from bionemo.scale.eval.differential import DEEngine, differential_expression
from bionemo.scale.eval.halves import split_halves
from bionemo.scale.eval.populations import Population, group_means, rows_by_label, to_anndata
from bionemo.scale.eval.training_means import TrainingMeans


KEYS = ("model", "context", "perturbation", "cells_real", "cells_pred")
"""Columns of the results that are no metrics."""
CEILING = "ceiling"
"""Name in the tables of the real cells that predict one another."""
EXTRA_METRICS = ("r2", "sd_ratio", "edistance")
"""Columns that cell-eval has not."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model's prediction, aligned with the real cells."""

    name: str
    cells: Population
    """Predicted perturbed cells."""
    controls: Population
    """Control cells of the predicted side."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """Everything that is scored together."""

    cells: Population
    """Real perturbed cells."""
    controls: Population
    """Real control cells of the same cell types."""
    control: str
    """Label of the controls."""
    models: tuple[Model, ...]
    baselines: tuple[str, ...] = ()
    training: TrainingMeans | None = None
    ceiling: bool = False
    """Whether to score one half of the real cells as a prediction of the other half, too."""
    engine: DEEngine = "fast"
    seed: int = 0

    def contexts(self) -> list[str]:
        """Return the cell types, sorted."""
        return sorted(set(self.cells.cell_type.tolist()))


@dataclass(frozen=True, kw_only=True)
class Shift:
    """Predicted and observed change of mean expression of one perturbation in one context."""

    context: str
    perturbation: str
    genes: tuple[str, ...]
    pred: np.ndarray
    """[G] float64."""
    real: np.ndarray
    """[G] float64."""


@dataclass(frozen=True, kw_only=True)
class ContextScores:
    """Scores of all models and baselines in one context."""

    context: str
    scores: pl.DataFrame
    """:data:`KEYS`, cell-eval's columns and :data:`EXTRA_METRICS`; null where a metric has no value."""
    first_results: pl.DataFrame
    """cell-eval's own results of the first model, untouched."""
    de_real: pl.DataFrame
    de_pred: pl.DataFrame
    """Of the first model."""
    shifts: tuple[Shift, ...]
    """Of the first model."""
    fallbacks: dict[str, int]
    """Name to the cells for which a baseline's fallback was used; ``matching`` counts cells without a control of
    their batch."""


def score_contexts(task: Task, progress: Callable[[str], None] | None = None) -> Iterator[ContextScores]:
    """Score one context after the other.

    Args:
        task: What to score.
        progress: Called with ``context / model`` after each is done.

    Raises:
        MetricError: A metric failed; the message names the model and the context.
    """
    for context in task.contexts():
        yield _score_context(task, context, progress or (lambda _: None))


@dataclass(frozen=True, kw_only=True)
class _Side:
    """One side of the comparison in one context: perturbed cells, controls and what is derived from them."""

    adata: ad.AnnData
    """Perturbed cells first, then controls."""
    cells: np.ndarray
    """[perturbed cells, G] float32."""
    rows: dict[str, np.ndarray]
    """The P perturbations, sorted, with their rows in ``cells``."""
    means: np.ndarray
    """[P, G] float64."""
    control_mean: np.ndarray
    """[G] float64."""
    de: pl.DataFrame

    @property
    def changes(self) -> np.ndarray:
        """[P, G] float64, mean change from control (eq. 41, 42)."""
        return self.means - self.control_mean


@dataclass(frozen=True, kw_only=True)
class _Truth:
    """The real side of a context."""

    context: str
    side: _Side
    samples: dict[str, metrics.CellSample]
    """Perturbation to some of its cells."""


@dataclass(frozen=True, kw_only=True)
class _Contestant:
    """A predicted side, and the truth it is held to."""

    name: str
    side: _Side
    truth: _Truth
    fallbacks: int = 0


def _score_context(task: Task, context: str, progress: Callable[[str], None]) -> ContextScores:
    cells = task.cells.select(task.cells.cell_type == context)
    controls = task.controls.select(task.controls.cell_type == context)
    truth = _truth(task, context, _side(task, cells.dense(), cells.perturbation, controls.dense()))
    matches = match_controls(cells.batch, controls.batch, _rng(task.seed, context))
    frames, kept, fallbacks = [], [], {"matching": matches.fallbacks}
    for contestant in _contestants(task, truth, cells, controls, matches):
        verbatim, scores = _score(task, contestant)
        frames.append(scores)
        kept = kept or [verbatim, contestant.side]
        fallbacks[contestant.name] = contestant.fallbacks
        progress(f"{context} / {contestant.name}")
    return ContextScores(
        context=context,
        scores=pl.concat(frames),
        first_results=kept[0],
        de_real=truth.side.de,
        de_pred=kept[1].de,
        shifts=_shifts(truth, kept[1], cells.genes),
        fallbacks=fallbacks,
    )


def _contestants(
    task: Task, truth: _Truth, cells: Population, controls: Population, matches: Matches
) -> Iterator[_Contestant]:
    """Yield models, then baselines, then the ceiling, one at a time: a side can be large."""
    for model in task.models:
        predicted = model.cells.select(model.cells.cell_type == truth.context)
        own = model.controls.select(model.controls.cell_type == truth.context)
        side = _side(task, predicted.dense(), predicted.perturbation, own.dense())
        yield _Contestant(name=model.name, side=side, truth=truth)
    expression = controls.dense()
    targets = Targets(
        cell_type=truth.context,
        perturbation=cells.perturbation,
        batch=cells.batch,
        controls=expression[matches.rows],
        context_control=expression.mean(axis=0, dtype=np.float64),
        training=task.training,
    )
    for name in task.baselines:
        found = BASELINES[name](targets)
        side = _side(task, found.expression, cells.perturbation, expression)
        yield _Contestant(name=name, side=side, truth=truth, fallbacks=found.fallbacks)
    if task.ceiling:
        yield from _ceiling(task, truth, cells.perturbation, expression)


def _ceiling(task: Task, truth: _Truth, labels: np.ndarray, controls: np.ndarray) -> Iterator[_Contestant]:
    """Yield one half of the real cells held to the other, where there are cells enough."""
    halves = split_halves(labels, _rng(task.seed, truth.context, CEILING))
    if halves.names:
        first, second = (
            _side(task, truth.side.cells[rows], labels[rows], controls) for rows in (halves.first, halves.second)
        )
        yield _Contestant(name=CEILING, side=first, truth=_truth(task, truth.context, second))


def _side(task: Task, cells: np.ndarray, labels: np.ndarray, controls: np.ndarray) -> _Side:
    expression = np.concatenate([cells, controls])
    everything = np.concatenate([labels, np.full(len(controls), task.control, dtype=object)])
    adata = to_anndata(expression=expression, perturbation=everything, genes=task.cells.genes)
    rows = rows_by_label(labels)
    return _Side(
        adata=adata,
        cells=expression[: len(cells)],
        rows=rows,
        means=group_means(expression=cells, rows=rows),
        control_mean=controls.mean(axis=0, dtype=np.float64),
        de=differential_expression(adata, control=task.control, engine=task.engine),
    )


def _truth(task: Task, context: str, side: _Side) -> _Truth:
    samples = {name: _sample(task, context, name, side.cells[rows]) for name, rows in side.rows.items()}
    return _Truth(context=context, side=side, samples=samples)


def _score(task: Task, contestant: _Contestant) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return cell-eval's own results, and the results with keys and extra metrics, undefined values as null."""
    pred, real, context = contestant.side, contestant.truth.side, contestant.truth.context
    try:
        verbatim = run_cell_eval(
            pred=pred.adata, real=real.adata, de_pred=pred.de, de_real=real.de, control=task.control
        )
    except MetricError as error:
        raise MetricError(f"{error} (model {contestant.name!r}, context {context!r})") from error
    spread, energy = [], []
    for name, sample in contestant.truth.samples.items():
        cells = pred.cells[pred.rows[name]]
        spread.append(metrics.sd_ratio(cells, real.cells[real.rows[name]]))
        energy.append(metrics.energy_distance(_sample(task, context, name, cells), sample))
    scores = verbatim.with_columns(
        pl.lit(contestant.name).alias("model"),
        pl.lit(context).alias("context"),
        pl.Series("cells_real", [len(rows) for rows in real.rows.values()]),
        pl.Series("cells_pred", [len(rows) for rows in pred.rows.values()]),
        pl.Series("r2", metrics.r2(pred.means, real.means)),
        pl.Series("sd_ratio", spread, dtype=pl.Float64),
        pl.Series("edistance", energy, dtype=pl.Float64),
    ).select(*KEYS, pl.exclude(KEYS))
    return verbatim, _undefine(scores, pred.changes)


def _undefine(scores: pl.DataFrame, changes: np.ndarray) -> pl.DataFrame:
    """Put null where a number has no meaning: NaN, a rank among one, the direction of no change."""
    moved = pl.Series(np.abs(changes).max(axis=1) >= metrics.MIN_EFFECT)
    scores = scores.with_columns(
        pl.col(pl.Float64).fill_nan(None),
    ).with_columns(pl.when(moved).then(pl.col("pearson_delta")).alias("pearson_delta"))
    if scores.height > 1:
        return scores
    return scores.with_columns(pl.lit(None, pl.Float64).alias(name) for name in DISCRIMINATION)


def _shifts(truth: _Truth, pred: _Side, genes: tuple[str, ...]) -> tuple[Shift, ...]:
    pairs = zip(truth.side.rows, pred.changes, truth.side.changes, strict=True)
    return tuple(
        Shift(context=truth.context, perturbation=name, genes=genes, pred=predicted, real=observed)
        for name, predicted, observed in pairs
    )


def _sample(task: Task, context: str, perturbation: str, cells: np.ndarray) -> metrics.CellSample:
    return metrics.sample_cells(cells, rng=_rng(task.seed, context, perturbation))


def _rng(seed: int, *names: str) -> np.random.Generator:
    """Seed by name, so that what else is in the file does not change the draws."""
    return np.random.default_rng([seed, *(zlib.crc32(name.encode()) for name in names)])
