# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The warnings at the top of a report: everything that weakens its scores."""

from bionemo.scale.eval.output.summary import Summary, why_unranked
from bionemo.scale.eval.page.sources import RunFiles
from bionemo.scale.eval.page.verdict import standing


_NARROW = 0.5
"""sd_ratio below which a predicted population is called collapsed."""
_FEW_PAIRS = 10


def cautions(run: RunFiles | None, summary: Summary) -> list[str]:
    """Return one line for everything that weakens the scores, the evaluator's own warnings first."""
    lines = [note.removeprefix("warning: ") for note in summary.notes if note.startswith("warning: ")]
    if summary.pairs < _FEW_PAIRS:
        lines.append(
            f"Only {summary.pairs} (cell type, perturbation) pairs were scored. With others, means and ranks may "
            "change."
        )
    silent = summary.pairs_without_significant_real_gene
    if silent:
        lines.append(
            f"{silent} of {summary.pairs} pairs have no significant real gene; DEOver and DEPrec count them as 0."
        )
    if not summary.names.baselines or summary.inputs.store is None:
        lines.append("No training data were given to the evaluation, so baselines that learn are missing.")
    unranked = summary.unranked_baselines
    if unranked:
        lines.append(f"Baselines {why_unranked(unranked)}.")
    for name in summary.names.models:
        lines += _of_model(name, summary)
    if run is not None and not run.metrics:
        lines.append("The run folder has no metrics.csv, so training curves are missing.")
    return lines


def _of_model(name: str, summary: Summary) -> list[str]:
    means = summary.means
    spread = means[name]["sd_ratio"]
    lines = []
    if spread is not None and spread < _NARROW:
        lines.append(f"{name} predicts too little spread: {spread:.2f} of the observed standard deviation.")
    worse = standing(name, summary)["worse"]
    if worse:
        lines.append(f"{name} is worse than the best baseline in: {', '.join(worse)}.")
    scores = summary.models[name].values()
    if not any(item.interval or item.batch_interval for item in scores):
        lines.append(f"{name}: too few perturbations, contexts and batches for intervals; differences may be chance.")
    elif not any(item.interval for item in scores):
        lines.append(f"{name}: intervals are over batches, because there are too few perturbations and contexts.")
    return lines
