# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C at any moment of a command: one line, exit code 130, nothing left but what can continue.

Commands import this module before all others. An interrupt before the work begins ends the process at once. Later it
is raised as ``KeyboardInterrupt``, so that what was begun is taken down; again a moment later, as libraries swallow
some; and after that the process ends by itself. Where a library would handle the exception, it ends at once.
"""

# Few and light: what they take is the time in which an interrupt still ends in a traceback of Python's.
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType


EXIT_INTERRUPTED = 130
QUIET_LAUNCH = "bionemo-scale-"
"""Beginning of the run id of processes whose parent says on the screen what there is to say."""
_SECONDS_TO_UNWIND = 1.0

_leftovers: list[Callable[[], None]] = []
_screens: list[int] = []
_process = os.getpid()
_is_unwinding = False
_at_once = True


def is_command() -> bool:
    """Return whether this process is one of our commands, rather than a notebook or a test that calls one."""
    folder, name = os.path.split(sys.argv[0] if sys.argv else "")
    commands = os.path.dirname(os.path.dirname(__file__))
    return name.startswith("bionemo-scale") or (name.endswith(".py") and folder == commands)


@contextlib.contextmanager
def answered() -> Iterator[None]:
    """Raise interrupts in the body as ``KeyboardInterrupt``, and see that the process ends."""
    global _at_once
    _at_once = False
    try:
        yield
    finally:
        _at_once = True


@contextlib.contextmanager
def ends_at_once() -> Iterator[None]:
    """End the process on an interrupt in the body, with no exception: what is on disk is whole at any moment."""
    global _at_once
    before, _at_once = _at_once, True
    try:
        yield
    finally:
        _at_once = before


@contextlib.contextmanager
def removes(clear: Callable[[], None]) -> Iterator[None]:
    """Call a function when the body is interrupted, to remove what cannot be continued."""
    _leftovers.append(clear)
    try:
        yield
    except KeyboardInterrupt:
        clear()
        raise
    finally:
        _leftovers.remove(clear)


@contextlib.contextmanager
def shows_on(descriptor: int) -> Iterator[None]:
    """Say on this file descriptor that there was an interrupt: standard error is a log file in the body."""
    _screens.append(descriptor)
    try:
        yield
    finally:
        _screens.remove(descriptor)


def leave() -> None:
    """End this process now, by one line and exit code 130; never returns."""
    for clear in reversed(_leftovers):
        with contextlib.suppress(Exception):
            clear()
    _end_children()
    with contextlib.suppress(OSError):
        if _speaks():
            os.write(_screens[-1] if _screens else 2, b"interrupted\n")
    os._exit(EXIT_INTERRUPTED)


def _speaks() -> bool:
    rank = os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))
    return rank == "0" and not os.environ.get("TORCHELASTIC_RUN_ID", "").startswith(QUIET_LAUNCH)


def _end_children() -> None:
    multiprocessing = sys.modules.get("multiprocessing")
    if multiprocessing is not None:
        with contextlib.suppress(Exception):
            for child in multiprocessing.active_children():
                child.kill()


def _answer(number: int, frame: FrameType | None) -> None:
    global _is_unwinding
    if os.getpid() != _process:
        # A fork, of which its parent takes care.
        os._exit(EXIT_INTERRUPTED)
    if _at_once:
        leave()
    if not _is_unwinding:
        import threading

        _is_unwinding = True
        threading.Thread(target=_see_to_it, daemon=True).start()
    raise KeyboardInterrupt


def _see_to_it() -> None:
    import _thread
    import time

    time.sleep(_SECONDS_TO_UNWIND)
    _thread.interrupt_main()
    time.sleep(_SECONDS_TO_UNWIND)
    leave()


# Whoever started the command may have told it to ignore interrupts.
if is_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _answer)
