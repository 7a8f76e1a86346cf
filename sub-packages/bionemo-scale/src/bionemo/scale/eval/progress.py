# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What an evaluation says while it runs: a line per score, and one whenever it has been silent for a while."""

import sys
import threading
import time
from io import TextIOBase
from types import TracebackType


SILENCE = 5.0
"""Seconds after which it is said what is still being done."""


class Progress:
    """A line that rewrites itself on a terminal, a line per step elsewhere; a context manager.

    A thread speaks when nothing was said for some seconds, so that long reading, fitting and scoring show.
    """

    def __init__(self, stream: TextIOBase | None = None, *, silence: float = SILENCE):
        """Prepare to write.

        Args:
            stream: Where lines go; ``None`` is standard error.
            silence: Seconds without a line before one says what is still being done.
        """
        # Kept: cell-eval runs with sys.stderr redirected, and the thread must be heard all the same.
        self._stream = stream or sys.stderr
        self._silence = silence
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._speak_when_silent, daemon=True)
        self._done = self._total = 0
        self._doing = "reading"
        self._begin = self._stage_begin = self._said = time.monotonic()

    def __enter__(self) -> "Progress":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def stage(self, doing: str) -> None:
        """Note what begins; it is said if it takes long."""
        with self._lock:
            self._doing, self._stage_begin = doing, time.monotonic()
            self._said = self._stage_begin

    def start(self, total: int) -> None:
        """Say that ``total`` scores are to come."""
        self._total, self._begin = total, time.monotonic()
        self.stage(f"scoring 1/{total}")
        self._say(f"scoring {total} times: each model, baseline and ceiling in each cell type")

    def step(self, what: str) -> None:
        """Say that a score is there."""
        self._done += 1
        elapsed = time.monotonic() - self._begin
        left = elapsed / self._done * (self._total - self._done)
        last = self._done == self._total
        self.stage("writing the results" if last else f"scoring {self._done + 1}/{self._total}")
        line = f"scored {self._done}/{self._total} ({self._done / elapsed:.2f}/s, {left:.0f} s left): {what}"
        self._say(line, last=last)

    def _speak_when_silent(self) -> None:
        while not self._ended.wait(self._silence / 10):
            with self._lock:
                now = time.monotonic()
                silent, line = now - self._said >= self._silence, f"{self._doing}: {now - self._stage_begin:.0f} s"
            if silent:
                self._say(line)

    def _say(self, line: str, *, last: bool = False) -> None:
        with self._lock:
            self._said = time.monotonic()
            if self._stream.isatty():
                print(f"\r\033[K{line}", end="\n" if last else "", file=self._stream, flush=True)
            else:
                print(line, file=self._stream, flush=True)
