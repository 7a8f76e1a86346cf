# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a command may write: never one of its own inputs, and nothing that is there unless it is told to."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from bionemo.scale.files.url import is_url
from bionemo.scale.files.writing.lock import only_writer
from bionemo.scale.types import InputError


def check_not_inputs(outputs: Iterable[Path], inputs: Iterable[Path | None]) -> None:
    """Refuse to write over what is read, also where a link leads there.

    Args:
        outputs: Files or folders that will be replaced.
        inputs: Files or folders that are read; ``None`` is none. Nothing is written to a URL.

    Raises:
        InputError: Naming the output and the input.
    """
    sources = [source for source in inputs if source is not None and not is_url(source) and source.exists()]
    for output in outputs:
        for source in sources:
            if _replaces(output, source):
                raise InputError(f"{output}: would replace the input {source}; choose another output")


def check_absent(outputs: Iterable[Path]) -> None:
    """Refuse to replace files.

    Raises:
        InputError: Naming the first that exists.
    """
    for output in outputs:
        if output.exists():
            raise InputError(f"{output}: exists already; choose another --out or give --overwrite")


@contextlib.contextmanager
def new_file(out: Path, inputs: Iterable[Path | None], *, overwrite: bool) -> Iterator[None]:
    """Write a file in the body, as the only command that does.

    Args:
        out: The file, which replaces no input.
        inputs: What is read; ``None`` is none.
        overwrite: Whether it may replace a file that is there.

    Raises:
        InputError: It may not be written, or another command writes it.
        OSError: Its folder cannot be written.
    """
    check_not_inputs([out], inputs)
    with only_writer(out):
        # Not before: another command may have just made it, or have been killed when it had.
        if not overwrite:
            check_absent([out])
        yield


def _replaces(output: Path, source: Path) -> bool:
    if not output.exists():
        return False
    # A folder that is replaced goes with all that is in it.
    return output.samefile(source) or source.resolve().is_relative_to(output.resolve())
