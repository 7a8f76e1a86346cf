# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Pieces of the page by hand; the whole of it, in a browser, is tests/bionemo/scale/run/test_report.py."""

import base64
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from bionemo.scale.eval.metrics.catalogue import HEADLINE
from bionemo.scale.eval.metrics.intervals import Interval
from bionemo.scale.eval.output.summary import (
    BaselineNotes,
    Evaluator,
    InputFile,
    Inputs,
    InputStore,
    MetricSummary,
    Names,
    OtherEvaluator,
    Summary,
)
from bionemo.scale.eval.page import page, payload
from bionemo.scale.eval.page.cautions import cautions
from bionemo.scale.eval.page.sources import RunFiles, find_run


def row(**means):
    return {name: MetricSummary(mean=mean, n=1, undefined=0, why={}) for name, mean in means.items()}


def make_summary(*, baselines=None, sd_ratio=0.9, **fields) -> Summary:
    rest = {metric.column: None for metric in HEADLINE}
    notes = {"fitted_on": None, "ridge_penalty": None, "cells": 9, "seed": 4, "fallback_cells": {}}
    plain = {
        "notes": ["a note", "warning: something is odd"],
        "pairs": 40,
        "pairs_without_significant_real_gene": 0,
        "names": Names(models=["m"], baselines=["additive"], ceiling=False),
        "models": {
            "m": row(**{**rest, "pearson_delta": 0.5, "sd_ratio": sd_ratio}),
            "additive": row(**{**rest, "pearson_delta": 0.6, "sd_ratio": 0.5}),
        },
        "against_best_baseline": {},
        "inputs": Inputs(
            pred={"m": InputFile(path="a b/pred.h5ad", sha256="1")},
            real=InputFile(path="real.h5ad", sha256="2"),
            store=InputStore(path="store", split_sha256=None),
        ),
        "baselines": BaselineNotes(**{**notes, **(baselines or {})}),
        "control_policy": "both",
        "evaluator": Evaluator(versions={}, de_engine="fast", conventions={}),
        "current_evaluator": OtherEvaluator(columns="current_*", versions={}, conventions={}),
        "paper_names": {},
        "paper_metrics": {},
        "contexts": {"T": "T"},
    }
    return Summary(**{**plain, **fields})


def make_run(metrics):
    config = {"run": {"store": "s t", "max_steps": 5, "flag": True, "off": False, "overrides": {"a": 1}}, "model": {}}
    return RunFiles(path=Path("runs/x"), config=config, split=None, metrics=metrics)


def test_cautions():
    found = cautions(make_run({"step": [1.0]}), make_summary())
    assert found == [
        "something is odd",
        "m is behind the best baseline in: PDCorr.",
        "m: too few perturbations and contexts for intervals; differences may be chance.",
    ]
    collapsed = make_summary(pairs=2, pairs_without_significant_real_gene=1, notes=[], sd_ratio=0.1)
    text = "\n".join(cautions(make_run({}), collapsed))
    for expected in ("Only 2", "1 of 2 pairs have no significant", "too little spread: 0.10", "no metrics.csv"):
        assert expected in text


def test_a_baseline_that_only_fell_back_is_no_rival():
    summary = make_summary(baselines={"fallback_cells": {"matching": 9, "additive": 9}})
    lines = cautions(make_run({"step": [1.0]}), summary)
    assert not any("behind" in line for line in lines)
    assert any(line.startswith("Baselines not ranked") and line.endswith("additive.") for line in lines)
    summary = make_summary(baselines={"fallback_cells": {"matching": 9, "additive": 8}})
    assert any("behind" in line for line in cautions(make_run({"step": [1.0]}), summary))


def test_a_best_value_is_marked_beside_its_interval():
    interval = Interval(low=0.4, high=0.6, unit="batch", units=3)
    item = MetricSummary(mean=0.5, n=2, undefined=1, why={"too few": 1}, interval=interval, batch_interval=interval)
    pdcorr = HEADLINE[0]
    assert page._cell(item, pdcorr, "*") == (
        '<td class="best" title="1: too few">0.500*<small>0.400, 0.600 p</small><small>0.400, 0.600 b</small>'
        "<small>1 without</small></td>"
    )
    assert ">0.500^<" in page._cell(item, pdcorr, "^") and ">0.500<" in page._cell(item, pdcorr, "")
    assert page._cell(None, pdcorr, "") == '<td title="no value">-</td>'


def test_long_arrays_keep_float32():
    values = np.array([1.5, -2.25, 3e-8], dtype=np.float32)
    assert np.frombuffer(base64.b64decode(payload.encode(values)), dtype="<f4").tolist() == values.tolist()


def test_genes_shown_are_those_that_change_most(monkeypatch):
    monkeypatch.setattr(payload, "MAX_GENES", 2)
    monkeypatch.setattr(payload, "MAX_PAIRS", 1)
    frame = pl.DataFrame(
        {
            "model": ["m"] * 6,
            "context": ["T"] * 6,
            "perturbation": ["weak"] * 3 + ["strong"] * 3,
            "gene": ["a", "b", "c"] * 2,
            "pred": [0.0, 0, 0, 0, 5, 0],
            "real": [1.0, 0, 0, -3, 0, 1],
            "fdr_pred": [1.0, 1, 1, 1, 0, 1],
            "fdr_real": [1.0, 1, 1, 0.01, 1, 1],
        }
    )
    found = payload._genes(frame)
    (entry,) = found["entries"]
    assert (entry["perturbation"], entry["of"]) == ("strong", 3)
    assert [found["names"][index] for index in entry["gene"]] == ["a", "b"]
    logp = [np.frombuffer(base64.b64decode(entry[name]), dtype="<f4").tolist() for name in ("logp_real", "logp_pred")]
    assert logp == [pytest.approx([2, 0]), pytest.approx([0, 50])]


def test_a_half_written_row_of_metrics_is_left_out(tmp_path):
    (tmp_path / "config.yaml").write_text("run: {}\nmodel: {}\n")
    (tmp_path / "metrics.csv").write_text("step,loss,val_loss\n10,2.5,\n20,1.5,1.0\n30,1")
    assert find_run(tmp_path).metrics == {"step": [10, 20], "loss": [2.5, 1.5], "val_loss": [None, 1.0]}
