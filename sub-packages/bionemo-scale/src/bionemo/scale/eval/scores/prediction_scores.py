# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""All metrics of one prediction in one context, one row per perturbation."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import polars as pl

from bionemo.scale.eval.baselines.estimators import named_rng
from bionemo.scale.eval.cell_eval.adapter import DISCRIMINATION, MetricError
from bionemo.scale.eval.cell_eval.challenge import CellEval2, CellEval2Scores
from bionemo.scale.eval.cell_eval.newest import PREFIX
from bionemo.scale.eval.enrichment import Enrichment, GeneSets, compare, enrich
from bionemo.scale.eval.metrics import formulas as metrics
from bionemo.scale.eval.metrics import intervals, spread
from bionemo.scale.eval.metrics.catalogue import EXPRESSED_COVERAGE, GENE_SETS, METRICS, REPLICATES, extra_metrics
from bionemo.scale.eval.metrics.replicates import compare_tests
from bionemo.scale.eval.metrics.residuals import residual_correlations
from bionemo.scale.eval.scores.discrimination import Compared
from bionemo.scale.eval.scores.sides import Side, share_batches
from bionemo.scale.eval.scores.task import CEILING, KEYS, Task


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The real side of a context."""

    context: str
    side: Side
    distances: dict[str, np.ndarray]
    """Perturbation to the distances between those of its cells that are drawn, as :class:`spread.CellSample` has them.
    The cells are drawn again for each prediction: all of them in double precision are twice as large as the side's."""
    control_halves: np.ndarray
    """[2, G] float64, means of two halves of the real controls."""
    standard_errors: np.ndarray
    """[P, G] float64, of the observed means by the cells that they are of; NaN where there is one cell."""
    expressed: np.ndarray
    """[G] bool, whether enough of the control cells have the gene."""
    sets: Enrichment | None = None
    """Of the observed changes, where gene sets are scored."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A predicted side, and the truth that it is compared with."""

    name: str
    side: Side
    truth: Truth
    fallbacks: int = 0
    """Cells for which a baseline used its fallback."""
    sd: Mapping[str, np.ndarray] = field(default_factory=dict)
    """[G] of each perturbation whose mean change the prediction says to be so sure."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """What is kept of a prediction when its cells are let go."""

    cell_eval_results: pl.DataFrame
    """cell-eval's own results, untouched."""
    scores: pl.DataFrame
    """:data:`KEYS` and every metric; null where one has no value."""
    fdr: np.ndarray
    """[P, G] float64, adjusted p-values of the predicted cells."""
    changes: np.ndarray
    """[P, G] float64, from the controls of the predicted side."""
    draws: intervals.BatchDraws | None
    fallbacks: int
    sd: Mapping[str, np.ndarray]
    """Of the prediction."""
    second: CellEval2Scores | None = None
    """Of cell-eval2, where it was asked for."""
    sets: Enrichment | None = None
    """Of the predicted changes, where gene sets are scored."""


def make_truth(
    context: str, side: Side, *, control_halves: np.ndarray, seed: int, gene_sets: GeneSets | None = None
) -> Truth:
    """Draw the cells that distances are taken from, and score gene sets where there are some."""
    errors = np.empty_like(side.means)
    for number, rows in enumerate(side.rows.values()):
        errors[number] = _standard_error(side.cells[rows])
    return Truth(
        context=context,
        side=side,
        distances={
            name: spread.sample_cells(side.cells[rows], rng=partial(named_rng, seed, context, name)).distances
            for name, rows in side.rows.items()
        },
        control_halves=control_halves,
        standard_errors=errors,
        expressed=(side.controls > 0).mean(axis=0) >= spread.MIN_DETECTION,
        sets=None if gene_sets is None else enrich(side.changes, gene_sets),
    )


def _standard_error(cells: np.ndarray) -> np.ndarray:
    """Return [G] the standard error of the mean of cells."""
    if len(cells) < 2:
        return np.full(cells.shape[1], np.nan)
    return cells.std(axis=0, dtype=np.float64, ddof=1) / np.sqrt(len(cells))


