# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Summaries count what is undefined; the result folder appears whole or not at all."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from bionemo.scale.eval.metrics.many.gene_tests import GeneTests
from bionemo.scale.eval.output.results import ResultFolder, aggregate, check_out
from bionemo.scale.eval.output.summarise import summarise
from bionemo.scale.eval.scores.scoring import ContextScores, Shift
from bionemo.scale.types import InputError


def scores(context="T", values=(1.0, None)):
    return pl.DataFrame(
        {
            "model": ["m", "m", "b", "b"],
            "context": [context] * 4,
            "perturbation": ["x", "y"] * 2,
            "cells_real": [3] * 4,
            "cells_pred": [3] * 4,
            "mse": [*values, 2.0, 4.0],
        }
    )


def shift(context):
    values = {name: np.arange(3.0) for name in ("pred", "real", "fdr_pred", "fdr_real")}
    return Shift(model="m", context=context, perturbation="x", genes=("G1", "G2", "G3"), **values)


def context_scores(context="T", **kwargs):
    frame = scores(context, **kwargs)
    return ContextScores(
        context=context,
        scores=frame,
        first_results=pl.DataFrame({"perturbation": ["x", "y"], "mse": [1.0, 2.0]}),
        shifts=(shift(context),),
        batch_draws=(),
        fallbacks={},
    )


def made_tests(num=3):
    numbers = np.arange(2.0 * num).reshape(2, num)
    return GeneTests(
        names=("x", "y"),
        listed=np.array([1, 0]),
        genes=tuple(f"G{gene}" for gene in range(num)),
        control="control",
        columns={"fold_change": numbers.astype(np.float32), "fdr": numbers / 10},
    )


def add(folder, context):
    for side in ("real", "pred"):
        folder.add_tests(context, side, made_tests())
    folder.add(context_scores(context))


def test_tests_are_written_in_parts_as_the_whole_table(tmp_path, monkeypatch):
    monkeypatch.setattr("bionemo.scale.eval.metrics.many.gene_tests._ROWS_AT_ONCE", 2)
    with ResultFolder(tmp_path / "out") as folder:
        folder.add_tests("T", "real", made_tests())
        assert (folder.staging / "T_real_de.csv").read_text() == made_tests().frame().write_csv()


@pytest.mark.parametrize("genes", [3, 1 << 18])
def test_a_full_disk_is_reported_for_the_file_that_it_stops(tmp_path, genes):
    """A small table is still in a buffer after it was added, and stops at its end; a large one stops before."""
    values = np.random.default_rng(0).normal(size=genes)
    changes = dict.fromkeys(("pred", "real", "fdr_pred", "fdr_real"), values)
    names = tuple(f"G{gene}" for gene in range(genes))
    large = Shift(model="m", context="T", perturbation="x", genes=names, **changes)
    added = False
    with pytest.raises(OSError, match="No space left") as caught, ResultFolder(tmp_path / "out") as folder:
        (folder.staging / "genes.parquet").symlink_to("/dev/full")
        folder.add(replace(context_scores(), shifts=(large,)))
        added = True
        folder.finish({})
    assert added == (genes == 3)
    assert caught.value.filename == str(tmp_path / "out" / "genes.parquet")
    assert not list(tmp_path.iterdir()), "nothing is left"


def test_undefined_values_are_counted_and_left_out_of_the_mean():
    found = summarise(scores())
    assert list(found) == ["m", "b"]
    assert (found["m"]["mse"].mean, found["m"]["mse"].n, found["m"]["mse"].undefined) == (1, 1, 1)
    assert (found["b"]["mse"].mean, found["b"]["mse"].n, found["b"]["mse"].undefined) == (3, 2, 0)
    nothing = summarise(scores(values=(None, None)))["m"]["mse"]
    assert (nothing.mean, nothing.n, nothing.undefined) == (None, 0, 2)


def test_aggregate_describes_each_model():
    table = aggregate(scores())
    assert table.columns == ["model", "statistic", "mse"]
    row = table.filter((pl.col("model") == "m") & (pl.col("statistic") == "mean"))
    assert row["mse"].to_list() == [1]
    assert table.filter(pl.col("model") == "b")["statistic"].to_list()[:4] == ["count", "null_count", "mean", "std"]


