# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import errno
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from bionemo.scale.files.writing import lock as lock_module
from bionemo.scale.files.writing.atomic import temporary_name
from bionemo.scale.files.writing.lock import only_writer, sole_writer
from bionemo.scale.types import InputError


@pytest.fixture
def lock(tmp_path):
    return tmp_path / ".lock"


def in_fork(body) -> int:
    child = os.fork()
    if child == 0:
        try:
            body()
        finally:
            os._exit(0)
    return child


def hold(target, lock, ready):
    with sole_writer(target, lock):
        os.write(ready, b"x")
        time.sleep(60)


def started_holder(target, lock) -> int:
    """Process that holds the lock."""
    listen, ready = os.pipe()
    child = in_fork(lambda: hold(target, lock, ready))
    os.read(listen, 1)
    return child


def test_a_second_writer_is_refused_and_told_of_the_first(tmp_path, lock):
    with sole_writer(tmp_path, lock):
        with pytest.raises(
            InputError, match=rf"{tmp_path}: another command is writing it \(process {os.getpid()} on "
        ):
            with sole_writer(tmp_path, lock):
                pass
    with sole_writer(tmp_path, lock):
        pass
    assert not lock.exists()


def test_a_killed_process_leaves_no_lock_behind(tmp_path, lock):
    child = started_holder(tmp_path, lock)
    with pytest.raises(InputError), sole_writer(tmp_path, lock):
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with sole_writer(tmp_path, lock):
        pass


def test_a_fork_that_outlives_its_killed_parent_does_not_hold_the_lock(tmp_path, lock):
    listen, ready = os.pipe()

    def fork():
        # Its parent is killed only when the fork has let the lock go, which it does before anything else.
        os.write(ready, f"{os.getpid()}".encode())
        time.sleep(60)

    def parent():
        with sole_writer(tmp_path, lock):
            in_fork(fork)
            time.sleep(60)

    child = in_fork(parent)
    grandchild = int(os.read(listen, 20))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    try:
        with sole_writer(tmp_path, lock):
            assert Path(f"/proc/{grandchild}").exists()
    finally:
        os.kill(grandchild, signal.SIGKILL)


def test_the_other_processes_of_a_launch_wait_for_the_first(tmp_path, lock):
    lock.write_text("an earlier launch\n")
    order = []

    def other():
        with sole_writer(tmp_path, lock, rank=1, launch="this one"):
            order.append("other")

    thread = threading.Thread(target=other)
    thread.start()
    time.sleep(0.2)
    order.append("first")
    with sole_writer(tmp_path, lock, launch="this one"):
        thread.join(timeout=10)
    assert order == ["first", "other"]


def test_the_other_processes_do_not_wait_for_ever(tmp_path, lock, monkeypatch):
    monkeypatch.setattr(lock_module, "WAIT_SECONDS", 0.1)
    with pytest.raises(InputError, match="process 1 waited 0 s for the first process, which did not begin"):
        with sole_writer(tmp_path, lock, rank=1, launch="this one"):
            pass


def test_a_file_system_without_locks_is_a_warning(tmp_path, lock, monkeypatch, caplog):
    def flock(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock_module.fcntl, "flock", flock)
    with sole_writer(tmp_path, lock):
        pass
    (line,) = caplog.messages
    assert line == f"{tmp_path}: its file system has no locks (No locks available); run one command at a time"


def test_a_file_has_one_writer_who_makes_its_folder_and_takes_it_away_again(tmp_path):
    out = tmp_path / "new" / ("x" * 250)
    with pytest.raises(InputError, match="another command is writing it"), only_writer(out), only_writer(out):
        pass
    assert list(tmp_path.iterdir()) == []
    with only_writer(out):
        out.touch()
    assert list(out.parent.iterdir()) == [out]


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path):
    out = tmp_path / "a.csv"
    child = in_fork(lambda: (temporary_name(out).touch(), os.kill(os.getpid(), signal.SIGKILL)))
    os.waitpid(child, 0)
    assert len(list(tmp_path.iterdir())) == 1
    with only_writer(out):
        assert [path.name for path in tmp_path.iterdir()] == [".a.csv.lock"]


def test_an_interrupt_before_the_work_begins_leaves_no_lock(tmp_path, lock, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(lock_module, "_this_process", interrupted)
    with pytest.raises(KeyboardInterrupt), sole_writer(tmp_path, lock):
        pass
    assert not lock.exists()
