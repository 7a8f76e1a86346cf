# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
from bionemo.scale.eval.metrics.catalogue import HEADLINE, PAPER_NAMES, Metric
from bionemo.scale.eval.output.summary import MetricSummary
from bionemo.scale.eval.output.table import render_table


def column(title, name, best, digits=3):
    return Metric(column=name, title=title, formula="", best=best, source="ours", reads="means", digits=digits)


def summary(mean, undefined=0, n=4):
    return MetricSummary(
        mean=mean, n=n - undefined, undefined=undefined, why={"too few": undefined} if undefined else {}
    )


SHOWN = (
    column("High", "h", "high"),
    column("Low", "l", "low", 2),
    column("Ratio", "r", "one"),
)


def test_exact_text():
    text = render_table(
        {
            "model": {"h": summary(0.5), "l": summary(1.234), "r": summary(1.3)},
            "baseline": {"h": summary(0.25), "l": summary(0.5), "r": summary(0.8)},
        },
        SHOWN,
    )
    assert text.splitlines() == [
        "model       High    Low   Ratio",
        "--------  ------  -----  ------",
        "model     0.500*  1.23   1.300",
        "baseline  0.250   0.50*  0.800*",
        "* best of its column; for Ratio the nearest to 1",
    ]


def test_an_optional_column_has_no_footnote_for_rows_without_it():
    shown = Metric(column="c", title="in 90 %", formula="", best="none", source="ours", reads="means", optional=True)
    rows = {"model": {"c": summary(0.9)}, "baseline": {"c": summary(None, undefined=4)}}
    assert render_table(rows, (shown,)).splitlines()[2:] == [
        "model      0.900",
        "baseline       -",
        "* best of its column",
    ]
    partly = {**rows, "model": {"c": summary(0.9, undefined=1)}}
    assert render_table(partly, (shown,)).splitlines()[-1] == "[a] in 90 % undefined (too few): model 1 of 4 pairs"


def test_values_that_print_alike_are_equally_good():
    text = render_table({name: {"h": summary(0.5 + tiny)} for name, tiny in (("a", 0), ("b", 1e-6))}, SHOWN[:1])
    assert text.count("0.500*") == 2


def test_real_cells_cannot_be_the_best_model():
    text = render_table({"a": {"h": summary(0.5)}, "real": {"h": summary(0.9)}}, SHOWN[:1], ceiling="real")
    assert "0.500*" in text and "0.900*" not in text
    beyond = render_table({"a": {"h": summary(0.95)}, "real": {"h": summary(0.9)}}, SHOWN[:1], ceiling="real")
    assert "0.950^" in beyond and "^ best of its column, and better than the ceiling" in beyond and "^" not in text


def test_a_baseline_that_only_fell_back_is_shown_and_not_ranked():
    rows = {"a": {"h": summary(0.5)}, "additive": {"h": summary(0.9)}}
    lines = render_table(rows, SHOWN[:1], fallbacks=("additive",)).splitlines()
    assert lines[2].split() == ["a", "0.500*"] and lines[3].split() == ["additive", "[-]", "0.900"]
    assert lines[-1].startswith("[-] not ranked") and lines[-1].endswith(": additive")
    assert "[-]" not in render_table(rows, SHOWN[:1])


def test_undefined_values_are_footnoted():
    high = SHOWN[:1]
    text = render_table({"a": {"h": summary(0.5, 1)}, "b": {"h": summary(None, 4)}}, high)
    assert "High[a]" in text
    assert text.splitlines()[-1] == "[a] High undefined (too few): a 1, b 4 of 4 pairs"
    assert text.splitlines()[3].split() == ["b", "-"]
    alike = render_table({name: {"h": summary(None, 4)} for name in "ab"}, high)
    assert alike.splitlines()[-1] == "[a] High undefined (too few): 4 of 4 pairs"
    assert "[a]" not in render_table({"a": {"h": summary(1.0)}}, high)


def test_columns_are_those_of_the_paper():
    titles = [metric.name for metric in HEADLINE]
    assert titles == ["PDCorr", "MSE", "MAE", "DEOver", "DEPrec", "DEchance", "LFCspear", "DirAgr", "PDS", "sd_ratio"]
    for metric in HEADLINE[:-2]:
        assert metric.source == "ours" or PAPER_NAMES[metric.name] == metric.column


def test_a_table_says_which_pdcorr_it_shows_and_who_is_constant():
    columns = [metric for metric in HEADLINE if metric.name in ("PDCorr", "DEOver", "sd_ratio")]
    rows = {
        "mine": {"pearson_delta": summary(0.5), "overlap_at_N": summary(0.5), "sd_ratio": summary(0.9)},
        "mean": {"pearson_delta": summary(0.6), "overlap_at_N": summary(0.8), "sd_ratio": summary(0.0)},
    }
    text = render_table(rows, tuple(columns))
    assert (
        "PDCorr subtracts the same controls on both sides, which raises it; pearson_delta_split in results.csv "
        "subtracts separate halves" in text
    )
    assert "cells all alike (sd_ratio under 0.1), so not ranked in DEOver, sd_ratio: mean" in text
    assert text.splitlines()[2].split() == ["mine", "0.500", "0.500*", "0.900*"]
    assert text.splitlines()[3].split() == ["mean", "0.600*", "0.800", "0.000"]
