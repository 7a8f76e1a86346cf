# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Score predictions and baselines context by context, as STATE does: one cell type at a time.

The false discovery rate, the discrimination rank and the control all belong to one context. The differential
expression of the real cells is computed once for a context and serves every model.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from bionemo.scale.eval.baselines.counted import as_counts
from bionemo.scale.eval.baselines.estimators import BASELINES, Matches, Targets, match_controls, named_rng
from bionemo.scale.eval.cell_eval.challenge import CellEval2Scores
from bionemo.scale.eval.cells.halves import Halves, half_means, split_halves
from bionemo.scale.eval.cells.populations import Population
from bionemo.scale.eval.enrichment import set_table
from bionemo.scale.eval.metrics.intervals import BatchDraws
from bionemo.scale.eval.metrics.many.gene_tests import GeneTests
from bionemo.scale.eval.scores.prediction_scores import Prediction, Scored, Truth, make_truth, score_prediction
from bionemo.scale.eval.scores.sides import Side, make_side
from bionemo.scale.eval.scores.task import CEILING, Model, Task
from bionemo.scale.types import Group, GroupMeans, cell_type_of


@dataclass(frozen=True, kw_only=True)
class Shift:
    """Predicted and observed change of mean expression of one perturbation in one context."""

    model: str
    context: str
    perturbation: str
    genes: tuple[str, ...]
    pred: np.ndarray
    """[G] float64."""
    real: np.ndarray
    """[G] float64."""
    fdr_pred: np.ndarray
    """[G] float64, adjusted p-values of the predicted cells."""
    fdr_real: np.ndarray
    """[G] float64."""
    sd_pred: np.ndarray | None = None
    """[G] float64, how sure the prediction is; ``None`` where it does not say."""
    error_real: np.ndarray | None = None
    """[G] float64, standard error of the observed mean."""

    def apart(self) -> "Shift":
        """Return the same with arrays of its own, so that those of other perturbations can be let go."""
        arrays: dict[str, Any] = {
            name: value.copy() for name, value in vars(self).items() if isinstance(value, np.ndarray)
        }
        return replace(self, **arrays)


@dataclass(frozen=True, kw_only=True)
class ContextScores:
    """Scores of all models and baselines in one context."""

    context: str
    scores: pl.DataFrame
    """:data:`KEYS`, cell-eval's columns and those it has not; null where a metric has no value."""
    first_results: pl.DataFrame
    """cell-eval's own results of the first model, untouched."""
    shifts: tuple[Shift, ...]
    """Of the models."""
    batch_draws: tuple[BatchDraws, ...]
    """Of the models and baselines whose cells have the batches of the real ones."""
    fallbacks: dict[str, int]
    """Name to the cells for which a baseline's fallback was used; ``matching`` counts cells without a control of
    their batch."""
    replicates: pl.DataFrame | None = None
    """DESeq2 on the replicates of the real cells."""
    gene_sets: pl.DataFrame | None = None
    """Scores of the sets of each perturbation, predicted by each model and observed."""
    second: pl.DataFrame | None = None
    """Of cell-eval2 over all perturbations: ``model``, ``context``, ``metric``, ``value`` and ``scaled``."""


KeepTests = Callable[[str, str, GeneTests], None]
"""Takes the tests of a context, of the "real" cells or those that are "pred" by the first model."""


def score_contexts(
    task: Task, progress: Callable[[str], None] | None = None, *, keep_tests: KeepTests | None = None
) -> Iterator[ContextScores]:
    """Score one context after the other.

    Args:
        task: What to score.
        progress: Called with ``context / model`` after each is done.
        keep_tests: Called when tests are made. Of a large context they are too many to be returned.

    Raises:
        MetricError: A metric failed; the message names the model and the context.
    """
    keep = keep_tests or (lambda context, side, tests: None)
    for context in task.contexts():
        yield _score_context(task, context, progress or (lambda _: None), keep_tests=partial(keep, context))


@dataclass(frozen=True, kw_only=True)
class _Context:
    """Real cells of one context, and the control that each is matched with."""

    truth: Truth
    cells: Population
    controls: Population
    matches: Matches

    @property
    def control_expression(self) -> np.ndarray:
        """[controls, G] float32, real control cells as they were read once."""
        return self.truth.side.controls


