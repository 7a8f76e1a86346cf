# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Tables of gene sets: order, what is hidden, and what has no value."""

import numpy as np
import polars as pl

from bionemo.scale.eval.enrichment import Enrichment, GeneSets, set_table
from bionemo.scale.eval.page import set_tables as module
from bionemo.scale.eval.page.set_tables import predicted_tables, set_tables


SETS = GeneSets(genes=("a", "b", "c"), members={"one": ("a",), "two": ("a", "b"), "three": ("c",)}, note="")


def scores(*rows) -> Enrichment:
    table = np.array(rows, dtype=np.float64)
    return Enrichment(scores=table, fdr=np.exp(-np.abs(table)))


def test_the_strongest_pair_and_set_come_first(monkeypatch):
    monkeypatch.setattr(module, "MAX_SETS", 2)
    real, pred = scores([1.0, -2.0, 0.5], [0.1, 3.0, -4.0]), scores([2.0, 2.0, 2.0], [np.nan] * 3)
    found = pl.concat(
        set_table(SETS, ["P", "Q"], pred=pred, real=real, model=model, context="T") for model in ("m", "n")
    )
    shown = set_tables(found)
    assert [table["title"] for table in shown["tables"]] == ["T, Q (m)", "T, Q (n)", "T, P (m)", "T, P (n)"]
    first, last = shown["tables"][0], shown["tables"][2]
    assert [row["name"] for row in first["rows"]] == ["three", "two"] and first["hidden"] == 1
    assert first["rows"][0] == {
        "name": "three", "genes": 1, "pred": "-", "fdr_pred": "-", "real": "-4.00", "fdr_real": "0.018", "same": "-",
    }  # fmt: skip
    assert [row["same"] for row in last["rows"]] == ["opposite", "same"] and shown["hidden"] == 0
    monkeypatch.setattr(module, "MAX_TABLES", 3)
    assert set_tables(found)["hidden"] == 1


def test_sets_of_a_prediction_alone():
    (table,) = predicted_tables(SETS, ["T, P"], scores([0.5, np.nan, -1.5]))
    assert [(row["name"], row["pred"]) for row in table["rows"]] == [("three", "-1.50"), ("one", "0.50"), ("two", "-")]
