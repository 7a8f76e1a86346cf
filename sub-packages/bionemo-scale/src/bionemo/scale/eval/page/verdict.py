# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The scores in plain sentences: errors, better baselines, shrunken effects, wrong signs and intervals."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from bionemo.scale.eval.metrics.catalogue import EXPRESSED_COVERAGE, HEADLINE, Metric, loss
from bionemo.scale.eval.metrics.formulas import FDR
from bionemo.scale.eval.metrics.ranking import best_of
from bionemo.scale.eval.output.summary import Summary
from bionemo.scale.eval.scores.task import CEILING
from bionemo.scale.types import INTERVAL_LEVEL, Z_OF_INTERVAL


NOTHING = "control"
"""The baseline that predicts no change."""
_HONEST = 0.05
"""How far coverage may be from the level to be called about right."""
_COMPARED = tuple(metric for metric in HEADLINE if metric.best in ("high", "low"))
_WRONG = pl.col("real").cast(pl.Float64) * pl.col("pred").cast(pl.Float64) < 0
"""Whether a change is predicted in the wrong direction."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The sentences about one model."""

    model: str
    lines: tuple[str, ...]


def verdicts(summary: Summary, genes: pl.DataFrame) -> list[Verdict]:
    """Return what to say of each model.

    Args:
        summary: Of the evaluation.
        genes: Content of genes.parquet.
    """
    found = []
    for name in summary.names.models:
        mine = genes.filter(pl.col("model") == name)
        lines = (
            _close(name, summary),
            _beaten(name, summary),
            _shrinkage(mine),
            _signs(mine),
            _coverage(name, summary),
        )
        found.append(Verdict(model=name, lines=tuple(line for line in lines if line)))
    return found


def _close(name: str, summary: Summary) -> str:
    means, parts = summary.means, []
    correlation, error = means[name].get("pearson_delta"), means[name].get("mse")
    ceiling, nothing = means.get(CEILING, {}), means.get(NOTHING, {})
    if correlation is not None:
        best = ceiling.get("pearson_delta")
        measured = "" if best is None else f" ({best:.2f} between two halves of the real cells)"
        parts.append(f"The correlation of predicted and observed changes is {correlation:.2f}{measured}.")
    unchanged = nothing.get("mse")
    if error is not None and unchanged:
        share = 1 - error / unchanged
        words = f"{100 * share:.0f} % smaller" if share >= 0 else f"{-100 * share:.0f} % larger"
        best = ceiling.get("mse")
        reached = "" if best is None else f" ({100 * (1 - best / unchanged):.0f} % smaller between the two halves)"
        parts.append(f"The squared error of mean expression is {words} than that of predicting no change{reached}.")
    return " ".join(parts)


def standing(name: str, summary: Summary) -> dict[str, list[str]]:
    """Return the headline metrics by what is known of a model against the best baseline of each.

    Returns:
        ``better``, ``worse``, ``open`` (not distinguishable) by paired intervals; ``lower`` where there are too few
        pairs for an interval and a baseline has the better mean.
    """
    found: dict[str, list[str]] = {"better": [], "worse": [], "open": [], "lower": []}
    against = summary.against_best_baseline.get(name, {})
    for metric in _COMPARED:
        if (item := against.get(metric.column)) is not None:
            found[item.verdict].append(f"{metric.name} ({item.baseline})" if item.verdict == "worse" else metric.name)
        elif (rival := _better_mean(metric, name, summary)) is not None:
            found["lower"].append(f"{metric.name} ({rival})")
    return found


def _better_mean(metric: Metric, name: str, summary: Summary) -> str | None:
    means = summary.means
    mine, rival = means[name].get(metric.column), best_of(summary.ranked_baselines, metric, means)
    theirs = None if rival is None else means[rival][metric.column]
    if mine is None or theirs is None:
        return None
    return rival if loss(mine, metric.best) > loss(theirs, metric.best) else None


def _beaten(name: str, summary: Summary) -> str:
    if not summary.ranked_baselines:
        return "No baseline was scored beside it."
    found, parts = standing(name, summary), []
    if found["better"]:
        parts.append(f"Better than the best baseline in {_list(found['better'])}.")
    if found["worse"]:
        parts.append(f"Beaten in {_list(found['worse'])}.")
    if found["open"]:
        parts.append(f"Not distinguishable from the best baseline in {_list(found['open'])}.")
    if found["lower"]:
        parts.append(
            f"A baseline has the better mean in {_list(found['lower'])}; with so few pairs this may be chance."
        )
    if not parts:
        parts.append("No baseline has a better mean in any headline metric; there are too few pairs for intervals.")
    return " ".join(parts)


def _shrinkage(genes: pl.DataFrame) -> str:
    chosen = genes.filter(pl.col("fdr_real") < FDR)
    real, pred = chosen["real"].to_numpy().astype(np.float64), chosen["pred"].to_numpy().astype(np.float64)
    if not (size := float((real**2).sum())):
        return "No gene changed significantly in the real cells."
    slope = float((real * pred).sum() / size)
    how = f"effects are predicted {100 * (1 - slope):.0f} % too small" if slope < 1 else "effects are not too small"
    return (
        f"{chosen.height:,} gene changes are significant in the real cells. On average the predicted change is "
        f"{slope:.2f} times the observed one, so {how}."
    )


def _signs(genes: pl.DataFrame) -> str:
    chosen = genes.filter(pl.col("fdr_real") < FDR)
    if not chosen.height:
        return ""
    wrong = chosen.filter(_WRONG).height
    text = f"{wrong:,} of them ({100 * wrong / chosen.height:.0f} %) are predicted in the wrong direction."
    if "sd_pred" not in genes.columns:
        return text
    sd = pl.col("sd_pred").cast(pl.Float64)
    sure = genes.filter(sd.is_not_nan() & (pl.col("pred").cast(pl.Float64).abs() > Z_OF_INTERVAL * sd))
    if not sure.height:
        return text
    missed = sure.filter(_WRONG).height
    return (
        f"{text} Of the {sure.height:,} changes whose predicted interval does not include 0, {missed:,} "
        f"({100 * missed / sure.height:.0f} %) have the opposite sign in the real cells."
    )


def _coverage(name: str, summary: Summary) -> str:
    means, genes = summary.means[name], "the genes that control cells express"
    found = means.get(EXPRESSED_COVERAGE)
    if found is None:
        # Scores of an earlier version have no other, and predictions without intervals have neither.
        found, genes = means.get("coverage"), "all genes"
    if found is None:
        return "The file of the prediction has no intervals, so it does not say how sure it is."
    away = found - INTERVAL_LEVEL
    how = "about right" if abs(away) <= _HONEST else "too narrow" if away < 0 else "wider than they need to be"
    level = f"{100 * INTERVAL_LEVEL:.0f} %"
    return f"Its {level} intervals hold the observed mean of {100 * found:.0f} % of {genes}, so they are {how}."


def _list(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
