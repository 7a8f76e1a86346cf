# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C and SIGTERM at any moment of a command: one line, exit code 130 or 143, nothing left but what can continue.

Commands import this module before all others. A signal before the work begins ends the process at once. Later it
is raised as ``KeyboardInterrupt``, so that what was begun is taken down; again a moment later, as libraries swallow
some; and after that the process ends by itself. Where a library would handle the exception, it ends at once.
"""

# Few and light: what they take is the time in which an interrupt still ends in a traceback of Python's.
import atexit
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType


EXIT_INTERRUPTED = 130
COMMANDS = os.path.join(os.path.dirname(os.path.dirname(__file__)), "run")
"""Folder of the modules that are commands."""
QUIET_LAUNCH = "bionemo-scale-"
"""Beginning of the run id of processes whose parent says on the screen what there is to say."""
_SECONDS_TO_UNWIND = 1.0

_WORDS = {signal.SIGINT: b"interrupted\n", signal.SIGTERM: b"terminated\n"}

_leftovers: list[Callable[[], None]] = []
_last: list[Callable[[], None]] = []
_screens: list[int] = []
_process = os.getpid()
_is_taken = False
_is_unwinding = False
_at_once = True
_received = signal.SIGINT


def is_command() -> bool:
    """Return whether this process is one of our commands, rather than a notebook or a test that calls one."""
    folder, name = os.path.split(sys.argv[0] if sys.argv else "")
    is_module = name.endswith(".py") and folder in (COMMANDS, os.path.join(COMMANDS, "config"))
    return _is_taken or name.startswith("bionemo-scale") or is_module


def take_process() -> None:
    """Let this process be a command from now on: the program that it was has begun one, and ends with it.

    In a thread this does nothing: signals come to the first one, which is not the command's.
    """
    import threading

    global _is_taken, _process
    if threading.current_thread() is threading.main_thread():
        _is_taken, _process = True, os.getpid()
        _take_signals()


def end_for_another() -> None:
    """Do what is done at the end of this process, which is about to become another program."""
    # Python's own, without which nothing would be: a program that replaces this one does not wait for its end.
    atexit._run_exitfuncs()


@contextlib.contextmanager
def answered() -> Iterator[None]:
    """Raise signals in the body as ``KeyboardInterrupt``, and see that the process ends."""
    global _at_once
    _at_once = False
    try:
        yield
    finally:
        _at_once = True


@contextlib.contextmanager
def ends_at_once() -> Iterator[None]:
    """End the process on a signal in the body, with no exception: what is on disk is whole at any moment."""
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


def at_the_end(clear: Callable[[], None]) -> None:
    """Call a function when this process ends, unless it is killed: after libraries have tidied up."""
    _last.append(clear)


def leave() -> None:
    """End this process now, by one line and the signal's exit code; never returns."""
    _call_all(_leftovers)
    _end_children()
    with contextlib.suppress(OSError):
        if _speaks():
            os.write(_screens[-1] if _screens else 2, _WORDS[_received])
    _end()
    os._exit(128 + _received)


# Before any library's: what is registered first is called last.
@atexit.register
def _end() -> None:
    if os.getpid() == _process:
        _call_all(_last)


def _call_all(functions: list[Callable[[], None]]) -> None:
    for clear in reversed(functions):
        with contextlib.suppress(Exception):
            clear()


def _is_worker() -> bool:
    """Return whether ``multiprocessing`` has spawned this process; while it imports, its name alone says so."""
    process = sys.modules.get("multiprocessing.process")
    return process is not None and process.current_process().name != "MainProcess"


def _speaks() -> bool:
    if _is_worker():
        return False
    rank = os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))
    return rank == "0" and not os.environ.get("TORCHELASTIC_RUN_ID", "").startswith(QUIET_LAUNCH)


def _end_children() -> None:
    multiprocessing = sys.modules.get("multiprocessing")
    if multiprocessing is not None:
        with contextlib.suppress(Exception):
            for child in multiprocessing.active_children():
                child.kill()


def _answer(number: int, frame: FrameType | None) -> None:
    global _is_unwinding, _received
    _received = signal.Signals(number)
    if os.getpid() != _process:
        # A fork, of which its parent takes care.
        os._exit(128 + number)
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


def _take_signals() -> None:
    # Whoever started the command may have told it to ignore them. Workers import its module too: their parent takes
    # care of them, and ends them by SIGTERM.
    for number, default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if signal.getsignal(number) is default and not (number == signal.SIGTERM and _is_worker()):
            signal.signal(number, _answer)


if is_command():
    _take_signals()
