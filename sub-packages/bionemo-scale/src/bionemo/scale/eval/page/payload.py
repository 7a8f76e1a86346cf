# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What the page's figures draw: plain values, long arrays as base64 of float32."""

import base64
from typing import Any

import numpy as np
import polars as pl

from bionemo.scale.eval.metrics.catalogue import HEADLINE, METRICS, Metric
from bionemo.scale.eval.output.summary import Summary
from bionemo.scale.eval.page.embedding import Clouds
from bionemo.scale.eval.page.gene_changes import GeneChanges, changes_of, strongest_pairs
from bionemo.scale.eval.page.sources import RunFiles, ScoreFiles
from bionemo.scale.types import Z_OF_INTERVAL


MAX_PAIRS = 150
"""Pairs whose genes are shown: those with the strongest observed effect."""
MAX_VALUES = 600_000
"""Genes of all pairs and models together: each takes about 30 bytes of the page."""
MAX_SCORES = 1_000_000
"""Scores of all pairs, models and metrics together: each takes about 6 bytes of the page. Headline metrics are always
shown."""


def figures(run: RunFiles | None, scores: ScoreFiles, clouds: list[Clouds]) -> dict[str, Any]:
    """Return everything that is drawn, ready for JSON."""
    genes = _genes(scores.genes)
    return {
        "models": scores.summary.names.models,
        "baselines": scores.summary.names.baselines,
        "z": Z_OF_INTERVAL,
        "metrics": [
            {
                "column": metric.column,
                "title": title(metric),
                "formula": metric.formula,
                "best": metric.best,
            }
            for metric in METRICS
            if metric.column in scores.results.columns
        ],
        "pairs": _pairs(scores.results),
        "rows": _rows(scores.summary),
        "curves": {} if run is None else run.metrics,
        "genes": genes,
        "effects": _effects(scores.genes),
        "clouds": [_cloud(item) for item in clouds],
    }


def title(metric: Metric) -> str:
    """Return the short name of a metric, followed by its column if the two differ."""
    return f"{metric.title} ({metric.column})" if metric in HEADLINE and metric.title else metric.column


def encode(values: np.ndarray) -> str:
    """Return float32 values, little-endian, as base64."""
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f4").tobytes()).decode()


def _rows(summary: Summary) -> list[dict[str, Any]]:
    """Return means with their intervals, over perturbations where there are such, else over batches."""
    rows = []
    for name, scores in summary.models.items():
        found = {}
        for column, item in scores.items():
            interval = item.interval or item.batch_interval
            if item.mean is not None:
                bounds = [] if interval is None else [interval.low, interval.high, interval.unit]
                found[column] = [item.mean, *bounds]
        rows.append({"name": name, "scores": found})
    return rows


def _pairs(results: pl.DataFrame) -> dict[str, Any]:
    """Return the scores of every pair by model and metric, NaN where one has none."""
    keys = ["context", "perturbation"]
    pairs = results.unique(keys, keep="first", maintain_order=True).select(*keys, "cells_real")
    models = results.partition_by("model", as_dict=True, maintain_order=True)
    columns = _drawn(results, len(pairs) * len(models))
    of_models = {model: pairs.select(keys).join(rows, on=keys, how="left") for (model,), rows in models.items()}
    return {
        **pairs.to_dict(as_series=False),
        "columns": columns,
        "scores": {
            model: {name: encode(rows[name].cast(pl.Float64).fill_null(np.nan).to_numpy()) for name in columns}
            for model, rows in of_models.items()
        },
    }


def _drawn(results: pl.DataFrame, num_rows: int) -> list[str]:
    """Return the columns that are drawn pair by pair: all, or of many rows the headline metrics and some more."""
    known = [metric.column for metric in METRICS if metric.column in results.columns]
    headline = [metric.column for metric in HEADLINE if metric.column in known]
    first = [*headline, *(name for name in known if name not in headline)]
    chosen = first[: max(len(headline), MAX_SCORES // max(1, num_rows))]
    return [name for name in known if name in chosen]


def shown_pairs(genes: pl.DataFrame) -> list[tuple[str, str]]:
    """Return the (cell type, perturbation) pairs that can be chosen: those with the strongest observed effect."""
    num_values = genes["gene"].n_unique() * genes["model"].n_unique()
    return strongest_pairs(genes)[: max(1, min(MAX_PAIRS, MAX_VALUES // max(1, num_values)))]


def _genes(genes: pl.DataFrame) -> dict[str, Any]:
    """Return all genes of the pairs that can be chosen, strongest first, for each model."""
    names = genes["gene"].unique(maintain_order=True).to_list()
    index = {name: row for row, name in enumerate(names)}
    models = genes["model"].unique(maintain_order=True).to_list()
    shown, keys = shown_pairs(genes), ["context", "perturbation"]
    # Before they are parted: a large screen has thousands of pairs that are not shown.
    chosen = pl.DataFrame(shown, schema={key: genes[key].dtype for key in keys}, orient="row")
    by_pair = genes.join(chosen, on=keys, how="semi", maintain_order="left").partition_by(
        [*keys, "model"], as_dict=True, maintain_order=True
    )
    frames = [by_pair.get((*pair, model)) for model in models for pair in shown]
    entries = [_changes(changes_of(frame), index) for frame in frames if frame is not None]
    return {"names": names, "entries": entries, "pairs": genes.select(keys).n_unique()}


def _changes(found: GeneChanges, index: dict[str, int]) -> dict[str, Any]:
    """Return the arrays of one pair; ``gene`` is there only if genes are missing or in another order."""
    rows = [index[name] for name in found.genes]
    entry: dict[str, Any] = {name: getattr(found, name) for name in ("model", "context", "perturbation")}
    if rows != list(range(len(index))):
        entry["gene"] = rows
    entry["significant"] = np.flatnonzero(found.significant).tolist()
    arrays = {name: getattr(found, name) for name in ("real", "pred", "sd", "error")}
    return {**entry, **{name: encode(values) for name, values in arrays.items() if values is not None}}


def _effects(genes: pl.DataFrame) -> list[dict[str, Any]]:
    """Return the size of every observed and predicted change, its Euclidean norm over genes."""
    norm = [
        (pl.col(side).cast(pl.Float64) ** 2).sum().sqrt().round_sig_figs(6).alias(side) for side in ("real", "pred")
    ]
    return genes.group_by("model", "context", "perturbation", maintain_order=True).agg(norm).to_dicts()


def _cloud(item: Clouds) -> dict[str, Any]:
    return {
        "method": item.method,
        "explained": item.explained,
        "clouds": [
            {
                "context": cloud.context,
                "kind": cloud.kind,
                "model": cloud.model,
                "perturbation": cloud.perturbation,
                "x": encode(cloud.points[:, 0]),
                "y": encode(cloud.points[:, 1]),
            }
            for cloud in item.clouds
        ],
    }
