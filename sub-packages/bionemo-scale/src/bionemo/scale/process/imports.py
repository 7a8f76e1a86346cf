# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Imports of large libraries without a search for garbage.

Python looks through every object for unreachable ones each time their number has grown by a quarter. Importing torch,
Megatron and pandas makes a million objects that stay, so a command spent a sixth of its start on such searches, and
as much again on the last one, when it ended.
"""

import contextlib
import gc
import os
import sys
from collections.abc import Iterator

from bionemo.scale.process import interrupt


@contextlib.contextmanager
def imports() -> Iterator[None]:
    """Import modules in the body; what they make is never searched.

    In a notebook or a test this does nothing: the objects there are not the command's to keep.
    """
    if not _is_own_process():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        keep_all()
        gc.enable()


def keep_all() -> None:
    """Never search the objects that exist now: the process needs them, or ends with them."""
    if _is_own_process():
        gc.freeze()


def _is_own_process() -> bool:
    # A step of a training is a process of its own and no command.
    return interrupt.is_command() or os.path.dirname(sys.argv[0]) == os.path.join(interrupt.COMMANDS, "inner")
