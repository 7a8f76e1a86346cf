# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Keeps the screen for what a user should see; everything libraries print goes to a log file."""

import contextlib
import io
import logging
import os
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from bionemo.scale.process import interrupt


@contextlib.contextmanager
def quiet_screen(log_path: Path) -> Iterator[TextIO]:
    """Send standard output and error to a file, down to the file descriptors, and yield a stream to the screen.

    NeMo, Lightning and Megatron print, log and warn by different roads (and from child processes); the descriptors
    are the one place where all of them meet. An exception leaves through the restored descriptors, so it is seen; its
    traceback is in the file too.
    """
    log_path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    log_file = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    saved_out, saved_err = os.dup(1), os.dup(2)
    screen = io.TextIOWrapper(
        os.fdopen(os.dup(saved_err), "wb", 0),
        encoding=getattr(sys.stderr, "encoding", None),
        errors="backslashreplace",
        write_through=True,
    )
    try:
        # Before the descriptors lead elsewhere and until they are back, so that an interrupt between is seen too.
        with interrupt.shows_on(saved_err), _redirected(log_file, saved_out, saved_err):
            with warnings.catch_warnings(), _threads_end_in(log_path):
                yield screen
    finally:
        screen.close()
        for descriptor in (saved_out, saved_err, log_file):
            os.close(descriptor)


@contextlib.contextmanager
def _redirected(log_file: int, saved_out: int, saved_err: int) -> Iterator[None]:
    """Let standard output and error lead to a file in the body, with the traceback of what ends it."""
    try:
        os.dup2(log_file, 1)
        os.dup2(log_file, 2)
        yield
    except Exception:
        _flush()
        with contextlib.suppress(OSError):
            os.write(log_file, traceback.format_exc().encode(errors="backslashreplace"))
        raise
    finally:
        _flush()
        os.dup2(saved_out, 1)
        os.dup2(saved_err, 2)


@contextlib.contextmanager
def _threads_end_in(log_path: Path) -> Iterator[None]:
    """Write the exception that ends a thread of the body to a file, also if it comes after the body.

    The writer of TensorBoard's events is such a thread: on a full disk it fails at the same time as the training.
    """
    others, shown = set(threading.enumerate()), threading.excepthook
    left: set[threading.Thread] | None = None

    def note(failed: threading.ExceptHookArgs) -> None:
        if failed.thread in others if left is None else failed.thread not in left:
            shown(failed)
            return
        text = "".join(traceback.format_exception(failed.exc_type, failed.exc_value, failed.exc_traceback))
        with contextlib.suppress(OSError):
            _append(log_path, f"Exception in thread {failed.thread.name if failed.thread else '?'}:\n{text}")

    threading.excepthook = note
    try:
        yield
    finally:
        left = set(threading.enumerate()) - others
        if not left:
            threading.excepthook = shown


def _append(path: Path, text: str) -> None:
    """Append to a file, and do not make one that is gone: its folder may have been removed, or be a new one."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(file, text.encode(errors="backslashreplace"))
    finally:
        os.close(file)


def _flush() -> None:
    """Hand on what streams still hold; what a full disk does not take is let go, and not shown on the screen later."""
    for handler in logging.getLogger().handlers:
        with contextlib.suppress(OSError):
            handler.flush()
    for stream, descriptor in ((sys.stdout, 1), (sys.stderr, 2)):
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)
            stream.flush()
