# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""From read files to a result folder."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl

from bionemo.scale.eval.baselines.estimators import BASELINES, WITHOUT_TRAINING, chosen_baselines
from bionemo.scale.eval.baselines.training_means import TrainingMeans, fit
from bionemo.scale.eval.cell_eval.adapter import SKIPPED, versions
from bionemo.scale.eval.cell_eval.newest import CONVENTIONS, PREFIX, CurrentCellEval, newest_columns
from bionemo.scale.eval.cells.inputs import (
    ControlPolicy,
    PopulationFile,
    align,
    check_controls,
    check_scale,
    choose_controls,
)
from bionemo.scale.eval.metrics.catalogue import PAPER_METRICS, PAPER_NAMES, PaperMetric
from bionemo.scale.eval.metrics.formulas import MIN_EFFECT
from bionemo.scale.eval.metrics.intervals import (
    COVERAGE,
    MIN_UNITS,
    NUM_DRAWS,
    BatchDraws,
    Interval,
    batch_intervals,
    batch_weights,
)
from bionemo.scale.eval.metrics.ranking import CONSTANT
from bionemo.scale.eval.metrics.spread import BANDWIDTHS, MAX_CELLS, MAX_GENES, MIN_DETECTION
from bionemo.scale.eval.metrics.wilcoxon import FOLD_CHANGE_CLIP
from bionemo.scale.eval.results import ResultFolder, check_out, compare_with_baselines, only_fallbacks, summarise
from bionemo.scale.eval.scoring import CEILING, Model, Shift, Task, score_contexts
from bionemo.scale.eval.settings import ScoringSettings
from bionemo.scale.eval.table import render_table
from bionemo.scale.types import DataCard, GroupMeans, InputError


_MAX_BATCHES = 200
"""More labels are no donors or plates but something finer."""
OWN_CONTROLS = " (own controls)"
"""What a model's name ends with where its own controls are used beside the real ones."""


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """Where baselines learn from."""

    path: Path
    card: DataCard
    means: GroupMeans
    """Of the training split alone."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What was found; the same is in the result folder."""

    scores: pl.DataFrame
    """One row per model x context x perturbation; null where a metric has no value."""
    table: str
    """Text for a terminal."""
    summary: dict[str, Any]
    """Content of summary.json."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Files that were checked against one another, ready to be scored."""

    task: Task
    notes: tuple[str, ...]
    """Lines for the user: what was repaired, dropped or left out."""

    @property
    def steps(self) -> int:
        """Scorings to come, for a progress bar."""
        return len(self.task.contexts()) * (len(self.task.models) + len(self.task.baselines) + self.task.ceiling)


def prepare(
    *,
    real: PopulationFile,
    predictions: Mapping[str, PopulationFile],
    training: TrainingData | None = None,
    options: ScoringSettings | None = None,
    current: CurrentCellEval | None = None,
) -> Prepared:
    """Check the files against one another and put them side by side.

    Args:
        real: Real perturbed cells and the controls of their cell types.
        predictions: Name to prediction; the first is the one whose own cell-eval files are kept.
        training: For the baselines that learn.
        options: How to evaluate; ``None`` takes the defaults.
        current: Another cell-eval that is to score everything too.

    Raises:
        InputError: Something cannot be compared.
    """
    options = options or ScoringSettings()
    named = tuple(BASELINES) if options.baselines is None else chosen_baselines(options.baselines)
    check_controls(real)
    check_scale(real)
    notes, models = list(real.notes), []
    for name, file in predictions.items():
        if name in (*BASELINES, CEILING):
            raise InputError(f"{file.path}: {name!r} is the name of a baseline; give the model another with --name")
        pred = align(file, real)
        notes += pred.notes
        if file.sha256 == real.sha256:
            notes.append(f"warning: {file.path} is the real file: it is scored against itself")
        for policy, suffix in _policies(options.control_policy):
            controls, line = choose_controls(pred, real, policy)
            notes.append(f"control policy {policy}, {name}: {line}")
            cells = pred.population.select(~pred.is_control)
            models.append(Model(name=name + suffix, cells=cells, controls=controls))
    cells = real.population.select(~real.is_control)
    learnt = None
    if training is not None and named:
        learnt, training_notes = _learn(training, real, cells.pairs())
        notes += training_notes
    baselines = tuple(name for name in named if learnt is not None or name in WITHOUT_TRAINING)
    left_out = [name for name in named if name not in baselines]
    if left_out:
        notes.append(f"no training data: baselines left out: {', '.join(left_out)}; --store gives them")
    task = Task(
        cells=cells,
        controls=real.population.select(real.is_control),
        control=real.labels.control,
        models=tuple(models),
        baselines=baselines,
        training=learnt,
        ceiling=options.ceiling,
        engine=options.engine,
        seed=options.seed,
        current=current,
        batch_weights=_batch_weights(real),
    )
    return Prepared(task=task, notes=tuple(notes))


