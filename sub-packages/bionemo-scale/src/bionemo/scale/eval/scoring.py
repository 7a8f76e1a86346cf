# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Score predictions and baselines context by context, as STATE does: one cell type at a time.

The false discovery rate, the discrimination rank and the control all belong to one context. The differential
expression of the real cells is computed once for a context and serves every model.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from bionemo.scale.eval.baselines.estimators import BASELINES, Matches, Targets, match_controls, named_rng
from bionemo.scale.eval.baselines.training_means import TrainingMeans
from bionemo.scale.eval.cell_eval.adapter import DISCRIMINATION, MetricError, run_cell_eval
from bionemo.scale.eval.cell_eval.newest import PREFIX, CurrentCellEval
from bionemo.scale.eval.cells.halves import half_means, split_halves
from bionemo.scale.eval.cells.populations import Population
from bionemo.scale.eval.cells.sides import Side, make_side, share_batches
from bionemo.scale.eval.metrics import formulas as metrics
from bionemo.scale.eval.metrics import intervals, spread
from bionemo.scale.eval.metrics.catalogue import EXTRA_METRICS
from bionemo.scale.eval.metrics.differential import DEEngine
from bionemo.scale.eval.metrics.residuals import residual_correlations
from bionemo.scale.types import Group, GroupMeans


KEYS = ("model", "context", "perturbation", "cells_real", "cells_pred")
"""Columns of the results that are no metrics."""
CEILING = "ceiling"
"""Name in the tables of the real cells that predict one another."""


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
    current: CurrentCellEval | None = None
    """Another cell-eval that scores everything too."""
    batch_weights: dict[str, np.ndarray] | None = None
    """Of :func:`bionemo.scale.eval.metrics.intervals.batch_weights`; ``None`` where there are too few batches."""

    def contexts(self) -> list[str]:
        """Return the cell types, sorted."""
        return sorted(set(self.cells.cell_type.tolist()))


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


@dataclass(frozen=True, kw_only=True)
class ContextScores:
    """Scores of all models and baselines in one context."""

    context: str
    scores: pl.DataFrame
    """:data:`KEYS`, cell-eval's columns and those it has not; null where a metric has no value."""
    first_results: pl.DataFrame
    """cell-eval's own results of the first model, untouched."""
    de_real: pl.DataFrame
    de_pred: pl.DataFrame
    """Of the first model."""
    shifts: tuple[Shift, ...]
    """Of the models."""
    batch_draws: tuple[intervals.BatchDraws, ...]
    """Of the models and baselines whose cells have the batches of the real ones."""
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
class _Truth:
    """The real side of a context."""

    context: str
    side: Side
    samples: dict[str, spread.CellSample]
    """Perturbation to some of its cells."""
    control_halves: np.ndarray
    """[2, G] float64, means of two halves of the real controls."""


@dataclass(frozen=True, kw_only=True)
class _Contestant:
    """A predicted side, and the truth it is held to."""

    name: str
    side: Side
    truth: _Truth
    fallbacks: int = 0


@dataclass(frozen=True, kw_only=True)
class _Scored:
    """What is kept of a contestant when its cells are let go."""

    verbatim: pl.DataFrame
    """cell-eval's own results."""
    scores: pl.DataFrame
    de: pl.DataFrame
    changes: np.ndarray
    """[P, G] float64."""
    draws: intervals.BatchDraws | None


def _score_context(task: Task, context: str, progress: Callable[[str], None]) -> ContextScores:
    cells = task.cells.select(task.cells.cell_type == context)
    controls = task.controls.select(task.controls.cell_type == context)
    side = _side(task, cells, controls)
    halves = half_means(side.adata.X[len(cells) :], controls.batch, named_rng(task.seed, context, "control halves"))
    truth = _truth(task, context, side, halves)
    matches = context_matches(task, context, cells, controls)
    scored, fallbacks = {}, {"matching": matches.fallbacks}
    # A side can be large: the generator builds the next one only when this one is let go.
    for contestant in _contestants(task, truth, cells, controls, matches):
        name, fallbacks[contestant.name] = contestant.name, contestant.fallbacks
        scored[name] = _score(task, contestant)
        del contestant
        progress(f"{context} / {name}")
    models = {model.name: scored[model.name] for model in task.models}
    return ContextScores(
        context=context,
        scores=pl.concat(item.scores for item in scored.values()),
        first_results=next(iter(scored.values())).verbatim,
        de_real=truth.side.de,
        de_pred=next(iter(scored.values())).de,
        shifts=tuple(shift for name, item in models.items() for shift in _shifts(name, truth, item, cells.genes)),
        batch_draws=tuple(item.draws for item in scored.values() if item.draws is not None),
        fallbacks=fallbacks,
    )