def _score_context(
    task: Task, context: str, progress: Callable[[str], None], *, keep_tests: Callable[[str, GeneTests], None]
) -> ContextScores:
    real = _read_context(task, context, keep_tests=partial(keep_tests, "real"))
    scored: dict[str, Scored] = {}
    names = {model.name for model in task.models}
    for name, predict in _predictions(task, real, keep_tests=partial(keep_tests, "pred")):
        scored[name] = _score_one(task, predict, with_genes=name in names or not scored)
        progress(f"{context} / {name}")
    first, truth = next(iter(scored.values())), real.truth
    tables = [_overall(name, context, item.second) for name, item in scored.items() if item.second is not None]
    models = {model.name: scored[model.name] for model in task.models}
    return ContextScores(
        context=context,
        scores=pl.concat(item.scores for item in scored.values()),
        first_results=first.cell_eval_results,
        shifts=tuple(
            shift for name, item in models.items() for shift in _shifts(name, truth, item, genes=real.cells.genes)
        ),
        batch_draws=tuple(item.draws for item in scored.values() if item.draws is not None),
        replicates=truth.side.replicate_tests.frame(truth.side.rows, real.cells.genes) if task.by_replicate else None,
        gene_sets=_gene_sets(task, truth, models),
        second=pl.concat(tables) if tables else None,
        fallbacks={"matching": real.matches.fallbacks} | {name: item.fallbacks for name, item in scored.items()},
    )


def _gene_sets(task: Task, truth: Truth, models: dict[str, Scored]) -> pl.DataFrame | None:
    if task.gene_sets is None or truth.sets is None:
        return None
    names, real, context = list(truth.side.rows), truth.sets, truth.context
    tables = [
        set_table(task.gene_sets, names, pred=item.sets, real=real, model=name, context=context)
        for name, item in models.items()
        if item.sets is not None
    ]
    return pl.concat(tables) if tables else None


def _overall(model: str, context: str, scores: CellEval2Scores) -> pl.DataFrame:
    names = list(scores.values)
    return pl.DataFrame(
        {
            "model": [model] * len(names),
            "context": [context] * len(names),
            "metric": names,
            "value": pl.Series([scores.values[name] for name in names], dtype=pl.Float64),
            "scaled": pl.Series([scores.scaled.get(name) for name in names], dtype=pl.Float64),
        }
    )


def _read_context(task: Task, context: str, *, keep_tests: Callable[[GeneTests], None]) -> _Context:
    cells = task.cells.select(task.cells.cell_type == context)
    controls = task.controls.select(task.controls.cell_type == context)
    side = _side(task, cells, controls, keep_tests=keep_tests)
    # Read once.
    controls = replace(controls, expression=side.controls)
    halves = half_means(side.controls, controls.batch, named_rng(task.seed, context, "control halves"))
    return _Context(
        truth=make_truth(context, side, control_halves=halves, seed=task.seed, gene_sets=task.gene_sets),
        cells=cells,
        controls=controls,
        matches=context_matches(task, context, cells, controls=controls),
    )


def _score_one(task: Task, predict: Callable[[], Prediction], *, with_genes: bool) -> Scored:
    """Predict and score; the predicted cells, which can be many, are gone when this returns."""
    found = score_prediction(task, predict())
    if with_genes:
        return found
    # Of models alone they are written, and of a large screen there is much of them.
    nothing = np.empty((0, found.changes.shape[1]))
    return replace(found, fdr=nothing, changes=nothing)


def _predictions(
    task: Task, real: _Context, *, keep_tests: Callable[[GeneTests], None]
) -> Iterator[tuple[str, Callable[[], Prediction]]]:
    """Yield models, then baselines, then the ceiling: the name, and a function that makes the prediction."""
    for model in task.models:
        keep = keep_tests if model is task.models[0] else None
        yield model.name, partial(_of_model, task, model, real.truth, keep_tests=keep)
    for name in task.baselines:
        yield name, partial(_of_baseline, task, name, real)
    halves = split_halves(real.cells.perturbation, named_rng(task.seed, real.truth.context, CEILING))
    if task.ceiling and halves.names:
        yield CEILING, partial(_half_of_the_other, task, real, halves)


def _of_model(task: Task, model: Model, truth: Truth, *, keep_tests: Callable[[GeneTests], None] | None) -> Prediction:
    predicted = model.cells.select(model.cells.cell_type == truth.context)
    controls = model.controls.select(model.controls.cell_type == truth.context)
    sd = {name: values for (cell_type, name), values in model.sd.items() if cell_type == truth.context}
    side = _side(task, predicted, controls, keep_tests=keep_tests)
    return Prediction(name=model.name, side=side, truth=truth, sd=sd)


