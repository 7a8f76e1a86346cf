# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Commands that are interrupted or started twice: one line, and nothing left but what continues."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bionemo.scale.model.checkpoint import newest_whole


pytestmark = pytest.mark.slow

# What sbatch sets in a batch script of a job of four tasks; no srun has started this process.
BATCH_SCRIPT = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}


_started: list[subprocess.Popen] = []


@pytest.fixture(autouse=True)
def nothing_runs_on() -> Iterator[None]:
    yield
    for process in _started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    _started.clear()


def start(command: str, *words: object) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-m", f"bionemo.scale.run.{command}", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **BATCH_SCRIPT},
        start_new_session=True,
        # A test run in the background ignores interrupts, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    _started.append(process)
    return process


def interrupt(process: subprocess.Popen, when: Callable[[], bool]) -> str:
    """Send the interrupt of a terminal, to the whole group, once a condition holds; return the screen."""
    deadline = time.monotonic() + 200
    while not when():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.02)
    sent = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    screen, _ = process.communicate(timeout=60)
    # Two seconds, and as much again where the machine has other work.
    assert process.returncode == 130 and time.monotonic() - sent < 4, screen
    assert [line for line in screen.splitlines() if "interrupted" in line or "Trace" in line] == ["interrupted"]
    return screen


def train(store: Path, out: Path, *words: object) -> subprocess.Popen:
    return start("train", "--store", store, "--out", out, "--size", "tiny", "--log-interval", 1, *words)


def test_training(api_store: Path, tmp_path: Path):
    """Interrupted before its first checkpoint, then after one, beside a second training in the same folder."""
    out = tmp_path / "new" / "run"
    rows, more = out / "metrics.csv", ("--max-steps", 100_000, "--val-interval", 100_000)
    interrupt(train(api_store, out, *more), when=lambda: (out / "logs" / "output-rank0.log").exists())
    assert list(tmp_path.iterdir()) == []
    often = ("--max-steps", 100_000, "--val-interval", 4, "--async-checkpoints", "on", "--num-workers", 1)
    first = train(api_store, out, *often)
    while not (rows.exists() and rows.read_text().count("\n") > 8):
        assert first.poll() is None, first.communicate()
        time.sleep(0.05)
    second, _ = train(api_store, out, *often).communicate(timeout=100)
    pattern = rf"error: {out}: another command is writing it \(process {first.pid} on \S+\); [^\n]*\n"
    assert re.fullmatch(pattern, second), second
    interrupt(first, when=lambda: newest_whole(out / "checkpoints") is not None)
    assert not (out / ".lock").exists()
    step = int(re.search(r"step=(\d+)", newest_whole(out / "checkpoints").name).group(1)) + 1
    again = train(api_store, out, "--max-steps", step + 2, "--val-interval", 4)
    screen, _ = again.communicate(timeout=200)
    assert again.returncode == 0, screen
    assert re.findall(r"^step (\d+)/", screen, flags=re.MULTILINE) == [str(step + 1), str(step + 2)]


# Some three seconds after its lock a prediction of this size is over.
@pytest.mark.parametrize("delay", [0.0, 0.5, 1.5])
def test_a_prediction_while_libraries_are_imported(delay: float, api_run: Path, api_store: Path, tmp_path: Path):
    out = tmp_path / "predicted"
    process = start("infer", "--checkpoint", api_run, "--store", api_store, "--out", out)
    seen: list[float] = []

    def is_importing() -> bool:
        if any(out.glob(".*.log")):
            seen.append(time.monotonic())
        return bool(seen) and time.monotonic() - seen[0] >= delay

    interrupt(process, when=is_importing)
    assert list(tmp_path.iterdir()) == []