def score_prediction(task: Task, prediction: Prediction) -> Scored:
    """Score one prediction.

    Raises:
        MetricError: A metric failed; the message names the model and the context.
    """
    pred, truth = prediction.side, prediction.truth
    compared = Compared(pred=pred, real=truth.side)
    try:
        results = compared.cell_eval(task.control)
        table = _join_newest(task, prediction, results)
        second = None if task.second is None else _score_counts(task.second, prediction, control=task.control)
        if task.by_replicate:
            table = table.with_columns(_replicate_columns(task, prediction))
        if second is not None:
            table = table.join(second.rows, on="perturbation", how="left", maintain_order="left")
    except MetricError as error:
        raise MetricError(f"{error} (model {prediction.name!r}, context {truth.context!r})") from error
    sets = None if task.gene_sets is None else enrich(pred.changes, task.gene_sets)
    if sets is not None and truth.sets is not None:
        of_sets = compare(sets, truth.sets)
        table = table.with_columns(pl.Series(metric.column, of_sets[metric.column]) for metric in GENE_SETS)
    trained = None if task.training is None else task.training.changes
    own: dict[str, np.ndarray | list[float]] = {
        **_paper_metrics(pred, truth),
        **compared.ranks(),
        **_residuals(pred, truth.side, trained),
        **_population_metrics(prediction, seed=task.seed),
        "coverage": _coverage(prediction, np.full(len(truth.expressed), True)),
        EXPRESSED_COVERAGE: _coverage(prediction, truth.expressed),
        "de_chance": _chance(results, num_genes=pred.means.shape[1]),
        **{metric.column: metric.compute(pred, truth.side) for metric in METRICS if metric.compute is not None},
    }
    return Scored(
        cell_eval_results=results,
        scores=_undefine(_rows(table, prediction, own), pred.changes),
        fdr=pred.fdr,
        changes=pred.changes,
        draws=_batch_draws(prediction, task.batch_weights, control=task.control),
        fallbacks=prediction.fallbacks,
        sd=prediction.sd,
        second=second,
        sets=sets,
    )


def _rows(table: pl.DataFrame, prediction: Prediction, own: dict[str, np.ndarray | list[float]]) -> pl.DataFrame:
    cells = {"cells_real": prediction.truth.side.rows, "cells_pred": prediction.side.rows}
    return table.with_columns(
        pl.lit(prediction.name).alias("model"),
        pl.lit(prediction.truth.context).alias("context"),
        *(pl.Series(name, [len(members) for members in rows.values()]) for name, rows in cells.items()),
        *(pl.Series(name, own[name], dtype=pl.Float64) for name in extra_metrics()),
    ).select(*KEYS, pl.exclude(KEYS))


def _join_newest(task: Task, prediction: Prediction, results: pl.DataFrame) -> pl.DataFrame:
    """Add the columns of another cell-eval, where one runs."""
    if task.current is None:
        return results
    truth = prediction.truth
    kind = CEILING if prediction.name == CEILING else "real"
    newest = task.current.score(
        pred=prediction.side.for_newest(task.control),
        real=truth.side.for_newest(task.control),
        real_key=f"{kind} {truth.context}",
        control=task.control,
    )
    return results.join(newest, on="perturbation", how="left", maintain_order="left")


def _replicate_columns(task: Task, prediction: Prediction) -> list[pl.Series]:
    """Compare tests of replicates; of models alone, for a fit takes longer than all other metrics together."""
    real = prediction.truth.side
    found: Mapping[str, np.ndarray] = {}
    if prediction.name in [model.name for model in task.models]:
        by_cells = real.own_genes.fdr
        found = compare_tests(prediction.side.replicate_tests, real.replicate_tests, cell_fdr=by_cells)
    nothing = np.full(len(real.rows), np.nan)
    return [pl.Series(metric.column, found.get(metric.column, nothing), dtype=pl.Float64) for metric in REPLICATES]


def _score_counts(second: CellEval2, prediction: Prediction, *, control: str) -> CellEval2Scores:
    """Have cell-eval2 score the counts; real cells that predict one another are its replicate, and have no scale."""
    truth, is_ceiling = prediction.truth, prediction.name == CEILING
    return second.score(
        pred=prediction.side.counts,
        real=truth.side.counts,
        real_key=f"{CEILING if is_ceiling else 'real'} {truth.context}",
        control=control,
        scaled=not is_ceiling,
    )


