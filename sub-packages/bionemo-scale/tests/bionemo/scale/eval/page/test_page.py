# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Pieces of the page by hand; the whole of it, in a browser, is tests/bionemo/scale/run/test_report.py."""

import base64
from pathlib import Path

import numpy as np
import polars as pl

from bionemo.scale.eval.metrics.catalogue import HEADLINE, PAPER_METRICS
from bionemo.scale.eval.metrics.intervals import Difference, Interval
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
from bionemo.scale.eval.page import payload
from bionemo.scale.eval.page.cautions import cautions
from bionemo.scale.eval.page.page import Page, render
from bionemo.scale.eval.page.sources import RunFiles, ScoreFiles, find_run
from bionemo.scale.eval.page.tables import against_table, score_cell
from bionemo.scale.eval.page.verdict import standing, verdicts


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
        "m: too few perturbations, contexts and batches for intervals; differences may be chance.",
    ]
    collapsed = make_summary(pairs=2, pairs_without_significant_real_gene=1, notes=[], sd_ratio=0.1)
    text = "\n".join(cautions(make_run({}), collapsed))
    for expected in ("Only 2", "1 of 2 pairs have no significant", "too little spread: 0.10", "no metrics.csv"):
        assert expected in text


def test_worse_is_what_the_interval_says_and_intervals_over_batches_are_intervals():
    """A lower mean alone is not "behind"."""
    interval = Interval(low=0.4, high=0.6, unit="batch", units=3)
    models = {**make_summary().models}
    models["m"] = {**models["m"], "mse": MetricSummary(mean=0.1, n=1, undefined=0, why={}, batch_interval=interval)}
    differences = {
        "pearson_delta": difference("worse"),
        "mse": difference("open"),
        "mae": difference("better"),
    }
    summary = make_summary(models=models, against_best_baseline={"m": differences})
    lines = cautions(make_run({"step": [1.0]}), summary)
    assert "m is worse than the best baseline in: PDCorr (additive)." in lines
    assert not any("too few perturbations, contexts and batches" in line for line in lines)
    assert any("intervals are over batches" in line for line in lines)
    assert standing("m", summary) == {"better": ["MAE"], "worse": ["PDCorr (additive)"], "open": ["MSE"], "lower": []}


def difference(verdict):
    return Difference(baseline="additive", difference=-0.1, low=-0.2, high=0.05, verdict=verdict)


def test_a_baseline_that_only_fell_back_is_no_rival():
    summary = make_summary(baselines={"fallback_cells": {"matching": 9, "additive": 9}})
    assert standing("m", summary)["lower"] == []
    lines = cautions(make_run({"step": [1.0]}), summary)
    assert any(line.startswith("Baselines not ranked") and line.endswith("additive.") for line in lines)
    summary = make_summary(baselines={"fallback_cells": {"matching": 9, "additive": 8}})
    assert standing("m", summary)["lower"] == ["PDCorr (additive)"]


GENES = pl.DataFrame(
    {
        "model": ["m"] * 6,
        "context": ["T"] * 6,
        "perturbation": ["weak"] * 3 + ["strong"] * 3,
        "gene": ["a", "b", "c"] * 2,
        "pred": [0.5, 0, 0, -1.5, 0.2, -1],
        "real": [1.0, 0, 0, -3, 0, 1],
        "fdr_pred": [1.0] * 6,
        "fdr_real": [0.01, 1, 1, 0.01, 1, 0.04],
        "sd_pred": [0.1, 0.1, 0.1, 0.1, 1, 0.1],
        "error_real": [0.1] * 6,
    }
)


def test_the_verdict_in_plain_words():
    rest = {metric.column: None for metric in HEADLINE}
    models = {
        "m": row(**{**rest, "pearson_delta": 0.5, "mse": 0.02, "coverage": 0.98, "coverage_expressed": 0.7}),
        "control": row(**{**rest, "mse": 0.08}),
        "ceiling": row(**{**rest, "pearson_delta": 0.9, "mse": 0.004}),
    }
    names = Names(models=["m"], baselines=["control"], ceiling=True)
    (found,) = verdicts(make_summary(models=models, names=names), GENES)
    text = "\n".join(found.lines)
    for expected in (
        "changes is 0.50 (0.90 between two halves of the real cells)",
        "is 75 % smaller than that of predicting no change (95 % smaller between the two halves)",
        # (0.5 x 1 + 1.5 x 3 - 1 x 1) / (1 + 9 + 1)
        "3 gene changes are significant in the real cells. On average the predicted change is 0.36 times the observed "
        "one, so effects are predicted 64 % too small.",
        "1 of them (33 %) are predicted in the wrong direction",
        "Of the 3 changes whose predicted interval does not include 0, 1 (33 %) have the opposite sign",
        "intervals hold the observed mean of 70 % of the genes that control cells express, so they are too narrow",
    ):
        assert expected in text, (expected, text)
    del models["m"]["coverage_expressed"]
    (earlier,) = verdicts(make_summary(models=models, names=names), GENES)
    assert "hold the observed mean of 98 % of all genes, so they are wider than they need to be" in "\n".join(
        earlier.lines
    )
    nothing = GENES.with_columns(fdr_real=pl.lit(1.0)).drop("sd_pred")
    assert "No gene changed significantly" in "\n".join(verdicts(make_summary(), nothing)[0].lines)


