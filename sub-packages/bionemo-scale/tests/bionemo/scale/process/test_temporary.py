# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from bionemo.scale.process.temporary import take_folder


# A command whose libraries leave what libraries leave: a folder that ends with Python, a socket of another process.
COMMAND = """
from bionemo.scale.process import interrupt
import sys
sys.argv[0] = "bionemo-scale-test"
for number in (interrupt.signal.SIGINT, interrupt.signal.SIGTERM):
    interrupt.signal.signal(number, interrupt._answer)
import multiprocessing, os, subprocess, tempfile, time
from bionemo.scale.process.command import run_command
from bionemo.scale.types import InputError

def body(argv):
    global folder, manager, left
    folder, left = tempfile.TemporaryDirectory(), tempfile.mkdtemp()
    manager = multiprocessing.Manager()
    show = "import os, tempfile; print(os.path.dirname(tempfile.mkdtemp()))"
    other = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True).stdout.strip()
    print(other == os.path.dirname(left), len(os.listdir(os.environ["AROUND"])), flush=True)
    if sys.argv[1] == "refuses":
        raise InputError("no")
    if sys.argv[1] == "starts":
        other = subprocess.Popen([sys.executable, sys.orig_argv[1], "waits"], stdout=subprocess.PIPE)
        other.stdout.readline()
        print(other.pid, flush=True)
    if sys.argv[1] == "becomes":
        interrupt.end_for_another()
        shows = "import os; around = os.environ['TMPDIR']; print(around, os.listdir(around))"
        os.execv(sys.executable, [sys.executable, "-c", shows])
    if sys.argv[1] in ("waits", "starts"):
        time.sleep(60)

sys.exit(run_command(body))
"""


def start(around: Path, how: str) -> subprocess.Popen:
    script = around.with_suffix(".py")
    script.write_text(COMMAND)
    environment = {**os.environ, "TMPDIR": str(around), "AROUND": str(around)}
    return subprocess.Popen(
        [sys.executable, script, how],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.fixture
def around():
    """A folder with a short name: the names of sockets below cannot be long."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)
        Path(folder).with_suffix(".py").unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("how", "number", "code", "said"),
    [
        ("ends", None, 0, ""),
        ("refuses", None, 2, "error: no\n"),
        ("waits", signal.SIGINT, 130, "interrupted\n"),
        ("waits", signal.SIGTERM, 143, "terminated\n"),
    ],
)
def test_nothing_is_left_however_a_command_ends(how, number, code, said, around: Path):
    process = start(around, how)
    # What it starts has its temporary files in the same folder, which is the only one.
    assert process.stdout.readline() == "True 1\n"
    if number is not None:
        process.send_signal(number)
    _, screen = process.communicate(timeout=60)
    assert (process.returncode, screen, list(around.iterdir())) == (code, said, [])


def test_a_program_that_a_command_becomes_has_the_folder_of_before(around: Path):
    screen, _ = start(around, "becomes").communicate(timeout=60)
    assert screen.splitlines() == ["True 1", f"{around} []"]


def test_the_next_command_removes_the_folder_of_one_that_was_killed(around: Path):
    killed, runs = start(around, "waits"), start(around, "waits")
    for process in (killed, runs):
        process.stdout.readline()
    # Its other process lives on.
    killed.kill()
    killed.wait()
    (around / "bionemo-scale-mine").mkdir()
    for name in ("bionemo-scale-7-0bad", "bionemo-scale-8-0bad"):
        (around / name).mkdir()
    (around / "bionemo-scale-8-0bad" / ".lock").touch()
    assert len(list(around.iterdir())) == 5
    start(around, "ends").communicate(timeout=60)
    # The first has no lock yet, as if it were just being made.
    left = {path.name for path in around.iterdir()} - {"bionemo-scale-mine", "bionemo-scale-7-0bad"}
    assert len(left) == 1 and next(iter(left)).startswith(f"bionemo-scale-{runs.pid}-")
    runs.terminate()
    runs.communicate(timeout=60)
    os.killpg(killed.pid, signal.SIGKILL)


def test_a_command_that_another_has_started_ends_when_that_is_killed(around: Path):
    process = start(around, "starts")
    process.stdout.readline()
    started = int(process.stdout.readline())
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    # Whoever takes it in may be slow to take note.
    while Path("/proc", str(started)).exists() and " Z " not in Path("/proc", str(started), "stat").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)


def test_a_folder_with_a_long_name_is_left_as_it_is(around: Path):
    long = around / ("n" * 45)
    long.mkdir()
    process = start(long, "ends")
    assert process.stdout.readline().startswith("True")
    process.communicate(timeout=60)
    assert not list(long.glob("bionemo-scale-*"))


def test_a_notebook_keeps_its_own(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    take_folder()
    assert os.environ["TMPDIR"] == str(tmp_path) and list(tmp_path.iterdir()) == []


def test_a_folder_that_is_held_is_not_removed(around: Path):
    held = around / "bionemo-scale-9-0bad"
    held.mkdir()
    with (held / ".lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        start(around, "ends").communicate(timeout=60)
        assert list(around.iterdir()) == [held]
