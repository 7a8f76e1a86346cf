# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What libraries print, and what ends their threads, is in the log and not on the screen."""

import os
import threading
from pathlib import Path

import pytest

from bionemo.scale.process.console import quiet_screen


def fails_after(event: threading.Event, words: str) -> threading.Thread:
    def run() -> None:
        event.wait(60)
        raise OSError(words)

    thread = threading.Thread(target=run, name="writer", daemon=True)
    thread.start()
    return thread


def test_what_is_printed_is_in_the_log_and_the_screen_is_given_back(tmp_path: Path, capfd):
    log = tmp_path / "logs" / "log"
    with quiet_screen(log) as screen:
        os.write(1, b"a library\n")
        os.write(2, b"a child process\n")
        screen.write("for the user\n")
    os.write(1, b"after\n")
    shown = capfd.readouterr()
    assert shown.out == "after\n" and shown.err == "for the user\n"
    assert "a library" in log.read_text() and "a child process" in log.read_text()


@pytest.mark.parametrize("within", [True, False], ids=["in the body", "when the screen has been given back"])
def test_a_thread_of_the_body_that_fails_is_in_the_log(tmp_path: Path, capfd, within: bool):
    before, event, log = threading.excepthook, threading.Event(), tmp_path / "log"
    with quiet_screen(log):
        thread = fails_after(event, "no space left")
        if within:
            event.set()
            thread.join()
    event.set()
    thread.join()
    assert capfd.readouterr().err == ""
    assert "Exception in thread writer" in log.read_text() and "OSError: no space left" in log.read_text()
    assert (threading.excepthook is before) == within


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_other_threads_that_fail_are_seen(tmp_path: Path, monkeypatch):
    seen: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda failed: seen.append(str(failed.exc_value)))
    early, late, kept, log = threading.Event(), threading.Event(), threading.Event(), tmp_path / "log"
    begun_before = fails_after(early, "begun before")
    with quiet_screen(log):
        of_the_body = fails_after(kept, "of the body")
        early.set()
        begun_before.join()
    late.set()
    fails_after(late, "begun after").join()
    kept.set()
    of_the_body.join()
    assert seen == ["begun before", "begun after"]


def test_a_log_that_is_gone_is_not_made_again(tmp_path: Path, capfd):
    event, log = threading.Event(), tmp_path / "folder" / "log"
    with quiet_screen(log):
        thread = fails_after(event, "too late")
    log.unlink()
    log.parent.rmdir()
    event.set()
    thread.join()
    assert capfd.readouterr().err == "" and not log.parent.exists()
