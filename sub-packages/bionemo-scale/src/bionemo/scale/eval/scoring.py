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
from bionemo.scale.eval.baselines import BASELINES, Targets, match_controls
from bionemo.scale.eval.cell_eval import DISCRIMINATION, MetricError, run_cell_eval
from bionemo.scale.eval.differential import DEEngine, differential_expression
from bionemo.scale.eval.halves import split_halves
from bionemo.scale.eval.populations import Population, group_means, to_anndata
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
    """Baseline to the cells for which its fallback was used; ``matching`` counts cells without a control of their
    batch."""


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
    labels: np.ndarray
    """Of the perturbed cells."""
    cells: np.ndarray
    """[perturbed cells, G] float32."""
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
class _Context:
    name: str
    perturbations: tuple[str, ...]
    genes: tuple[str, ...]
    real: _Side
    samples: tuple[metrics.CellSample, ...]


def _score_context(task: Task, name: str, progress: Callable[[str], None]) -> ContextScores:
    cells = task.cells.select(task.cells.cell_type == name)
    controls = task.controls.select(task.controls.cell_type == name)
    perturbations = tuple(sorted(set(cells.perturbation.tolist())))
    real = _side(task, cells.dense(), cells.perturbation, controls.dense(), perturbations)
    context = _context(task, name, cells.genes, real, perturbations)
    frames, firsts, fallbacks = [], [], {}
    for model in task.models:
        predicted = model.cells.select(model.cells.cell_type == name)
        own_controls = model.controls.select(model.controls.cell_type == name).dense()
        side = _side(task, predicted.dense(), predicted.perturbation, own_controls, perturbations)
        verbatim, scores = _score(task, context, model.name, side)
        frames.append(scores)
        if not firsts:
            firsts = [verbatim, side]
        progress(f"{name} / {model.name}")
    if task.baselines:
        targets, fallbacks = _targets(task, cells, controls)
        for baseline in task.baselines:
            prediction = BASELINES[baseline](targets)
            fallbacks[baseline] = prediction.fallbacks
            side = _side(task, prediction.expression, cells.perturbation, controls.dense(), perturbations)
            frames.append(_score(task, context, baseline, side)[1])
            progress(f"{name} / {baseline}")
    if task.ceiling:
        frames += _score_ceiling(task, context, controls.dense())
        progress(f"{name} / {CEILING}")
    return ContextScores(
        context=name,
        scores=pl.concat(frames),
        first_results=firsts[0],
        de_real=real.de,
        de_pred=firsts[1].de,
        shifts=_shifts(context, firsts[1]),
        fallbacks=fallbacks,
    )


def _context(task: Task, name: str, genes: tuple[str, ...], real: _Side, perturbations: tuple[str, ...]) -> _Context:
    samples = tuple(_sample(task, name, item, real.cells[real.labels == item]) for item in perturbations)
    return _Context(name=name, perturbations=perturbations, genes=genes, real=real, samples=samples)


def _score_ceiling(task: Task, context: _Context, controls: np.ndarray) -> list[pl.DataFrame]:
    """Score one half of the real cells against the other, where there are cells enough; at most one table."""
    halves = split_halves(context.real.labels, _rng(task.seed, context.name, CEILING))
    if not halves.names:
        return []
    sides = [
        _side(task, context.real.cells[rows], context.real.labels[rows], controls, halves.names)
        for rows in (halves.first, halves.second)
    ]
    half = _context(task, context.name, context.genes, sides[1], halves.names)
    return [_score(task, half, CEILING, sides[0])[1]]


def _side(
    task: Task, cells: np.ndarray, labels: np.ndarray, controls: np.ndarray, perturbations: tuple[str, ...]
) -> _Side:
    expression = np.concatenate([cells, controls])
    genes = task.cells.genes
    everything = np.concatenate([labels, np.full(len(controls), task.control, dtype=object)])
    adata = to_anndata(expression=expression, perturbation=everything, genes=genes)
    return _Side(
        adata=adata,
        labels=labels,
        cells=expression[: len(cells)],
        means=group_means(expression=cells, labels=labels, names=perturbations),
        control_mean=controls.mean(axis=0, dtype=np.float64),
        de=differential_expression(adata, control=task.control, engine=task.engine),
    )


def _targets(task: Task, cells: Population, controls: Population) -> tuple[Targets, dict[str, int]]:
    name = str(cells.cell_type[0])
    matches = match_controls(cells.batch, controls.batch, _rng(task.seed, name))
    expression = controls.dense()
    targets = Targets(
        cell_type=name,
        perturbation=cells.perturbation,
        batch=cells.batch,
        controls=expression[matches.rows],
        context_control=expression.mean(axis=0, dtype=np.float64),
        training=task.training,
    )
    return targets, {"matching": matches.fallbacks}


def _score(task: Task, context: _Context, model: str, pred: _Side) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return cell-eval's own results, and the results with keys and extra metrics, undefined values as null."""
    real = context.real
    try:
        verbatim = run_cell_eval(
            pred=pred.adata, real=real.adata, de_pred=pred.de, de_real=real.de, control=task.control
        )
    except MetricError as error:
        raise MetricError(f"{error} (model {model!r}, context {context.name!r})") from error
    spread, energy = [], []
    for item, sample in zip(context.perturbations, context.samples, strict=True):
        cells = pred.cells[pred.labels == item]
        spread.append(metrics.sd_ratio(cells, real.cells[real.labels == item]))
        energy.append(metrics.energy_distance(_sample(task, context.name, item, cells), sample))
    scores = verbatim.with_columns(
        pl.lit(model).alias("model"),
        pl.lit(context.name).alias("context"),
        pl.Series("cells_real", [int((real.labels == item).sum()) for item in context.perturbations]),
        pl.Series("cells_pred", [int((pred.labels == item).sum()) for item in context.perturbations]),
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


def _shifts(context: _Context, pred: _Side) -> tuple[Shift, ...]:
    return tuple(
        Shift(
            context=context.name,
            perturbation=item,
            genes=context.genes,
            pred=pred.changes[row],
            real=context.real.changes[row],
        )
        for row, item in enumerate(context.perturbations)
    )


def _sample(task: Task, context: str, perturbation: str, cells: np.ndarray) -> metrics.CellSample:
    return metrics.sample_cells(cells, rng=_rng(task.seed, context, perturbation))


def _rng(seed: int, *names: str) -> np.random.Generator:
    """Seed by name, so that what else is in the file does not change the draws."""
    return np.random.default_rng([seed, *(zlib.crc32(name.encode()) for name in names)])