def _of_baseline(task: Task, name: str, real: _Context) -> Prediction:
    targets = baseline_targets(
        task, real.truth.context, real.cells, controls=real.control_expression, matches=real.matches
    )
    predicted = BASELINES[name](targets)
    expression, unit = predicted.expression, None
    if task.in_counts and real.controls.unit is not None:
        unit = real.controls.unit[real.matches.rows]
        expression = as_counts(predicted, targets, unit)
    side = _side(task, replace(real.cells, expression=expression, unit=unit), real.controls)
    return Prediction(name=name, side=side, truth=real.truth, fallbacks=predicted.fallbacks)


def _half_of_the_other(task: Task, real: _Context, halves: Halves) -> Prediction:
    """Take one half of the real cells for a prediction of the other."""
    cells = replace(real.cells, expression=real.truth.side.cells)
    first, second = (_side(task, cells.select(rows), real.controls) for rows in (halves.first, halves.second))
    whole, sets = real.truth, task.gene_sets
    truth = make_truth(whole.context, second, control_halves=whole.control_halves, seed=task.seed, gene_sets=sets)
    return Prediction(name=CEILING, side=first, truth=truth)


def _side(
    task: Task, cells: Population, controls: Population, *, keep_tests: Callable[[GeneTests], None] | None = None
) -> Side:
    by_batch = task.batch_weights is not None
    return make_side(
        cells,
        controls,
        control=task.control,
        engine=task.engine,
        by_batch=by_batch,
        target_names=task.target_names,
        keep_tests=keep_tests,
    )


def baseline_targets(
    task: Task, context: str, cells: Population, *, controls: np.ndarray, matches: Matches
) -> Targets:
    """Return what baselines see of one context.

    Args:
        task: What is scored.
        context: The cell type.
        cells: Real perturbed cells of the context, of which only the labels are handed on.
        controls: [controls, G] float32, real control cells of the context.
        matches: A control for each cell.
    """
    return Targets(
        cell_type=context,
        covariates=task.covariates.get(context, ()),
        perturbation=cells.perturbation,
        batch=cells.batch,
        control_cells=controls,
        matched=matches.rows,
        context_control=controls.mean(axis=0, dtype=np.float64),
        batch_control={
            name: controls[pool].mean(axis=0, dtype=np.float64)
            for name, pool in matches.pools.items()
            if task.baselines
        },
        control_groups=_control_groups(task, context, matches, controls=controls),
        training=task.training,
        seed=task.seed,
    )


def _control_groups(task: Task, context: str, matches: Matches, *, controls: np.ndarray) -> GroupMeans:
    """Return the pseudobulks of the real controls by batch and covariates; none where no baseline reads them."""
    batch, measured = matches.control_batch, matches.control_context
    if measured is None:
        measured = np.full(len(batch), context, dtype=object)
    names = list(dict.fromkeys(zip(measured.tolist(), batch.tolist(), strict=True))) if task.baselines else []
    members = [(measured == own) & (batch == name) for own, name in names]
    means = [controls[rows].mean(axis=0, dtype=np.float64) for rows in members]
    return GroupMeans(
        groups=tuple(_control_group(task, own, name) for own, name in names),
        means=np.array(means).reshape(len(names), controls.shape[1]),
        counts=np.array([int(rows.sum()) for rows in members], dtype=np.int64),
    )


def _control_group(task: Task, context: str, batch: str) -> Group:
    covariates = task.covariates.get(context, ())
    return Group("", cell_type_of(context, covariates), task.control, batch, covariates)


def context_matches(task: Task, context: str, cells: Population, *, controls: Population) -> Matches:
    """Draw a control for each cell of a context; the draws depend on the seed and the context alone."""
    found = match_controls(cells.batch, controls.batch, named_rng(task.seed, context))
    return replace(found, control_context=controls.measured_context)


def _shifts(model: str, truth: Truth, scored: Scored, *, genes: tuple[str, ...]) -> Iterator[Shift]:
    side = truth.side
    parts = (scored.changes, side.changes, scored.fdr, side.fdr, truth.standard_errors)
    for name, predicted, observed, fdr_pred, fdr_real, error in zip(side.rows, *parts, strict=True):
        yield Shift(
            model=model,
            context=truth.context,
            perturbation=name,
            genes=genes,
            pred=predicted,
            real=observed,
            fdr_pred=fdr_pred,
            fdr_real=fdr_real,
            sd_pred=scored.sd.get(name),
            error_real=error,
        )
