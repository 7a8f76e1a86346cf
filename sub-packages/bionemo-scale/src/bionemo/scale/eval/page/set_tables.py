# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Scores of gene sets as tables of a page: one of each (cell type, perturbation)."""

import math
from typing import Any

import polars as pl

from bionemo.scale.eval.enrichment import Enrichment, GeneSets


MAX_TABLES = 60
"""Pairs that are shown: those with the strongest score."""
MAX_SETS = 20
"""Rows of a table."""


def set_tables(found: pl.DataFrame) -> dict[str, Any]:
    """Return a table of each model and pair, strongest observed score first.

    Args:
        found: As gene_sets.csv has them.
    """
    several = found["model"].n_unique() > 1
    parts = []
    for (model, context, perturbation), frame in found.group_by("model", "context", "perturbation"):
        rows = frame.sort(pl.col("score_real").abs(), descending=True, nulls_last=True).to_dicts()
        title = f"{context}, {perturbation}" + (f" ({model})" if several else "")
        parts.append((abs(_number(rows[0]["score_real"])), title, rows))
    parts.sort(key=lambda part: (-part[0], part[1]))
    tables = [_table(title, [_measured(row) for row in rows]) for _, title, rows in parts[:MAX_TABLES]]
    return {"tables": tables, "hidden": max(0, len(parts) - MAX_TABLES)}


def predicted_tables(sets: GeneSets, titles: list[str], found: Enrichment) -> list[dict[str, Any]]:
    """Return a table of each condition of a prediction, strongest score first.

    Args:
        sets: That were scored.
        titles: Of the P conditions.
        found: [P, S] scores.
    """
    tables = []
    for title, scores, fdr in zip(titles, found.scores, found.fdr, strict=True):
        rows = sorted(
            zip(sets.names, scores.tolist(), fdr.tolist(), strict=True), key=lambda row: -abs(_number(row[1]))
        )
        tables.append(
            _table(title, [_row(name, len(sets.members[name]), score=score, fdr=p) for name, score, p in rows])
        )
    return tables


def _table(title: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"title": title, "rows": rows[:MAX_SETS], "hidden": max(0, len(rows) - MAX_SETS)}


def _measured(row: dict[str, Any]) -> dict[str, Any]:
    same = row["same_direction"]
    return {
        **_row(row["gene_set"], int(row["num_genes"]), score=row["score_pred"], fdr=row["fdr_pred"]),
        "real": _text(row["score_real"], ".2f"),
        "fdr_real": _text(row["fdr_real"], ".2g"),
        "same": "-" if same is None else "same" if same else "opposite",
    }


def _row(name: str, genes: int, *, score: float | None, fdr: float | None) -> dict[str, Any]:
    return {"name": name, "genes": genes, "pred": _text(score, ".2f"), "fdr_pred": _text(fdr, ".2g")}


def _text(value: float | None, form: str) -> str:
    return "-" if value is None or math.isnan(value) else format(value, form)


def _number(value: float | None) -> float:
    return 0.0 if value is None or math.isnan(value) else value
