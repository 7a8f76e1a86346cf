# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What the page's figures draw: plain values, long arrays as base64 of float32."""

import base64
from typing import Any

import numpy as np
import polars as pl

from bionemo.scale.eval.metrics.catalogue import BY_COLUMN, HEADLINE, METRICS, Metric
from bionemo.scale.eval.output.summary import Summary
from bionemo.scale.eval.page.embedding import Clouds
from bionemo.scale.eval.page.gene_changes import GeneChanges, changes_of, strongest_pairs
from bionemo.scale.eval.page.sources import RunFiles, ScoreFiles
from bionemo.scale.types import Z_OF_INTERVAL


MAX_PAIRS = 150
"""Pairs whose genes are shown: those with the strongest observed effect."""
MAX_VALUES = 600_000
"""Genes of all pairs and models together: each takes about 30 bytes of the page."""


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


def _pairs(results: pl.DataFrame) -> list[dict[str, Any]]:
    columns = [name for name in results.columns if name in BY_COLUMN]
    keys = ["model", "context", "perturbation", "cells_real", "cells_pred"]
    rows = results.select(*keys, pl.col(columns).cast(pl.Float64).round_sig_figs(6)).to_dicts()
    return [{**{key: row[key] for key in keys}, "scores": [row[name] for name in columns]} for row in rows]


def _genes(genes: pl.DataFrame) -> dict[str, Any]:
    """Return all genes of the pairs with the strongest observed effect, strongest first, for each model."""
    names = genes["gene"].unique(maintain_order=True).to_list()
    index = {name: row for row, name in enumerate(names)}
    models = genes["model"].unique(maintain_order=True).to_list()
    pairs = strongest_pairs(genes)
    shown = pairs[: max(1, min(MAX_PAIRS, MAX_VALUES // max(1, len(names) * len(models))))]
    keys = ["context", "perturbation", "model"]
    by_pair = genes.partition_by(keys, as_dict=True, maintain_order=True)
    frames = [by_pair.get((*pair, model)) for model in models for pair in shown]
    entries = [_changes(changes_of(frame), index) for frame in frames if frame is not None]
    return {"names": names, "entries": entries, "pairs": len(pairs)}


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
    norm = [(pl.col(side) ** 2).sum().sqrt().round_sig_figs(6).alias(side) for side in ("real", "pred")]
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