def _paper_metrics(pred: Side, truth: Truth) -> dict[str, np.ndarray]:
    """Score as appendix A is written, some perturbations at a time."""
    real, halves = truth.side, truth.control_halves
    parts = [
        _paper_metrics_of(pred.part(rows), real.part(rows), halves) for rows in metrics.row_parts(*real.means.shape)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _paper_metrics_of(pred: Side, real: Side, halves: np.ndarray) -> dict[str, np.ndarray]:
    """Take changes and fold changes of both sides against the real controls.

    Args:
        pred: Perturbations as predicted.
        real: The same as observed.
        halves: [2, G] means of two halves of the real controls.
    """
    changed, observed = pred.means - real.control_mean, real.changes
    genes, real_genes = pred.tested_genes(real.control_mean), real.own_genes
    moved = np.abs(changed).max(axis=1) >= metrics.MIN_EFFECT
    return {
        "r2": metrics.r2(pred.means, real.means),
        "paper_pdcorr": np.where(moved, metrics.pearson_delta(changed, observed), np.nan),
        "paper_mae": metrics.error_l1(changed, observed),
        "paper_mse": metrics.error_l2(changed, observed),
        "paper_deover": metrics.de_overlap(genes, real_genes),
        "paper_deprec": metrics.de_precision(genes, real_genes),
        "paper_diragr": metrics.direction_agreement(genes, real_genes),
        "paper_lfcspear": metrics.fold_change_spearman(genes, real_genes),
        "paper_auroc": metrics.roc_auc(genes, real_genes),
        "paper_auprc": metrics.average_precision(genes, real_genes),
        "pearson_delta_split": np.where(moved, metrics.pearson_delta_split(pred.means, real.means, halves), np.nan),
    }


def _coverage(prediction: Prediction, genes: np.ndarray) -> list[float]:
    """Return for each perturbation the share of genes whose observed mean is in the prediction's interval, or NaN.

    Args:
        prediction: With its intervals.
        genes: [G] bool, those that count.
    """
    pred, truth = prediction.side, prediction.truth
    found = []
    for name, mean, observed, error in zip(
        truth.side.rows, pred.means, truth.side.means, truth.standard_errors, strict=True
    ):
        sd = prediction.sd.get(name)
        if sd is None:
            found.append(np.nan)
            continue
        away = (mean - observed)[genes]
        found.append(metrics.coverage(away, sd=np.asarray(sd)[genes], standard_error=error[genes]))
    return found


def _chance(results: pl.DataFrame, *, num_genes: int) -> np.ndarray:
    """Return the overlap that as many genes drawn at random have, [P]."""
    counts = results.select("de_nsig_counts_real", "de_nsig_counts_pred").fill_null(0).fill_nan(0)
    return counts.to_numpy().min(axis=1) / num_genes


def _residuals(pred: Side, real: Side, trained: dict[str, np.ndarray] | None) -> dict[str, np.ndarray]:
    """Correlate residuals; ``trained`` is the mean change of each perturbation over training contexts."""
    expected = None
    if trained is not None:
        nothing = np.full(len(pred.control_mean), np.nan)
        expected = np.stack([trained.get(name, nothing) for name in real.rows])
    residuals = residual_correlations(pred.changes, real.changes, expected)
    return {
        "residual_context": residuals.context,
        "residual_perturbation": residuals.perturbation,
        "residual_both": residuals.both,
    }


def _population_metrics(prediction: Prediction, *, seed: int) -> dict[str, list[float]]:
    pred, truth = prediction.side, prediction.truth
    scores: dict[str, list[float]] = {name: [] for name in ("calibration_error", "edistance", "mmd")}
    for name, rows in truth.side.rows.items():
        rng = partial(named_rng, seed, truth.context, name)
        cells = spread.draw_cells(truth.side.cells[rows], rng=rng)
        observed = spread.CellSample(cells=cells, distances=truth.distances[name])
        predicted = spread.sample_cells(pred.cells[pred.rows[name]], rng=rng)
        distance = spread.compare(predicted, observed)
        scores["calibration_error"].append(spread.calibration_error(predicted.cells, observed.cells))
        scores["edistance"].append(distance.edistance)
        scores["mmd"].append(distance.mmd)
    return scores


def _batch_draws(
    prediction: Prediction, weights: dict[str, np.ndarray] | None, *, control: str
) -> intervals.BatchDraws | None:
    """Score pseudobulks with all batches and without each; ``None`` where sides do not have the same batches."""
    pred, real = prediction.side, prediction.truth.side
    if weights is None or pred.bulks is None or real.bulks is None or not share_batches(pred, real):
        return None
    controls = [bulks[control].mean(weights) for bulks in (pred.bulks, real.bulks)]
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
        model=prediction.name,
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
