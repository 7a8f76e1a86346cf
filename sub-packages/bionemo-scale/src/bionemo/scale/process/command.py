# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What commands share: one-line refusals with exit code 2, the answer to an interrupt, and what to run next."""

import importlib.util
import io
import os
import re
import select
import shlex
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from bionemo.scale.process import interrupt
from bionemo.scale.process.imports import keep_all
from bionemo.scale.process.temporary import take_folder
from bionemo.scale.types import EXIT_REFUSED, InputError


_OF_HDF5 = re.compile(r"filename = '(.*)', file descriptor = .* error message = '([^']*)'")
"""What HDF5 says of a file that it cannot write, among numbers that tell nobody anything."""
_LONGEST = 1000
"""Characters of a refusal: names in it may be as long as a file."""
_KILLED = 128 + signal.SIGKILL


def run_command(function: Callable[[Sequence[str] | None], None], argv: Sequence[str] | None = None) -> int:
    """Run a command's body and turn its outcome into an exit code.

    Args:
        function: Takes the command line (``None`` reads ``sys.argv``), raises :class:`InputError` to refuse.
        argv: The command line.

    Returns:
        0 on success, 2 when the input was refused or a file cannot be read or written (one line on stderr), 130 when
        interrupted, 143 when terminated.
    """
    # torch tells whoever has nemo-toolkit's pynvml to install another package; not a user's business.
    warnings.filterwarnings("ignore", message="The pynvml package is deprecated", category=FutureWarning)
    _write_any_name()
    _leave_out_what_hdf5_repeats()
    try:
        with interrupt.answered():
            take_folder()
            function(argv)
    except (InputError, OSError, UnicodeError, MemoryError) as error:
        if isinstance(error, BrokenPipeError) and _is_read_no_more(1):
            # Whoever read the output has read enough; Python would fail once more when it closes the stream.
            _discard(1)
            return 0
        _say(f"error: {one_line(describe(error))}")
        return EXIT_REFUSED
    except ModuleNotFoundError as error:
        if not is_absent(error.name):
            raise
        _say(f"error: {needs('this', error.name)}")
        return EXIT_REFUSED
    except KeyboardInterrupt:
        if interrupt.is_command():
            interrupt.leave()
        _say("interrupted")
        return interrupt.EXIT_INTERRUPTED
    finally:
        keep_all()
    return 0


def _say(line: str) -> None:
    """Write a line to stderr; where nobody reads it any more, the exit code alone has to tell."""
    if _is_read_no_more(2):
        _discard(2)
    print(line, file=sys.stderr)


def _discard(descriptor: int) -> None:
    """Let a stream lead nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


def _is_read_no_more(descriptor: int) -> bool:
    """Whether the other end of a pipe is closed; another pipe may have broken, such as one to a process that ended."""
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(events & select.POLLERR for _, events in poll.poll(0))


def is_absent(module: str | None) -> bool:
    """Whether a package is not installed, as in a small installation; one that lacks a part of itself has a bug."""
    if module is None or module.startswith("bionemo.scale"):
        return False
    return importlib.util.find_spec(module) is None


def needs(what: str, package: str | None) -> str:
    """Say that something needs a package that is not installed."""
    return f"{what} needs the Python package {package}, which is not installed; docs/install.md says what to install"


def killed(process: str, code: int) -> str:
    """Say that a process was ended from outside, since it could not say so itself; empty where it was not.

    Args:
        process: What the sentence begins with.
        code: Its exit code, negative for a signal, as :mod:`subprocess` has it, or of :func:`exit_code_of`.
    """
    number = signal.SIGKILL if code == _KILLED else -code
    if number <= 0:
        return ""
    names = {each.value: each.name for each in signal.Signals}
    why = ", which the system sends where memory runs out" if number == signal.SIGKILL else ""
    return f"{process} was ended by {names.get(number, f'signal {number}')}{why}"


def exit_code_of(process: str, code: int) -> int:
    """Return the exit code of a command for that of a process that it has started, and say where that was killed.

    Args:
        process: As in :func:`killed`.
        code: Its exit code, negative for a signal.

    Returns:
        The same or, as a shell has it, 128 and the signal.
    """
    if not (words := killed(process, code)):
        return code
    _say(f"error: {one_line(words)}")
    return 128 + abs(code)


def next_step(command: str, **options: object) -> str:
    """Return a line with a command to run next.

    Args:
        command: Its name without ``bionemo-scale-``.
        **options: Values by option, underscores for dashes. In capitals: what the user is to choose.
    """
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    return f"next      bionemo-scale-{command} {shlex.join(words)}"


def describe(error: Exception) -> str:
    """Say what went wrong with a file; of what we raise ourselves, what it says."""
    if isinstance(error, InputError) and str(error).startswith("Caught InputError in DataLoader worker"):
        # torch hands on what a worker raised as text, below a traceback.
        return str(error).rpartition("InputError: ")[2]
    if isinstance(error, OSError) and (of_hdf5 := _OF_HDF5.search(str(error))):
        return ": ".join(of_hdf5.groups())
    if isinstance(error, OSError) and error.filename is None and error.strerror:
        return error.strerror
    if isinstance(error, OSError) and error.filename is not None:
        names = [str(name) for name in (error.filename, error.filename2) if name is not None]
        return f"{' -> '.join(names)}: {error.strerror}"
    if isinstance(error, UnicodeDecodeError):
        return f"expected text in UTF-8, found byte 0x{error.object[error.start]:02x} at position {error.start}"
    if isinstance(error, UnicodeEncodeError):
        text = error.object[error.start : error.end]
        return f"{error.object!a}: {text!a} cannot be written as {error.encoding}"
    if isinstance(error, MemoryError):
        return f"not enough memory: {error}" if str(error) else "not enough memory"
    return str(error)


def one_line(text: str) -> str:
    """Return a text as one line for a terminal: control characters escaped, the middle of a long one left out."""
    joined = " ".join(text.split())
    # A name may hold what moves the cursor or ends the line.
    shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in joined)
    if len(shown) <= _LONGEST:
        return shown
    end = _LONGEST // 4
    return f"{shown[: _LONGEST - end]} [...] {shown[-end:]}"


def _write_any_name() -> None:
    """Let names that the terminal cannot show appear escaped; a line is more than its letters."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@cache
def _leave_out_what_hdf5_repeats() -> None:
    """Show no traceback of h5py's for each part of a file that it cannot close on a full disk: the refusal says it."""
    for name in ("excepthook", "unraisablehook"):
        setattr(sys, name, _without_repeats(getattr(sys, name)))


def _without_repeats(shows: Callable[..., object]) -> Callable[..., None]:
    def hook(*arguments: Any) -> None:
        error = arguments[1] if len(arguments) > 1 else arguments[0].exc_value
        if not str(error).startswith("Can't decrement id ref count"):
            shows(*arguments)

    return hook
