# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""From the table of pairs to the summary: means, intervals, differences from baselines, and conventions."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import polars as pl

from bionemo.scale.eval.cell_eval.adapter import SKIPPED, versions
from bionemo.scale.eval.cell_eval.challenge import CHALLENGE, CellEval2
from bionemo.scale.eval.cell_eval.challenge import CONVENTIONS as CELL_EVAL2_CONVENTIONS
from bionemo.scale.eval.cell_eval.challenge import PREFIX as CELL_EVAL2_PREFIX
from bionemo.scale.eval.cell_eval.newest import CONVENTIONS, PREFIX
from bionemo.scale.eval.cells.population_file import PopulationFile
from bionemo.scale.eval.metrics.catalogue import (
    BY_COLUMN,
    EXPRESSED_COVERAGE,
    PAPER_METRICS,
    PAPER_NAMES,
    PaperMetric,
)
from bionemo.scale.eval.metrics.formulas import MIN_EFFECT
from bionemo.scale.eval.metrics.intervals import (
    COVERAGE,
    MIN_UNITS,
    NUM_DRAWS,
    BatchDraws,
    Difference,
    Interval,
    PairBootstrap,
    batch_intervals,
)
from bionemo.scale.eval.metrics.ranking import CONSTANT, best_of
from bionemo.scale.eval.metrics.spread import BANDWIDTHS, MAX_CELLS, MAX_GENES, MIN_DETECTION
from bionemo.scale.eval.metrics.undefined import reasons
from bionemo.scale.eval.metrics.wilcoxon import FOLD_CHANGE_CLIP
from bionemo.scale.eval.output.summary import (
    BaselineNotes,
    Evaluator,
    InputFile,
    Inputs,
    MetricSummary,
    Names,
    OtherEvaluator,
    SecondEvaluator,
    Summary,
    only_fallbacks,
)
from bionemo.scale.eval.scores.task import CEILING, KEYS, Task
from bionemo.scale.types import INTERVAL_LEVEL, Z_OF_INTERVAL


OVERALL = "score"
"""The mean of the six scaled metrics of the challenge."""
NO_SCALE = "mean response and replicate span no scale"


def make_summary(
    task: Task,
    scores: pl.DataFrame,
    *,
    control_policy: str,
    notes: Sequence[str],
    fallbacks: dict[str, int],
    draws: Sequence[BatchDraws],
    contexts: dict[str, str],
    inputs: Inputs,
) -> Summary:
    """Sum an evaluation up.

    Args:
        task: What was scored.
        scores: One row per model x context x perturbation.
        control_policy: As the user asked.
        notes: Lines for the user.
        fallbacks: Baseline to the cells for which it used its fallback.
        draws: Scores of pseudobulks without each batch.
        contexts: Context to the beginning of the names of its files.
        inputs: What was read.
    """
    first = scores.filter(pl.col("model") == scores["model"][0])
    names = [model.name for model in task.models]
    unranked = only_fallbacks(fallbacks, num_cells=len(task.cells))
    rivals = [name for name in task.baselines if name not in unranked]
    other = task.current
    return Summary(
        models=summarise(
            scores,
            trained=_trained(task),
            batch_intervals=batch_intervals(list(draws), pairs=_defined(scores)),
            seed=task.seed,
        ),
        against_best_baseline=compare_with_baselines(scores, models=names, baselines=rivals, seed=task.seed),
        names=Names(models=names, baselines=list(task.baselines), ceiling=task.ceiling),
        control_policy=control_policy,
        pairs=first.height,
        pairs_without_significant_real_gene=int((first["de_nsig_counts_real"] == 0).sum()),
        baselines=BaselineNotes(
            fitted_on="training split" if task.training is not None else None,
            ridge_penalty=_ridge_penalty(task),
            cells=len(task.cells),
            seed=task.seed,
            fallback_cells=fallbacks,
        ),
        evaluator=Evaluator(versions=versions(), de_engine=task.engine, conventions=_conventions()),
        current_evaluator=None
        if other is None
        else OtherEvaluator(columns=f"{PREFIX}*", versions=other.versions, conventions=CONVENTIONS),
        paper_names=PAPER_NAMES,
        paper_metrics={metric.name: _paper_metric(metric) for metric in PAPER_METRICS},
        notes=list(notes),
        contexts=contexts,
        inputs=inputs,
    )