def test_a_best_value_is_marked_beside_its_interval():
    interval = Interval(low=0.4, high=0.6, unit="batch", units=3)
    item = MetricSummary(mean=0.5, n=2, undefined=1, why={"too few": 1}, interval=interval, batch_interval=interval)
    pdcorr = HEADLINE[0]
    small = ["0.400, 0.600 p", "0.400, 0.600 b", "1 without"]
    assert score_cell(item, pdcorr, "*") == {"text": "0.500*", "small": small, "why": "1: too few", "best": True}
    assert score_cell(item, pdcorr, "^")["best"] is False and score_cell(item, pdcorr, "")["text"] == "0.500"
    assert score_cell(None, pdcorr, "") == {"text": "-", "small": [], "why": "no value", "best": False}


def test_models_have_a_row_each_against_the_best_baseline():
    assert against_table(make_summary()) is None
    found = against_table(
        make_summary(against_best_baseline={"m": {"mse": difference("open")}, "n": {"mae": difference("better")}})
    )
    assert found["heads"] == ["MSE", "MAE"] and [row["name"] for row in found["rows"]] == ["m", "n"]
    assert found["rows"][0]["cells"][0]["small"] == ["-0.20000 to +0.05000", "not distinguishable: additive"]
    assert found["rows"][0]["cells"][1]["text"] == "-"


def test_labels_cannot_write_the_page():
    """Templates escape every value."""
    names = Names(models=["<i>m</i>"], baselines=["additive"], ceiling=False)
    models = {"<i>m</i>": make_summary().models["m"], "additive": make_summary().models["additive"]}
    summary = make_summary(
        names=names, models=models, notes=["<b>note</b>"], current_evaluator=None, paper_metrics=PAPER
    )
    scores = ScoreFiles(path=Path("scores"), summary=summary, results=RESULTS, genes=GENES)
    text = render(Page(run=None, scores=scores, commands=["a <command>"]))
    before = text.split('id="data"')[0]
    assert (
        "&lt;i&gt;m&lt;/i&gt; on real.h5ad" in before and "&lt;b&gt;note" in before and "a &lt;command&gt;" in before
    )
    assert "<i>" not in before and "<b>" not in before


PAPER = {metric.name: {"equals cell-eval": "no"} for metric in PAPER_METRICS}
RESULTS = pl.DataFrame(
    {"model": ["m"], "context": ["T"], "perturbation": ["weak"], "cells_real": [3], "cells_pred": [3], "mse": [0.1]}
)


def test_long_arrays_keep_float32():
    values = np.array([1.5, -2.25, 3e-8], dtype=np.float32)
    assert np.frombuffer(base64.b64decode(payload.encode(values)), dtype="<f4").tolist() == values.tolist()


def test_scores_of_many_pairs_are_those_of_the_headline(monkeypatch):
    results = pl.DataFrame(
        {
            "model": ["m", "m", "additive"],
            "context": ["T"] * 3,
            "perturbation": ["a", "b", "b"],
            "cells_real": [5, 6, 6],
            "pearson_delta": [0.25, None, 0.5],
            "r2": [0.5, 0.25, 1.0],
        }
    )
    found = payload._pairs(results)
    assert (found["perturbation"], found["cells_real"]) == (["a", "b"], [5, 6])
    assert found["columns"] == ["pearson_delta", "r2"]
    scores = {name: decode(rows["pearson_delta"]) for name, rows in found["scores"].items()}
    np.testing.assert_array_equal(scores["m"], [0.25, np.nan])
    np.testing.assert_array_equal(scores["additive"], [np.nan, 0.5])
    monkeypatch.setattr(payload, "MAX_SCORES", 4)
    assert payload._pairs(results)["columns"] == ["pearson_delta"]
    monkeypatch.setattr(payload, "MAX_SCORES", 0)
    assert payload._pairs(results)["columns"] == ["pearson_delta"], "the page shows at least these"


def decode(text):
    return np.frombuffer(base64.b64decode(text), dtype="<f4")


def test_all_genes_of_the_strongest_pairs_are_shown(monkeypatch):
    monkeypatch.setattr(payload, "MAX_PAIRS", 1)
    found = payload._genes(GENES)
    (entry,) = found["entries"]
    assert (entry["perturbation"], found["names"], found["pairs"]) == ("strong", ["a", "b", "c"], 2)
    values = {name: np.frombuffer(base64.b64decode(entry[name]), dtype="<f4") for name in ("real", "pred", "sd")}
    np.testing.assert_allclose(values["real"], [-3, 0, 1])
    np.testing.assert_allclose(values["sd"], [0.1, 1, 0.1], rtol=1e-6)
    assert entry["significant"] == [0, 2] and "gene" not in entry
    monkeypatch.setattr(payload, "MAX_PAIRS", 2)
    assert [item["perturbation"] for item in payload._genes(GENES)["entries"]] == ["strong", "weak"]
    monkeypatch.setattr(payload, "MAX_VALUES", 3)
    assert len(payload._genes(GENES)["entries"]) == 1, "the page stays of a size that a browser opens"
    silent = GENES.with_columns(sd_pred=pl.lit(float("nan")))
    assert "sd" not in payload._genes(silent)["entries"][0]


def test_a_half_written_row_of_metrics_is_left_out(tmp_path):
    (tmp_path / "config.yaml").write_text("run: {}\nmodel: {}\n")
    (tmp_path / "metrics.csv").write_text("step,loss,val_loss\n10,2.5,\n20,1.5,1.0\n30,1")
    assert find_run(tmp_path).metrics == {"step": [10, 20], "loss": [2.5, 1.5], "val_loss": [None, 1.0]}
