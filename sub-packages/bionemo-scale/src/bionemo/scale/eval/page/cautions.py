# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a reader must know before believing the page."""

from bionemo.scale.eval.metrics.catalogue import HEADLINE, Metric, loss
from bionemo.scale.eval.metrics.ranking import best_of
from bionemo.scale.eval.output.summary import Summary, why_unranked
from bionemo.scale.eval.page.sources import RunFiles


_NARROW = 0.5
"""sd_ratio below which a predicted population is called collapsed."""
_FEW_PAIRS = 10


def cautions(run: RunFiles | None, summary: Summary) -> list[str]:
    """Return one line for everything that weakens the scores, the evaluator's own warnings first."""
    lines = [note.removeprefix("warning: ") for note in summary.notes if note.startswith("warning: ")]
    if summary.pairs < _FEW_PAIRS:
        lines.append(
            f"Only {summary.pairs} (cell type, perturbation) pairs: means and ranks may change with any other."
        )
    silent = summary.pairs_without_significant_real_gene
    if silent:
        lines.append(
            f"{silent} of {summary.pairs} pairs have no significant real gene: DEOver and DEPrec count them as 0."
        )
    if not summary.names.baselines or summary.inputs.store is None:
        lines.append("No training data was given to the evaluation: baselines that learn are missing.")
    unranked = summary.unranked_baselines
    if unranked:
        lines.append(f"Baselines {why_unranked(unranked)}.")
    for name in summary.names.models:
        lines += _of_model(name, summary)
    if run is not None and not run.metrics:
        lines.append("The run folder has no metrics.csv: training curves are missing.")
    return lines


def _of_model(name: str, summary: Summary) -> list[str]:
    means = summary.means
    spread = means[name]["sd_ratio"]
    lines = []
    if spread is not None and spread < _NARROW:
        lines.append(f"{name} predicts too little spread: {spread:.2f} of the observed standard deviation.")
    behind = [metric.name for metric in HEADLINE if _is_behind(metric, name, summary, means)]
    if behind:
        lines.append(f"{name} is behind the best baseline in: {', '.join(behind)}.")
    if not any(item.interval for item in summary.models[name].values()):
        lines.append(f"{name}: too few perturbations and contexts for intervals; differences may be chance.")
    return lines


def _is_behind(metric: Metric, name: str, summary: Summary, means: dict[str, dict[str, float | None]]) -> bool:
    mine, rival = means[name].get(metric.column), best_of(summary.ranked_baselines, metric, means)
    return None not in (mine, rival) and loss(mine, metric.best) > loss(means[rival][metric.column], metric.best)
