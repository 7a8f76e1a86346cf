# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Commands that are interrupted or started twice: one line, and nothing left but what continues."""

import contextlib
import csv
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bionemo.scale.model.checkpoint import MARK, newest_whole, steps_done
from bionemo.scale.train.callbacks.stopping import EXIT_CONTINUE


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


def start(command: str, *words: object, **environment: str) -> subprocess.Popen:
    return begin(sys.executable, "-m", f"bionemo.scale.run.{command}", *words, **environment)


def begin(*words: object, **environment: str) -> subprocess.Popen:
    process = subprocess.Popen(
        [*map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", **BATCH_SCRIPT, **environment},
        start_new_session=True,
        # A test run in the background ignores interrupts, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    _started.append(process)
    return process


def wait_until(process: subprocess.Popen, when: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not when():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.02)


def interrupt(process: subprocess.Popen, when: Callable[[], bool], number: int = signal.SIGINT) -> str:
    """Send the interrupt of a terminal, to the whole group, once a condition holds; return the screen."""
    wait_until(process, when)
    sent = time.monotonic()
    os.killpg(process.pid, number)
    screen, _ = process.communicate(timeout=60)
    word = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}[number]
    # Two seconds, and as much again where the machine has other work.
    assert process.returncode == 128 + number and time.monotonic() - sent < 4, screen
    assert [line for line in screen.splitlines() if word in line or "Trace" in line] == [word]
    return screen


class Command:
    """A training as a person types it."""

    def __init__(self, environment: dict[str, str]):
        self._environment = environment

    def train(
        self, store: Path, out: Path, *, steps: int, interval: int, in_background: bool = False
    ) -> subprocess.Popen:
        often = ("--size", "tiny", "--log-interval", 1, "--max-steps", steps, "--val-interval", interval)
        more = ("--async-checkpoints", "on") if in_background else ()
        places = ("--store", store, "--out", out, "--num-workers", 1)
        return start("train", *places, *often, *more, **self._environment)


class Composed(Command):
    """The same training, composed of NeMo's objects on NeMo-Run's command line."""

    def train(
        self, store: Path, out: Path, *, steps: int, interval: int, in_background: bool = False
    ) -> subprocess.Popen:
        values = {
            "data.store": store,
            "experiment.out": out,
            "data.num_workers": 1,
            "trainer.log_every_n_steps": 1,
            "trainer.max_steps": steps,
            "trainer.val_check_interval": interval,
            "trainer.strategy.ckpt_async_save": in_background,
        }
        words = (
            "scale",
            "train",
            "--factory",
            "scale_tiny",
            "-y",
            *(f"{key}={value}" for key, value in values.items()),
        )
        return begin(Path(sys.executable).with_name("nemorun"), *words, **self._environment)


@pytest.fixture(params=[Command, Composed], ids=["command", "composed"])
def training(request: pytest.FixtureRequest, entry_points: dict[str, str]) -> Command:
    return request.param(entry_points)


MANY = 100_000


def names(run: Path) -> set[str]:
    """Return what is in a run folder, without numbers of processes, steps and losses in the names."""
    return {re.sub(r"[\d.]+", "", str(path.relative_to(run))) for path in run.rglob("*")}


def is_at_step(run: Path, number: int) -> bool:
    rows = run / "metrics.csv"
    return rows.exists() and rows.read_text().count("\n") > number


@pytest.mark.timeout(1200)
def test_training(training: Command, api_store: Path, tmp_path: Path):
    """Interrupted before its first checkpoint, then after one, beside a second training in the same folder."""
    out = tmp_path / "new" / "run"
    for number in (signal.SIGINT, signal.SIGTERM):
        new = training.train(api_store, out, steps=MANY, interval=MANY)
        interrupt(new, when=lambda: (out / "logs" / "output-rank0.log").exists(), number=number)
        assert list(tmp_path.iterdir()) == []
    often = {"steps": MANY, "interval": 4, "in_background": True}
    first = training.train(api_store, out, **often)
    wait_until(first, lambda: is_at_step(out, 8))
    second, _ = training.train(api_store, out, **often).communicate(timeout=300)
    pattern = rf"error: {out}: another command is writing it \(process {first.pid} on \S+\); [^\n]*\n"
    assert re.search(rf"(?:^|\n){pattern}$", second), second
    assert isinstance(training, Composed) or re.fullmatch(pattern, second), second
    interrupt(first, when=lambda: newest_whole(out / "checkpoints") is not None)
    assert not (out / ".lock").exists()
    step = int(re.search(r"step=(\d+)", newest_whole(out / "checkpoints").name).group(1)) + 1
    again = training.train(api_store, out, steps=step + 2, interval=4)
    screen, _ = again.communicate(timeout=300)
    assert again.returncode == 0, screen
    assert re.findall(r"^step (\d+)/", screen, flags=re.MULTILINE) == [str(step + 1), str(step + 2)]


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder with a short name: the names of sockets below cannot be long."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


@pytest.mark.timeout(1200)
def test_a_training_of_objects_ends_with_the_folder_of_the_command(
    entry_points: dict[str, str], api_store: Path, tmp_path: Path, temporary: Path
):
    """Told to end with all its processes, as Slurm does, killed and continued: the same exit codes, files and losses.

    Checkpoints are written in the background, by processes that get the signal too.
    """
    stopped, ended, losses = [], [], []
    for kind in (Command, Composed):
        training, out = kind({**entry_points, "TMPDIR": str(temporary)}), tmp_path / kind.__name__
        stopped.append(told_to_end(training, api_store, out))
        killed(training, api_store, out)
        assert (out / ".lock").exists() and list(temporary.glob("bionemo-scale-*"))
        last = training.train(api_store, out, steps=steps_done(out / "checkpoints") + 3, interval=2)
        screen, _ = last.communicate(timeout=300)
        assert last.returncode == 0, screen
        ended.append(names(out))
        losses.append(losses_of(out))
        assert list(temporary.glob("bionemo-scale-*")) == []
    assert stopped[0] == stopped[1] and ended[0] == ended[1]
    assert not [name for name in ended[0] if name == ".lock" or name.endswith((MARK, ".tmp"))]
    common = losses[0].keys() & losses[1].keys()
    assert len(common) > 12 and all(losses[0][step] == losses[1][step] for step in common)


def told_to_end(training: Command, store: Path, out: Path) -> set[str]:
    """Let a training end as Slurm does, and return what is in its folder then."""
    process = training.train(store, out, steps=MANY, interval=4, in_background=True)
    wait_until(process, lambda: is_at_step(out, 8))
    os.killpg(process.pid, signal.SIGTERM)
    screen, _ = process.communicate(timeout=200)
    pattern = rf"^stopped by SIGTERM and saved at step \d+ of {MANY}; the same command continues$"
    assert process.returncode == EXIT_CONTINUE and re.search(pattern, screen, flags=re.MULTILINE), screen
    return names(out)


def killed(training: Command, store: Path, out: Path) -> None:
    """Continue a training and kill it with all its processes after a few more steps."""
    done = steps_done(out / "checkpoints")
    process = training.train(store, out, steps=MANY, interval=2, in_background=True)
    wait_until(process, lambda: steps_done(out / "checkpoints") > done + 3)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)


def losses_of(run: Path) -> dict[str, str]:
    with (run / "metrics.csv").open() as file:
        return {row["step"]: row["loss"] for row in csv.DictReader(file) if row["loss"]}


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