def with_second(summary: Summary, task: Task, values: pl.DataFrame | None) -> Summary:
    """Return a summary with what cell-eval2 says of each model and context, where it was asked."""
    if values is None or task.second is None:
        return summary
    return replace(summary, second_evaluator=_second_evaluator(task.second, values))


def _second_evaluator(second: CellEval2, values: pl.DataFrame) -> SecondEvaluator:
    scales = {key.removeprefix("real "): scale for key, scale in sorted(second.scales().items())}
    return SecondEvaluator(
        columns=f"{CELL_EVAL2_PREFIX}*",
        versions=second.versions,
        conventions=CELL_EVAL2_CONVENTIONS,
        scales=scales,
        scaled=scaled_scores(
            values, {context: {name: end.why for name, end in scale.items()} for context, scale in scales.items()}
        ),
    )


def scaled_scores(values: pl.DataFrame, why: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, MetricSummary]]:
    """Return model to metric of the challenge to its mean over contexts, and :data:`OVERALL`, the mean of all six.

    Args:
        values: ``model``, ``context``, ``metric`` and ``scaled``.
        why: Context to metric to the reason why it has no scale, empty where it has one.
    """
    found: dict[str, dict[str, MetricSummary]] = {}
    for (model,), frame in values.filter(pl.col("model") != CEILING).group_by("model", maintain_order=True):
        by_metric = {
            name: {row["context"]: row["scaled"] for row in frame.filter(pl.col("metric") == name).to_dicts()}
            for name in CHALLENGE
        }
        overall = {
            context: None
            if None in (each := [by_metric[name][context] for name in CHALLENGE])
            else sum(each) / len(each)
            for context in by_metric[CHALLENGE[0]]
        }
        whys = {name: [why.get(context, {}).get(name, "") for context in overall] for name in CHALLENGE}
        found[str(model)] = {name: _over_contexts(by_metric[name], whys[name]) for name in CHALLENGE}
        found[str(model)][OVERALL] = _over_contexts(overall, ["not all six metrics have a scale"] * len(overall))
    return found


def _over_contexts(values: Mapping[str, float | None], why: Sequence[str]) -> MetricSummary:
    known = [value for value in values.values() if value is not None]
    reasons = Counter(reason or NO_SCALE for value, reason in zip(values.values(), why, strict=True) if value is None)
    return MetricSummary(
        mean=sum(known) / len(known) if known else None,
        n=len(known),
        undefined=len(values) - len(known),
        why=dict(reasons),
    )


def _defined(scores: pl.DataFrame) -> dict[str, dict[str, int]]:
    """Return model to metric to the number of pairs with a value."""
    counts = scores.group_by("model", maintain_order=True).agg(pl.col(metric_names(scores)).count())
    return {str(row.pop("model")): row for row in counts.to_dicts()}


def input_file(file: PopulationFile) -> InputFile:
    """Return what the summary says of a file."""
    labels = file.labels if file.card is None else None
    return InputFile(path=str(file.path), sha256=file.sha256, labels=labels)


def summarise(
    scores: pl.DataFrame,
    *,
    trained: frozenset[str] = frozenset(),
    batch_intervals: Mapping[str, Mapping[str, Interval]] | None = None,
    seed: int = 0,
) -> dict[str, dict[str, MetricSummary]]:
    """Return model to metric to its summary, models in order of appearance.

    Args:
        scores: The results table.
        trained: Perturbations whose change training data show.
        batch_intervals: Model to metric to its interval over batches.
        seed: Of the bootstrap.
    """
    names = metric_names(scores)
    bootstrap = PairBootstrap(scores, seed=seed)
    summaries = {}
    for (model,), frame in scores.group_by("model", maintain_order=True):
        why = reasons(frame, trained=trained)
        batches = (batch_intervals or {}).get(str(model), {})
        summaries[str(model)] = {
            name: MetricSummary(
                mean=frame[name].mean(),
                n=frame.height - frame[name].null_count(),
                undefined=frame[name].null_count(),
                why=why.get(name, {}),
                interval=bootstrap.interval(frame, name),
                batch_interval=batches.get(name),
            )
            for name in names
        }
    return summaries


