# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The tasks of benchmarks/quality/suite: what only confirms was never there to choose by."""

import importlib.util
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import anndata
import pandas as pd
import polars as pl
import pytest

from bionemo.scale.crossval.pooled import ScoredFold, pool
from bionemo.scale.eval.output.summary import MetricSummary, Names


EXAMPLES = Path(__file__).parents[2] / "examples" / "data"
SUITE = Path(__file__).parents[2] / "benchmarks" / "quality" / "suite"


@pytest.fixture(scope="module")
def suite():
    spec = importlib.util.spec_from_file_location("suite_run", SUITE / "run.py")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look for their module.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_nothing_that_confirms_is_there_to_choose_by(suite):
    tasks = suite.read_tasks(SUITE / "tasks.toml")

    def left_out(task):
        words = [name for fold in task.folds for name in fold]
        return {(task.file, *task.vectors, name) for name in [*words, task.new_genes] if name}

    names = {
        role: set().union(*(left_out(task) for task in tasks if task.role == role)) for role in ("choose", "confirm")
    }
    assert names["choose"] and names["confirm"] and not names["choose"] & names["confirm"]
    assert {task.role for task in tasks} == {"choose", "confirm"} and len({task.name for task in tasks}) == len(tasks)


@pytest.mark.parametrize(
    ("folds", "expected"),
    [
        ([["even of X"], ["odd of Y"]], [["X / A", "X / B"], ["Y / A+B", "Y / D+E"]]),
        ([["pairs"]], [["A+B"]]),
        ([["A"], ["B"]], [["A"], ["B"]]),
    ],
)
def test_words_for_several_names(suite, folds, expected):
    task = suite.Task(name="t", role="choose", file="f", leave_out="condition", folds=folds)
    obs = pd.DataFrame({"perturbation": ["control", "A", "B", "A+B", "D+E"]})
    assert suite.left_out(task, obs) == expected


def test_halves_of_the_genes_share_only_pairs_of_one_gene_each(suite):
    labels = ["control", "A", "B", "C", "D", "A+C", "B+D", "A+B"]
    found = []
    for half in ("even", "odd"):
        task = suite.Task(name="t", role="choose", file="f", leave_out="perturbation", new_genes=half, num_folds=1)
        found.append(set(*suite.left_out(task, pd.DataFrame({"perturbation": labels}))))
    assert found == [{"A", "C", "A+C", "A+B"}, {"B", "D", "B+D", "A+B"}]


def test_new_genes_are_left_out_with_their_pairs_and_in_one_fold(suite):
    task = suite.Task(name="t", role="choose", file="f", leave_out="perturbation", new_genes="even", num_folds=2)
    labels = ["control", "A", "B", "C", "D", "E", "G", "C+A", "D+B", "X+E", "X+Y"]
    # The even genes are A, C and E; A and C are in one pair.
    assert suite.left_out(task, pd.DataFrame({"perturbation": labels})) == [["A", "A+C", "C"], ["E", "E+X"]]


def test_the_division_of_new_genes_is_that_of_the_estimators(suite):
    estimators = tomllib.loads((SUITE.parents[1] / "estimates" / "features.toml").read_text())
    known = {(task["role"], task["file"], *task["features"], task["left_out"]) for task in estimators.values()}
    tasks = [task for task in suite.read_tasks(SUITE / "tasks.toml") if task.new_genes]
    assert tasks and {(task.role, task.file, *task.vectors, task.new_genes) for task in tasks} <= known


def test_genes_without_a_vector_of_every_kind_are_not_used(suite, tmp_path):
    from bionemo.scale.data.labels.agents import feature_names

    cells = anndata.read_h5ad(EXAMPLES / "papalexi2021_thp1_eccite.h5ad")
    kept = cells.obs["perturbation"].isin(["control", "STAT1", "BRD4", "CMTM6", "JAK2"])
    cells[kept].copy().write_h5ad(tmp_path / "screen.h5ad")
    fields = {"role": "choose", "file": "screen", "leave_out": "perturbation", "new_genes": "even", "num_folds": 2}
    found = {}
    for kinds in (("gene_sets",), ("coexpression",), ("gene_sets", "coexpression")):
        out = tmp_path / "-".join(kinds)
        out.mkdir()
        task = suite.Task(name="t", vectors=kinds, context="batch", **fields)
        screen = anndata.read_h5ad(suite.screen_of(task, tmp_path, out))
        found[kinds] = set(screen.obs["perturbation"]) - {"control"}
        assert found[kinds] <= set(feature_names(out / suite.VECTORS))
    # BRD4 is not measured, CMTM6 is in no set.
    assert list(found.values()) == [{"STAT1", "BRD4", "JAK2"}, {"STAT1", "CMTM6", "JAK2"}, {"STAT1", "JAK2"}]


def test_pairs_and_genes_alone_have_tables_of_their_own(suite, make_summary):
    scores = pl.DataFrame(
        {
            "model": ["SCALE", "SCALE", "mixed_model", "mixed_model"],
            "context": "T",
            "perturbation": ["A", "A+B"] * 2,
            "mse": [1.0, 3.0, 2.0, 4.0],
        }
    )
    models = {name: {"mse": MetricSummary(mean=9.0, n=2, undefined=0, why={})} for name in ("SCALE", "mixed_model")}
    names = Names(models=["SCALE"], baselines=["mixed_model"], ceiling=False)
    summary = make_summary(models=models, names=names, pairs=2)
    pooled = pool([ScoredFold(name="f", scores=scores, summary=summary)])
    for pairs, expected in ((False, (1.0, 2.0)), (True, (3.0, 4.0))):
        found = suite.only(pooled, pairs=pairs)
        assert tuple(found.models[name]["mse"].mean for name in models) == expected
        assert found.folds[0].summary.pairs == 1


def test_ties_share_the_mean_of_their_ranks(suite):
    means = {"a": 1.0, "b": 1.0, "c": 0.5, "d": None}
    found = SimpleNamespace(models={name: {"mse": SimpleNamespace(mean=mean)} for name, mean in means.items()})
    assert suite.mean_ranks(list(means), "mse", [found]) == {"a": 2.5, "b": 2.5, "c": 1.0, "d": 4.0}