def _contestants(
    task: Task, truth: _Truth, cells: Population, controls: Population, matches: Matches
) -> Iterator[_Contestant]:
    """Yield models, then baselines, then the ceiling, one at a time."""
    for model in task.models:
        yield _Contestant(name=model.name, side=_model_side(task, model, truth.context), truth=truth)
    for name in task.baselines:
        yield _baseline(task, name, truth, cells, controls, matches)
    if task.ceiling:
        yield from _ceiling(task, truth, cells, replace(controls, expression=truth.side.adata.X[len(cells) :]))


def _model_side(task: Task, model: Model, context: str) -> Side:
    """Read and derive; the cells as they were read go with this frame."""
    predicted = model.cells.select(model.cells.cell_type == context)
    return _side(task, predicted, model.controls.select(model.controls.cell_type == context))


def _baseline(
    task: Task, name: str, truth: _Truth, cells: Population, controls: Population, matches: Matches
) -> _Contestant:
    """Predict and derive; what is large and not kept goes with this frame."""
    found = BASELINES[name](baseline_targets(task, truth.context, cells, truth.side.adata.X[len(cells) :], matches))
    side = _side(task, replace(cells, expression=found.expression), controls)
    return _Contestant(name=name, side=side, truth=truth, fallbacks=found.fallbacks)


def baseline_targets(task: Task, context: str, cells: Population, controls: np.ndarray, matches: Matches) -> Targets:
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
        perturbation=cells.perturbation,
        batch=cells.batch,
        controls=controls[matches.rows] if task.baselines else controls[:0],
        context_control=controls.mean(axis=0, dtype=np.float64),
        batch_control={
            name: controls[pool].mean(axis=0, dtype=np.float64)
            for name, pool in matches.pools.items()
            if task.baselines
        },
        control_groups=_control_groups(task, context, matches.control_batch, controls),
        training=task.training,
        seed=task.seed,
    )


def _control_groups(task: Task, context: str, batch: np.ndarray, controls: np.ndarray) -> GroupMeans:
    """Return the pseudobulks of the real controls by batch; none where no baseline reads them."""
    names = list(dict.fromkeys(batch.tolist())) if task.baselines else []
    means = [controls[batch == name].mean(axis=0, dtype=np.float64) for name in names]
    return GroupMeans(
        groups=tuple(Group("", context, task.control, name) for name in names),
        means=np.array(means).reshape(len(names), controls.shape[1]),
        counts=np.array([int((batch == name).sum()) for name in names], dtype=np.int64),
    )


def context_matches(task: Task, context: str, cells: Population, controls: Population) -> Matches:
    """Draw a control for each cell of a context; the draws depend on the seed and the context alone."""
    return match_controls(cells.batch, controls.batch, named_rng(task.seed, context))


def _ceiling(task: Task, truth: _Truth, cells: Population, controls: Population) -> Iterator[_Contestant]:
    """Yield one half of the real cells held to the other, where there are cells enough."""
    halves = split_halves(cells.perturbation, named_rng(task.seed, truth.context, CEILING))
    if halves.names:
        real = replace(cells, expression=truth.side.cells)
        first, second = (_side(task, real.select(rows), controls) for rows in (halves.first, halves.second))
        yield _Contestant(name=CEILING, side=first, truth=_truth(task, truth.context, second, truth.control_halves))


def _side(task: Task, cells: Population, controls: Population) -> Side:
    by_batch = task.batch_weights is not None
    return make_side(cells, controls, control=task.control, engine=task.engine, by_batch=by_batch)


def _truth(task: Task, context: str, side: Side, control_halves: np.ndarray) -> _Truth:
    samples = {name: _sample(task, context, name, side.cells[rows]) for name, rows in side.rows.items()}
    return _Truth(context=context, side=side, samples=samples, control_halves=control_halves)


