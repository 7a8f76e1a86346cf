# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The tasks of benchmarks/quality/suite: what only confirms was never there to choose by."""

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest


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
    names = {
        role: {(task.file, name) for task in tasks if task.role == role for fold in task.folds for name in fold}
        for role in ("choose", "confirm")
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


def test_ties_share_the_mean_of_their_ranks(suite):
    means = {"a": 1.0, "b": 1.0, "c": 0.5, "d": None}
    found = SimpleNamespace(models={name: {"mse": SimpleNamespace(mean=mean)} for name, mean in means.items()})
    assert suite.mean_ranks(list(means), "mse", [found]) == {"a": 2.5, "b": 2.5, "c": 1.0, "d": 4.0}