def _policies(policy: str) -> tuple[tuple[ControlPolicy, str], ...]:
    if policy == "both":
        return ("same-real", ""), ("predicted", OWN_CONTROLS)
    return ((cast(ControlPolicy, policy), ""),)


def _batch_weights(real: PopulationFile) -> dict[str, np.ndarray] | None:
    names = sorted(set(real.population.batch.astype(str).tolist()))
    return batch_weights(names) if MIN_UNITS <= len(names) <= _MAX_BATCHES else None


def evaluate(
    *,
    real: PopulationFile,
    predictions: Mapping[str, PopulationFile],
    out: Path,
    training: TrainingData | None = None,
    options: ScoringSettings | None = None,
    current: CurrentCellEval | None = None,
    announce: Callable[[Prepared], None] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Evaluation:
    """Score predictions beside baselines and write the result folder.

    Args:
        real: Real perturbed cells and the controls of their cell types.
        predictions: Name to prediction.
        out: Result folder; replaced file by file, on success only.
        training: For the baselines that learn.
        options: How to evaluate; ``None`` takes the defaults.
        current: Another cell-eval that is to score everything too.
        announce: Called once, when everything has been checked and nothing scored.
        progress: Called with ``context / model`` after each is done.

    Raises:
        InputError: Something cannot be compared; nothing is written.
        MetricError: A metric failed; nothing is written.
    """
    options = options or ScoringSettings()
    check_out(out)
    prepared = prepare(real=real, predictions=predictions, training=training, options=options, current=current)
    if announce is not None:
        announce(prepared)
    fallbacks = dict.fromkeys(("matching", *prepared.task.baselines), 0)
    shifts: list[Shift] = []
    draws: list[BatchDraws] = []
    with ResultFolder(out) as folder:
        for scored in score_contexts(prepared.task, progress):
            folder.add(scored)
            fallbacks = {name: count + scored.fallbacks.get(name, 0) for name, count in fallbacks.items()}
            shifts = _keep_strongest([*shifts, *scored.shifts], prepared.task, options.plot)
            draws += scored.batch_draws
        scores = folder.scores()
        unranked = only_fallbacks(fallbacks, num_cells=len(prepared.task.cells))
        summary = _summary(prepared, scores, options, batches=batch_intervals(draws), unranked=unranked)
        summary["baselines"]["fallback_cells"] = fallbacks
        summary |= {
            "contexts": folder.prefixes,
            "inputs": _inputs(real, predictions, training),
        }
        if options.plot:
            from bionemo.scale.eval.plot import plot_changes

            plot_changes(shifts, model=prepared.task.models[0].name, path=folder.staging / "delta.png")
        folder.finish(summary)
    return Evaluation(scores=scores, table=_tables(prepared.task, scores, unranked), summary=summary)


def split_mismatch(training: TrainingData, predictions: Mapping[str, PopulationFile]) -> str | None:
    """Say why the store's training split is not that of a prediction's model, if so.

    Baselines fitted on another split may have seen what the model was not shown.
    """
    for file in predictions.values():
        theirs = None if file.card is None else file.card.split_sha256
        if theirs is not None and theirs != training.card.split_sha256:
            ours = training.card.split_sha256
            found = "has no split" if ours is None else f"has split {ours[:12]}"
            return f"{training.path}: {found}, the model of {file.path} was trained with split {theirs[:12]}"
    return None


def _tables(task: Task, scores: pl.DataFrame, fallbacks: tuple[str, ...]) -> str:
    found = summarise(scores, trained=_trained(task))
    table = render_table(found, ceiling=CEILING, fallbacks=fallbacks)
    if task.current is None:
        return table
    columns = newest_columns()
    version = task.current.versions["cell-eval"]
    return f"{table}\n\nthe same cells scored by cell-eval {version}\n" + render_table(
        found, columns, ceiling=CEILING, fallbacks=fallbacks
    )


def _trained(task: Task) -> frozenset[str]:
    return frozenset() if task.training is None else frozenset(task.training.changes)


def _keep_strongest(shifts: list[Shift], task: Task, plot: bool) -> list[Shift]:
    if not plot:
        return []
    from bionemo.scale.eval.plot import strongest

    return strongest([shift for shift in shifts if shift.model == task.models[0].name])


def _learn(
    training: TrainingData, real: PopulationFile, evaluated: set[tuple[str, str]]
) -> tuple[TrainingMeans | None, list[str]]:
    """Fit the baselines' pseudobulks on the genes of the real file."""
    card, genes = training.card, real.population.genes
    missing = [gene for gene in genes if gene not in set(card.genes)]
    if missing:
        raise InputError(
            f"{training.path}: {len(missing)} of {len(genes)} genes of {real.path} are not in the store, "
            f"first {missing[0]!r}; expected the store the prediction's model was trained on"
        )
    theirs = None if real.card is None else real.card.scale
    if theirs is not None and (card.scale.target_sum, card.scale.source) != (theirs.target_sum, theirs.source):
        raise InputError(
            f"{training.path}: expression scale (target_sum {card.scale.target_sum:g}, from {card.scale.source}) is "
            f"not that of {real.path} (target_sum {theirs.target_sum:g}, from {theirs.source})"
        )
    column = {gene: index for index, gene in enumerate(card.genes)}
    means = training.means.means[:, [column[gene] for gene in genes]]
    learnt = fit(replace(training.means, means=np.asarray(means, dtype=np.float64)), control=card.control)
    if learnt is None:
        return None, [f"{training.path}: its training split has no perturbed cells"]
    seen = len(evaluated & learnt.pairs)
    if not seen:
        return learnt, []
    return learnt, [
        f"warning: {seen} of {len(evaluated)} evaluated (cell type, perturbation) pairs are in the training split of "
        f"{training.path}: baselines have seen their mean"
    ]


def _summary(
    prepared: Prepared,
    scores: pl.DataFrame,
    options: ScoringSettings,
    *,
    batches: dict[str, dict[str, Interval]],
    unranked: tuple[str, ...],
) -> dict[str, Any]:
    task = prepared.task
    first = scores.filter(pl.col("model") == scores["model"][0])
    found = summarise(scores, trained=_trained(task), batch_intervals=batches, seed=options.seed)
    names = [model.name for model in task.models]
    rivals = [name for name in task.baselines if name not in unranked]
    compared = compare_with_baselines(scores, models=names, baselines=rivals, seed=options.seed)
    return {
        "models": {name: {metric: asdict(item) for metric, item in row.items()} for name, row in found.items()},
        "against_best_baseline": {
            name: {metric: asdict(item) for metric, item in row.items()} for name, row in compared.items()
        },
        "names": {"models": names, "baselines": list(task.baselines), "ceiling": task.ceiling},
        "control_policy": options.control_policy,
        "pairs": first.height,
        "pairs_without_significant_real_gene": int((first["de_nsig_counts_real"] == 0).sum()),
        "baselines": {
            "fitted_on": "training split" if task.training is not None else None,
            "ridge_penalty": _ridge_penalty(task),
            "cells": len(task.cells),
            "seed": options.seed,
        },
        "evaluator": {"versions": versions(), "de_engine": options.engine, "conventions": _conventions()},
        "current_evaluator": None
        if task.current is None
        else {"columns": f"{PREFIX}*", "versions": task.current.versions, "conventions": CONVENTIONS},
        "paper_names": PAPER_NAMES,
        "paper_metrics": {metric.name: _paper_metric(metric) for metric in PAPER_METRICS},
        "notes": list(prepared.notes),
    }


def _ridge_penalty(task: Task) -> float | None:
    if "ridge" not in task.baselines or task.training is None or task.training.ridge is None:
        return None
    return task.training.ridge.penalty


def _paper_metric(metric: PaperMetric) -> dict[str, str | None]:
    equal = "yes" if metric.equals_cell_eval else "no"
    return {
        "column": metric.column,
        "equation": metric.equation,
        "cell_eval_column": metric.cell_eval,
        "equals cell-eval": f"{equal}, {'except: ' if metric.equals_cell_eval else 'because: '}{metric.because}",
    }


def _conventions() -> dict[str, str]:
    return {
        "context": "cell-eval runs per cell type; a summary's mean gives every (context, perturbation) pair one vote",
        "undefined": "a pair without a value counts as undefined, with the reason, not as 0, 1 or NaN",
        "fdr": "Benjamini-Hochberg over all perturbations x genes of one context, significant below 0.05",
        "fold_change": "expm1(mean log1p) of perturbed by control, "
        f"{FOLD_CHANGE_CLIP:g} where the control is 0, 1/{FOLD_CHANGE_CLIP:g} where the perturbed is 0",
        "overlap": "top genes by absolute fold change among those significant on both sides; overlap_at_N and "
        "precision_at_N are 0 where nothing is significant, as in cell-eval",
        "discrimination": "undefined where a context has one perturbation: a rank among one says nothing",
        "pearson_delta": f"undefined where no gene is predicted to change by {MIN_EFFECT:g}",
        "pearson_delta_split": "as pearson_delta, the real controls cut in two at random within batches: the predicted side "
        "subtracts one half and the real side the other, mean of both ways",
        "de_chance": "min(significant real genes, significant predicted genes) / genes, what a random set of genes scores "
        "in overlap_at_N and precision_at_N",
        "marks": "* best of a column, ^ best and beyond the ceiling, neither at or below de_chance; constant cells "
        f"(sd_ratio under {CONSTANT}) are not compared in metrics that test or read cells, and are no best baseline there",
        "mse_mae": "mean over genes of mean expression, no control subtracted; mse_delta and mae_delta subtract it",
        "intervals": f"{COVERAGE:.0%} percentile bootstrap: {NUM_DRAWS} draws of perturbations (contexts where there are "
        f"under {MIN_UNITS}); jackknife over batches, left out before the pseudobulk; cells are not drawn",
        "residuals": "residual_context subtracts from each side its mean change over the context's perturbations, "
        "residual_perturbation the perturbation's mean change over training contexts, residual_both both",
        "sd_ratio": "median over genes of predicted by observed standard deviation between cells, genes that "
        f"{MIN_DETECTION:.0%} of observed cells express",
        "calibration_error": f"{MAX_GENES} most expressed genes, levels 0.1 to 0.9, at most {MAX_CELLS} cells a side",
        "edistance": f"unbiased energy distance, Euclidean over genes, at most {MAX_CELLS} cells a side",
        "mmd": f"unbiased squared MMD of the same cells, Gaussian kernels of {', '.join(map(str, BANDWIDTHS))} times the "
        "median distance of observed cells",
        "ceiling": "one half of a pair's real cells as prediction of the other half, same controls; not corrected "
        "for the halved number of cells, and only pairs with 4 cells or more",
        "skipped": ", ".join(SKIPPED),
    }


def _inputs(
    real: PopulationFile, predictions: Mapping[str, PopulationFile], training: TrainingData | None
) -> dict[str, Any]:
    return {
        "real": _input(real),
        "pred": {name: _input(file) for name, file in predictions.items()},
        "store": None
        if training is None
        else {"path": str(training.path), "split_sha256": training.card.split_sha256},
    }


def _input(file: PopulationFile) -> dict[str, Any]:
    found = {"path": str(file.path), "sha256": file.sha256}
    return found if file.card is not None else {**found, "labels": asdict(file.labels)}