def _score(task: Task, contestant: _Contestant) -> _Scored:
    """Return cell-eval's own results, and the results with keys and own metrics, undefined values as null."""
    pred, real, context = contestant.side, contestant.truth.side, contestant.truth.context
    try:
        verbatim = run_cell_eval(
            pred=pred.for_cell_eval(task.control),
            real=real.for_cell_eval(task.control),
            de_pred=pred.de,
            de_real=real.de,
            control=task.control,
        )
        table = verbatim if task.current is None else _join_current(task, contestant, verbatim)
    except MetricError as error:
        raise MetricError(f"{error} (model {contestant.name!r}, context {context!r})") from error
    own = _paper_metrics(pred, real) | _residuals(task, pred, real) | _population_metrics(task, contestant)
    own["pearson_delta_split"] = _split_correlation(pred, contestant.truth)
    own["de_chance"] = _chance(verbatim, num_genes=pred.means.shape[1])
    scores = table.with_columns(
        pl.lit(contestant.name).alias("model"),
        pl.lit(context).alias("context"),
        pl.Series("cells_real", [len(rows) for rows in real.rows.values()]),
        pl.Series("cells_pred", [len(rows) for rows in pred.rows.values()]),
        *(pl.Series(name, own[name], dtype=pl.Float64) for name in EXTRA_METRICS),
    ).select(*KEYS, pl.exclude(KEYS))
    return _Scored(
        verbatim=verbatim,
        scores=_undefine(scores, pred.changes),
        de=pred.de,
        changes=pred.changes,
        draws=_batch_draws(task, contestant),
    )


def _join_current(task: Task, contestant: _Contestant, verbatim: pl.DataFrame) -> pl.DataFrame:
    truth = contestant.truth
    kind = CEILING if contestant.name == CEILING else "real"
    found = task.current.score(
        pred=contestant.side.for_cell_eval(task.control),
        real=truth.side.for_cell_eval(task.control),
        real_key=f"{kind} {truth.context}",
        control=task.control,
    )
    return verbatim.join(found, on="perturbation", how="left", maintain_order="left")


def _paper_metrics(pred: Side, real: Side) -> dict[str, np.ndarray]:
    """Score as appendix A is written: changes and fold changes of both sides are against the real controls."""
    changed, observed = pred.means - real.control_mean, real.changes
    genes, real_genes = pred.genes(real.control_mean), real.genes(real.control_mean)
    moved = np.abs(changed).max(axis=1) >= metrics.MIN_EFFECT
    return {
        "r2": metrics.r2(pred.means, real.means),
        "paper_pds_l1": metrics.discrimination_score(changed, observed, metric="l1"),
        "paper_pds_l2": metrics.discrimination_score(changed, observed, metric="l2"),
        "paper_pds_cosine": metrics.discrimination_score(changed, observed, metric="cosine"),
        "paper_pdcorr": np.where(moved, metrics.pearson_delta(changed, observed), np.nan),
        "paper_mae": metrics.error_l1(changed, observed),
        "paper_mse": metrics.error_l2(changed, observed),
        "paper_deover": metrics.de_overlap(genes, real_genes),
        "paper_deprec": metrics.de_precision(genes, real_genes),
        "paper_diragr": metrics.direction_agreement(genes, real_genes),
        "paper_lfcspear": metrics.fold_change_spearman(genes, real_genes),
        "paper_auroc": metrics.roc_auc(genes, real_genes),
        "paper_auprc": metrics.average_precision(genes, real_genes),
    }


def _split_correlation(pred: Side, truth: _Truth) -> np.ndarray:
    moved = np.abs(pred.means - truth.side.control_mean).max(axis=1) >= metrics.MIN_EFFECT
    return np.where(moved, metrics.pearson_delta_split(pred.means, truth.side.means, truth.control_halves), np.nan)


def _chance(verbatim: pl.DataFrame, *, num_genes: int) -> np.ndarray:
    """Return the overlap that as many genes drawn at random have, [P]."""
    counts = verbatim.select("de_nsig_counts_real", "de_nsig_counts_pred").fill_null(0).fill_nan(0)
    return counts.to_numpy().min(axis=1) / num_genes


