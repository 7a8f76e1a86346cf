# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What the page's figures draw: plain values, long arrays as base64 of float32."""

import base64
from typing import Any

import numpy as np
import polars as pl

from bionemo.scale.eval.metrics.catalogue import BY_COLUMN, HEADLINE, METRICS, Metric
from bionemo.scale.eval.page.embedding import Clouds
from bionemo.scale.eval.page.sources import RunFiles, ScoreFiles


MAX_PAIRS = 150
"""Pairs whose genes are shown: those with the strongest observed effect."""
MAX_GENES = 600
"""Genes of a pair: those that change most, observed or predicted."""
_SMALLEST = 1e-50
"""Adjusted p-values below are drawn here."""


def figures(run: RunFiles | None, scores: ScoreFiles, clouds: list[Clouds]) -> dict[str, Any]:
    """Return everything that is drawn, ready for JSON."""
    genes = _genes(scores.genes)
    return {
        "models": scores.summary.names.models,
        "baselines": scores.summary.names.baselines,
        "metrics": [
            {"column": metric.column, "title": title(metric), "formula": metric.formula}
            for metric in METRICS
            if metric.column in scores.results.columns
        ],
        "pairs": _pairs(scores.results),
        "curves": {} if run is None else run.metrics,
        "genes": genes,
        "effects": _effects(scores.genes),
        "clouds": [_cloud(item) for item in clouds],
    }


def title(metric: Metric) -> str:
    """Return the name of a column in tables, with the column where that is another."""
    return f"{metric.title} ({metric.column})" if metric in HEADLINE and metric.title else metric.column


def encode(values: np.ndarray) -> str:
    """Return float32 values, little-endian, as base64."""
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f4").tobytes()).decode()


def _pairs(results: pl.DataFrame) -> list[dict[str, Any]]:
    columns = [name for name in results.columns if name in BY_COLUMN]
    keys = ["model", "context", "perturbation", "cells_real", "cells_pred"]
    rows = results.select(*keys, pl.col(columns).cast(pl.Float64).round_sig_figs(6)).to_dicts()
    return [{**{key: row[key] for key in keys}, "scores": [row[name] for name in columns]} for row in rows]


def _genes(genes: pl.DataFrame) -> dict[str, Any]:
    """Return per model and pair the genes that change most: change and adjusted p-value, observed and predicted."""
    names = genes["gene"].unique(maintain_order=True).to_list()
    index = {name: row for row, name in enumerate(names)}
    keys = ["model", "context", "perturbation"]
    strongest = (
        genes.group_by("context", "perturbation", maintain_order=True)
        .agg(effect=(pl.col("real") ** 2).sum())
        .sort("effect", descending=True)
        .head(MAX_PAIRS)
    )
    entries = []
    for key, frame in genes.join(strongest, on=keys[1:], how="semi", maintain_order="left").group_by(
        keys, maintain_order=True
    ):
        size = np.maximum(np.abs(frame["real"].to_numpy()), np.abs(frame["pred"].to_numpy()))
        rows = np.sort(np.argsort(-size, kind="stable")[:MAX_GENES])
        shown = frame[rows]
        entries.append(
            {
                **dict(zip(keys, key, strict=True)),
                "gene": [index[name] for name in shown["gene"].to_list()],
                "real": encode(shown["real"].to_numpy()),
                "pred": encode(shown["pred"].to_numpy()),
                "logp_real": encode(_minus_log10(shown["fdr_real"].to_numpy())),
                "logp_pred": encode(_minus_log10(shown["fdr_pred"].to_numpy())),
                "of": frame.height,
            }
        )
    return {"names": names, "entries": entries}


def _minus_log10(fdr: np.ndarray) -> np.ndarray:
    return -np.log10(np.maximum(fdr.astype(np.float64), _SMALLEST))


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
                "perturbation": cloud.perturbation,
                "x": encode(cloud.points[:, 0]),
                "y": encode(cloud.points[:, 1]),
            }
            for cloud in item.clouds
        ],
    }
