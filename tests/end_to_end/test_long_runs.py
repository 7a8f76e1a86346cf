# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Runs that are told to stop, and runs whose loss goes wrong."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bionemo.scale.model.checkpoint import find_checkpoint
from bionemo.scale.types import InputError


pytestmark = pytest.mark.slow


def start(store: Path, out: Path, *words: object) -> subprocess.Popen:
    options = [
        "--store",
        store,
        "--out",
        out,
        "--size",
        "tiny",
        "--log-interval",
        1,
        "--val-interval",
        100_000,
        *words,
    ]
    return subprocess.Popen(
        [sys.executable, "-m", "bionemo.scale.run.train", *map(str, options)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )  # fmt: skip


@pytest.mark.parametrize(("saving", "workers"), [("on", 0), ("off", 1)])
def test_a_signal_saves_the_step_and_the_same_command_continues(
    saving: str, workers: int, api_store: Path, tmp_path: Path
):
    """To all processes of a run, as Slurm sends it: those that read and those that write checkpoints have begun."""
    out = tmp_path / "run"
    words = ("--async-checkpoints", saving, "--num-workers", workers, "--val-interval", 4)
    process = start(api_store, out, "--max-steps", 100_000, *words)
    rows, deadline = out / "metrics.csv", time.monotonic() + 200
    while not rows.exists() or rows.read_text().count("\n") < 8:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGUSR1)
    _, screen = process.communicate(timeout=200)
    assert process.returncode == 75, screen
    step = int(re.search(r"stopped by SIGUSR1 and saved at step (\d+) of 100000", screen).group(1))
    # Lightning counts the steps of a checkpoint's name from 0.
    assert find_checkpoint(out).name.startswith(f"step={step - 1}-")
    again = start(api_store, out, "--max-steps", step + 2, *words)
    _, screen = again.communicate(timeout=200)
    assert again.returncode == 0, screen
    assert re.findall(r"^step (\d+)/", screen, flags=re.MULTILINE) == [str(step + 1), str(step + 2)]


def test_a_run_killed_while_it_saves_continues_from_a_whole_checkpoint(api_store: Path, tmp_path: Path):
    """Checkpoints are written beside training, one every other step, and the kill comes at any moment of them."""
    out, words = tmp_path / "run", ("--async-checkpoints", "on", "--val-interval", 2)
    process = start(api_store, out, *words, "--max-steps", 100_000)
    deadline, saved = time.monotonic() + 200, None
    while saved is None:
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.05)
        with contextlib.suppress(InputError):
            saved = find_checkpoint(out)
    process.kill()
    process.communicate()
    step = int(re.search(r"step=(\d+)", find_checkpoint(out).name).group(1)) + 1
    again = start(api_store, out, *words, "--max-steps", step + 6)
    _, screen = again.communicate(timeout=200)
    assert again.returncode == 0, screen
    assert re.findall(r"^step (\d+)/", screen, flags=re.MULTILINE) == [str(step + more) for more in range(1, 7)]
    folders = [path.name for path in (out / "checkpoints").iterdir()]
    assert find_checkpoint(out).name.startswith(f"step={step + 5}-")
    assert not [name for name in folders if name.endswith("-unfinished")] and 1 <= len(folders) <= 2


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_sets(api_store: Path, tmp_path: Path):
    process = start(api_store, tmp_path / "run", "--max-steps", 50, "--lr", "1e30", "--warmup-steps", 1)
    _, screen = process.communicate(timeout=200)
    assert process.returncode == 1
    errors = [line for line in screen.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, screen
    assert re.match(
        r"error: the (loss|gradient) (is (nan|inf|no number)|has grown to \S+) at step \d+; its sets: \d of kang/",
        errors[0],
    )