def test_aggregate_is_what_polars_says_of_each_model():
    rng = np.random.default_rng(0)
    keys = {
        "model": ["m", "b", "m", "b"] * 5,
        "context": ["T"] * 20,
        "perturbation": [f"p{row // 2}" for row in range(20)],
    }
    values = {f"metric{column}": rng.normal(size=20) for column in range(3)}
    table = pl.DataFrame({**keys, "cells_real": [3] * 20, "cells_pred": [3] * 20, **values})
    table = table.with_columns(
        pl.when(pl.col("metric1") > 0).then("metric1"), pl.lit(None, pl.Float64).alias("nothing")
    )
    names = [*values, "nothing"]
    expected = [
        frame.select(names).describe().insert_column(0, pl.lit(model).alias("model"))
        for (model,), frame in table.group_by("model", maintain_order=True)
    ]
    assert_frame_equal(aggregate(table), pl.concat(expected), rel_tol=1e-12)


def test_folder_holds_tables_of_all_and_of_each_context(tmp_path):
    out = tmp_path / "deep" / "out"
    with ResultFolder(out) as folder:
        add(folder, "HepG2/C3A cells")
        add(folder, "B")
        assert not out.exists()
        folder.finish({"models": {}})
    names = {path.name for path in out.iterdir()}
    kinds = ("results", "agg_results", "real_de", "pred_de")
    expected = {f"{context}_{kind}.csv" for context in ("HepG2-C3A cells", "B") for kind in kinds}
    assert names == expected | {"results.csv", "agg_results.csv", "genes.parquet", "summary.json"}
    table = pl.read_csv(out / "results.csv")
    assert table["model"].to_list() == ["m"] * 4 + ["b"] * 4
    assert table["context"].to_list()[:3] == ["B", "B", "HepG2/C3A cells"]
    assert set(json.loads((out / "summary.json").read_text())["files"]) == names
    assert list(out.parent.iterdir()) == [out]
    genes = pl.read_parquet(out / "genes.parquet")
    numbers = ["pred", "real", "fdr_pred", "fdr_real", "sd_pred", "error_real"]
    assert genes.columns == ["model", "context", "perturbation", "gene", *numbers]
    assert genes["sd_pred"].is_nan().all(), "a model that does not say how sure it is"
    assert genes["context"].to_list() == ["HepG2/C3A cells"] * 3 + ["B"] * 3
    assert folder.prefixes == {"HepG2/C3A cells": "HepG2-C3A cells", "B": "B"}


def test_contexts_that_would_share_a_file_do_not(tmp_path):
    with ResultFolder(tmp_path / "out") as folder:
        for context in ("a/b", "a-b", "agg", "a-b_agg"):
            add(folder, context)
        folder.finish({})
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"a-b_results.csv", "a-b_2_results.csv", "agg_2_results.csv", "agg_results.csv"} <= names
    assert len(names) == 4 * 4 + 4


def test_a_context_longer_than_a_file_name_may_be(tmp_path):
    context = "CD4-positive, alpha-beta T cell, " * 9
    with ResultFolder(tmp_path / "out") as folder:
        folder.add(context_scores(context))
        folder.finish({})
    assert (tmp_path / "out" / f"{folder.prefixes[context]}_results.csv").is_file()


def test_failure_leaves_nothing_and_keeps_the_earlier_result(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(RuntimeError), ResultFolder(out) as folder:
        folder.add(context_scores())
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    out.mkdir()
    (out / "results.csv").write_text("earlier")
    with pytest.raises(RuntimeError), ResultFolder(out) as folder:
        folder.add(context_scores())
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert [path.read_text() for path in out.iterdir()] == ["earlier"]


def test_a_new_evaluation_replaces_its_own_files_only(tmp_path):
    out = tmp_path / "out"
    for contexts in (("A", "B"), ("B",)):
        with ResultFolder(out) as folder:
            for context in contexts:
                folder.add(context_scores(context))
            folder.finish({})
        (out / "notes.txt").write_text("mine")
    names = {path.name for path in out.iterdir()}
    assert "A_results.csv" not in names
    assert {"B_results.csv", "notes.txt", "summary.json"} <= names


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(InputError, match="expected a folder for the results"):
            check_out(path)
