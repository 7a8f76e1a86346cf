# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""How a run ends before its last step, and the signals that ask for it."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager


STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
"""Signals by which a person or a scheduler tells training to save and stop."""


EXIT_CONTINUE = 75
"""Exit code of a run that was stopped and saved: EX_TEMPFAIL, "try again later"."""


class TrainingStopped(RuntimeError):
    """Training cannot go on, for a reason that a user can act on."""


class TrainingInterrupted(TrainingStopped):
    """A signal asked training to stop before its last step; everything is saved, and the same command continues."""


@contextmanager
def passing_on(process: subprocess.Popen) -> Iterator[list[signal.Signals]]:
    """Hand signals that ask for an early end to a command, which saves what it has.

    Args:
        process: The command, for which the body waits.

    Yields:
        The signals that were handed on until now.
    """
    received: list[signal.Signals] = []

    def pass_on(number: int, _: object) -> None:
        received.append(signal.Signals(number))
        process.send_signal(number)

    try:
        before = {number: signal.signal(number, pass_on) for number in STOP_SIGNALS}
    except ValueError:
        # A thread has no signals.
        before = {}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
