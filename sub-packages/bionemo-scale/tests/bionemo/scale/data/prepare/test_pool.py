# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import importlib
import os

import pytest

from bionemo.scale.data.prepare.pool import run_tasks
from bionemo.scale.types import InputError


TASKS = """
import os
import signal

from bionemo.scale.types import InputError


def double(task, progress):
    progress(task)
    return 2 * task, os.getpid()


def refuse_1(task, progress):
    if task == 1:
        raise InputError(f"task {task} is wrong")


def die(task, progress):
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def tasks(tmp_path, monkeypatch):
    """A module of its own: spawned workers import what they run."""
    (tmp_path / "tasks_of_a_pool.py").write_text(TASKS)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("tasks_of_a_pool")


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_order_and_progress_arrives(tasks, workers):
    told = []
    results = run_tasks(tasks.double, [5, 6, 7], workers=workers, progress=told.append)
    assert [result for result, _ in results] == [10, 12, 14] and sum(told) == 18
    assert (os.getpid() in {process for _, process in results}) == (workers == 1)


@pytest.mark.parametrize("workers", [1, 2])
def test_refusals_keep_their_line(tasks, workers):
    with pytest.raises(InputError, match="task 1 is wrong"):
        run_tasks(tasks.refuse_1, [1, 2], workers=workers, progress=lambda cells: None)


def test_a_killed_worker_is_told(tasks):
    with pytest.raises(OSError, match="a worker that was killed"):
        run_tasks(tasks.die, [1, 2], workers=2, progress=lambda cells: None)
