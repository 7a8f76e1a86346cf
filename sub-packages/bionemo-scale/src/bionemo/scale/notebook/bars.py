# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Bars in a notebook in the place of lines of progress."""

import io
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO


_COUNTED = re.compile(r"^(?P<what>\w+) (?P<done>[\d,]+)/(?P<total>[\d,]+)[^()]*\([^()]*\)(?:: (?P<detail>.*))?$")
"""A line of :class:`bionemo.scale.progress.Progress` that counts towards a total."""


class BarStream(io.TextIOBase):
    """A stream that draws counts as bars of tqdm, and passes all other lines on."""

    def __init__(self, rest: TextIO | io.TextIOBase):
        self._rest = rest
        self._line = ""
        self._bar: Any = None

    def write(self, text: str) -> int:
        """Take some text; complete lines are shown."""
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            self._show(line)
        return len(text)

    def flush(self) -> None:
        """Pass on to the stream below."""
        self._rest.flush()

    def end(self) -> None:
        """Leave the bar as it is, and write a line that was not ended."""
        self._end_bar()
        self._rest.write(self._line)
        self._line = ""

    def _end_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _show(self, line: str) -> None:
        found = _COUNTED.match(line)
        if found is None:
            self._rest.write(f"{line}\n")
            return
        done, total = (int(found[name].replace(",", "")) for name in ("done", "total"))
        if self._bar is None or (self._bar.desc, self._bar.total) != (found["what"], total):
            self._end_bar()
            self._bar = _new_bar(found["what"], total, self._rest)
        self._bar.set_postfix_str(found["detail"] or "", refresh=False)
        self._bar.update(done - self._bar.n)
        self._bar.refresh()


def _new_bar(what: str, total: int, stream: TextIO | io.TextIOBase) -> Any:
    with warnings.catch_warnings():
        # Without ipywidgets the bar is one of text, and says so at length.
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm

        return tqdm(desc=what, total=total, file=stream, dynamic_ncols=True)


def in_notebook() -> bool:
    """Whether Python runs below a notebook, which shows bars as they are meant."""
    module = sys.modules.get("IPython")
    shell = None if module is None else module.get_ipython()
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"


@contextmanager
def notebook_stream() -> Iterator[Any]:
    """Give the stream for progress: standard error, in a notebook with bars."""
    if not in_notebook():
        yield sys.stderr
        return
    bars = BarStream(sys.stderr)
    try:
        yield bars
    finally:
        bars.end()
