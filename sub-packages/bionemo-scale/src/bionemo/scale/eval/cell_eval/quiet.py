# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Silence for cell-eval and pdex: importing pdex alone makes the whole process log at INFO."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator


_CHATTY = ("cell_eval", "pdex")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Swallow progress bars, logs and warnings inside the block, and undo what an import does to the root logger.

    Exceptions pass.
    """
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    chatty = [logging.getLogger(name) for name in _CHATTY]
    levels = [logger.level for logger in chatty]
    for logger in chatty:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        for logger, old in zip(chatty, levels, strict=True):
            logger.setLevel(old)
