# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Keeps the screen for what a user should see; everything libraries print goes to a log file."""

import contextlib
import io
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from bionemo.scale.run import interrupt


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
        os.dup2(log_file, 1)
        os.dup2(log_file, 2)
        with warnings.catch_warnings(), interrupt.shows_on(saved_err):
            yield screen
    except Exception:
        traceback.print_exc()
        raise
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for handler in logging.getLogger().handlers:
            handler.flush()
        os.dup2(saved_out, 1)
        os.dup2(saved_err, 2)
        screen.close()
        for descriptor in (saved_out, saved_err, log_file):
            os.close(descriptor)
