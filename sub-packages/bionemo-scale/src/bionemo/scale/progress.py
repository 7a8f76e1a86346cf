# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""How far a command has come: a line that rewrites itself on a terminal, and lines now and then elsewhere."""

import sys
import threading
import time
from io import TextIOBase
from types import TracebackType
from typing import Any, TextIO, TypeVar


BETWEEN_LINES = 10.0
"""Seconds between lines of a count, where no terminal shows it."""
_BETWEEN_REWRITES = 0.2
"""Seconds between rewrites of the line on a terminal."""
SILENCE = 5.0
"""Seconds without a line after which a command says what it is still doing."""

Own = TypeVar("Own", bound="Progress")


class Progress:
    """What a command does and how much of it is done; a context manager, whose end leaves the last line complete.

    Work is either counted (:meth:`begin`, :meth:`add`, :meth:`show`) or only named (:meth:`stage`). With ``silence`` a
    thread says what is being done when nothing was said for so long.
    """

    def __init__(
        self,
        stream: TextIO | TextIOBase | None = None,
        *,
        seconds: float = BETWEEN_LINES,
        silence: float | None = None,
        shown: bool = True,
    ):
        """Prepare to write.

        Args:
            stream: Where lines go; ``None`` is standard error.
            seconds: Between lines of a count, where the stream is no terminal; infinite writes those of :meth:`show`
                alone.
            silence: Seconds without a line before one says what is still being done; ``None`` says nothing.
            shown: Whether anything is written: of several processes the first speaks.
        """
        # Kept: cell-eval runs with sys.stderr redirected, and the thread must be heard all the same.
        self._stream: Any = stream or sys.stderr
        self._is_terminal = self._stream.isatty()
        self._seconds = _BETWEEN_REWRITES if self._is_terminal else seconds
        self._silence, self._shown = silence, shown
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._speak_when_silent, args=(silence,), daemon=True)
        self._what = self._unit = self._detail = ""
        self._done = self._skipped = self._total = 0
        self._doing = "reading"
        self._is_open = False
        self._begin = self._stage_begin = self._said = time.monotonic()

    def __enter__(self: Own) -> Own:
        if self._silence is not None and self._shown:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        self.close()

    def close(self) -> None:
        """Leave the line of a terminal as it is and begin another."""
        if self._is_open:
            print(file=self._stream, flush=True)
            self._is_open = False

    def stage(self, doing: str) -> None:
        """Note what begins; it is said if it takes long."""
        with self._lock:
            self._doing, self._stage_begin = doing, time.monotonic()
            self._said = self._stage_begin

    def begin(self, what: str, total: int = 0, *, unit: str = "", done: int = 0) -> None:
        """Count from here.

        Args:
            what: Begins the line.
            total: How much there is to do; 0 where that is not known.
            unit: What is counted.
            done: How much of it was done before, which says nothing of the rate.
        """
        self.close()
        self._what, self._unit, self._detail = what, unit, ""
        self._total, self._done, self._skipped = total, done, done
        self._begin = self._said = time.monotonic()

    def add(self, count: int) -> None:
        """Count what is done; it is shown now and then."""
        self._done += count
        if self._total and self._done == self._total:
            self.stage("finishing")
        if time.monotonic() - self._said >= self._seconds:
            self.show(self._detail)

    def show(self, detail: str = "", *, last: bool = False) -> None:
        """Show what is done.

        Args:
            detail: Follows the numbers.
            last: Whether the line of a terminal is complete with it.
        """
        self._detail = detail
        elapsed = max(time.monotonic() - self._begin, 1e-3)
        rate = (self._done - self._skipped) / elapsed
        left = f", {max(0, self._total - self._done) / rate:.0f} s left" if rate and self._total else ""
        count = f"{self._done:,}/{self._total:,}" if self._total else f"{self._done:,}"
        unit = f" {self._unit}" if self._unit else ""
        speed = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2f}"
        line = f"{self._what} {count}{unit} ({speed}{unit}/s{left})"
        self.say(f"{line}: {detail}" if detail else line, last=last)

    def say(self, line: str, *, last: bool = False) -> None:
        """Write a line, in the place of the last one on a terminal."""
        if not self._shown:
            return
        with self._lock:
            self._said = time.monotonic()
            if self._is_terminal:
                print(f"\r\033[K{line}", end="\n" if last else "", file=self._stream, flush=True)
                self._is_open = not last
            else:
                print(line, file=self._stream, flush=True)

    def _speak_when_silent(self, silence: float) -> None:
        while not self._ended.wait(silence / 10):
            with self._lock:
                now = time.monotonic()
                silent, line = now - self._said >= silence, f"{self._doing}: {now - self._stage_begin:.0f} s"
            if silent:
                self.say(line)