def _residuals(task: Task, pred: Side, real: Side) -> dict[str, np.ndarray]:
    trained = None
    if task.training is not None:
        nothing = np.full(len(pred.control_mean), np.nan)
        trained = np.stack([task.training.changes.get(name, nothing) for name in real.rows])
    found = residual_correlations(pred.changes, real.changes, trained)
    return {
        "residual_context": found.context,
        "residual_perturbation": found.perturbation,
        "residual_both": found.both,
    }


def _population_metrics(task: Task, contestant: _Contestant) -> dict[str, list[float]]:
    pred, real, context = contestant.side, contestant.truth.side, contestant.truth.context
    found: dict[str, list[float]] = {name: [] for name in ("sd_ratio", "calibration_error", "edistance", "mmd")}
    for name, sample in contestant.truth.samples.items():
        cells, observed = pred.cells[pred.rows[name]], real.cells[real.rows[name]]
        mine = _sample(task, context, name, cells)
        apart = spread.compare(mine, sample)
        found["sd_ratio"].append(spread.sd_ratio(cells, observed))
        found["calibration_error"].append(spread.calibration_error(mine.cells, sample.cells))
        found["edistance"].append(apart.edistance)
        found["mmd"].append(apart.mmd)
    return found


def _batch_draws(task: Task, contestant: _Contestant) -> intervals.BatchDraws | None:
    """Score pseudobulks with all batches and without each; ``None`` where predicted cells do not have the batches of the real ones."""
    pred, real, weights = contestant.side, contestant.truth.side, task.batch_weights
    if weights is None or not share_batches(pred, real):
        return None
    controls = [side.bulks[task.control].mean(weights) for side in (pred, real)]
    draws = np.full((len(real.rows), len(intervals.BATCH_METRICS), 1 + len(weights)), np.nan)
    for row, name in enumerate(real.rows):
        scored = intervals.batch_scores(
            pred=pred.bulks[name].mean(weights),
            real=real.bulks[name].mean(weights),
            pred_control=controls[0],
            real_control=controls[1],
        )
        draws[row] = [scored[metric] for metric in intervals.BATCH_METRICS]
    return intervals.BatchDraws(
        model=contestant.name,
        sums=dict(zip(intervals.BATCH_METRICS, np.nansum(draws, axis=0), strict=True)),
        counts=dict(zip(intervals.BATCH_METRICS, np.isfinite(draws).sum(axis=0), strict=True)),
    )


def _undefine(scores: pl.DataFrame, changes: np.ndarray) -> pl.DataFrame:
    """Put null where a number has no meaning: NaN, infinity, a rank among one, the direction of no change."""
    moved = pl.Series(np.abs(changes).max(axis=1) >= metrics.MIN_EFFECT)
    numbers = pl.col(pl.Float64)
    scores = scores.with_columns(pl.when(numbers.is_finite()).then(numbers))
    directions = [name for name in ("pearson_delta", PREFIX + "pearson_delta") if name in scores]
    scores = scores.with_columns(pl.when(moved).then(pl.col(directions)))
    if scores.height > 1:
        return scores
    ranks = [name for name in scores.columns if name.removeprefix(PREFIX) in DISCRIMINATION]
    return scores.with_columns(pl.lit(None, pl.Float64).alias(name) for name in ranks)


def _shifts(model: str, truth: _Truth, scored: _Scored, genes: tuple[str, ...]) -> Iterator[Shift]:
    side, size = truth.side, len(genes)
    fdr = []
    for de in (scored.de, side.de):
        blocks = de["fdr"].to_numpy().reshape(-1, size)
        fdr.append(dict(zip(de["target"].to_numpy()[::size], blocks, strict=True)))
    for name, predicted, observed in zip(side.rows, scored.changes, side.changes, strict=True):
        yield Shift(
            model=model,
            context=truth.context,
            perturbation=name,
            genes=genes,
            pred=predicted,
            real=observed,
            fdr_pred=fdr[0][name],
            fdr_real=fdr[1][name],
        )


def _sample(task: Task, context: str, perturbation: str, cells: np.ndarray) -> spread.CellSample:
    return spread.sample_cells(cells, rng=named_rng(task.seed, context, perturbation))