def compare_with_baselines(
    scores: pl.DataFrame, *, models: Sequence[str], baselines: Sequence[str], seed: int = 0
) -> dict[str, dict[str, Difference]]:
    """Return model to metric to its difference from the best baseline, for metrics that have a best."""
    bootstrap = PairBootstrap(scores, seed=seed)
    frames = {str(model): frame for (model,), frame in scores.group_by("model", maintain_order=True)}
    means = {name: {metric: frames[name][metric].mean() for metric in metric_names(scores)} for name in baselines}
    differences: dict[str, dict[str, Difference]] = {}
    for metric in metric_names(scores):
        if metric not in BY_COLUMN or BY_COLUMN[metric].best not in ("high", "low"):
            continue
        rival = best_of(baselines, BY_COLUMN[metric], means)
        for model in models:
            difference = None if rival is None else bootstrap.difference(frames[model], frames[rival], metric)
            if difference is not None:
                differences.setdefault(model, {})[metric] = difference
    return differences


def metric_names(scores: pl.DataFrame) -> list[str]:
    """Return the metric columns of a results table."""
    return [name for name in scores.columns if name not in KEYS]


def _trained(task: Task) -> frozenset[str]:
    return frozenset() if task.training is None else frozenset(task.training.changes)


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
        "pearson_delta_split": "as pearson_delta, the real controls cut in two at random within batches: the "
        "predicted side subtracts one half and the real side the other, mean of both ways",
        "de_chance": "min(significant real genes, significant predicted genes) / genes, what a random set of genes "
        "scores in overlap_at_N and precision_at_N",
        "marks": "* best of a column, ^ best and beyond the ceiling, neither at or below de_chance; constant cells "
        f"(sd_ratio under {CONSTANT}) are not compared in metrics that test or read cells, and are no best baseline "
        "there",
        "mse_mae": "mean over genes of mean expression, no control subtracted; mse_delta and mae_delta subtract it",
        "intervals": f"{COVERAGE:.0%} percentile bootstrap: {NUM_DRAWS} draws of perturbations (contexts where there "
        f"are under {MIN_UNITS}); jackknife over batches, left out before the pseudobulk; cells are not drawn",
        "residuals": "residual_context subtracts from each side its mean change over the context's perturbations, "
        "residual_perturbation the perturbation's mean change over training contexts, residual_both both",
        "sd_ratio": "median over genes of predicted by observed standard deviation between cells, genes that "
        f"{100 * MIN_DETECTION:.0f} % of observed cells express",
        "calibration_error": f"{MAX_GENES} most expressed genes, levels 0.1 to 0.9, at most {MAX_CELLS} cells a side",
        "edistance": f"unbiased energy distance, Euclidean over genes, at most {MAX_CELLS} cells a side",
        "mmd": f"unbiased squared MMD of the same cells, Gaussian kernels of {', '.join(map(str, BANDWIDTHS))} times "
        "the median distance of observed cells",
        "coverage": f"share of all genes with |predicted - observed mean| <= {Z_OF_INTERVAL} sqrt(sd^2 + error^2): sd "
        "as the prediction's file gives it, error the standard error of the observed mean over cells; of an honest "
        f"{INTERVAL_LEVEL:.0%} interval {INTERVAL_LEVEL:g}",
        EXPRESSED_COVERAGE: f"the same of genes that {100 * MIN_DETECTION:.0f} % or more of the real control cells "
        "express; not of those that observed cells express, which would count genes that happened to be high",
        "ceiling": "one half of a pair's real cells as prediction of the other half, same controls; not corrected "
        "for the halved number of cells, and only pairs with 4 cells or more",
        "skipped": ", ".join(SKIPPED),
    }
