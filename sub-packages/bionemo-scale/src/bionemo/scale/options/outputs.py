# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a command may write: never one of its own inputs, and nothing that is there unless it is told to."""

from collections.abc import Iterable
from pathlib import Path

from bionemo.scale.types import InputError


def check_not_inputs(outputs: Iterable[Path], inputs: Iterable[Path | None]) -> None:
    """Refuse to write over what is read, also where a link leads there.

    Args:
        outputs: Files or folders that will be replaced.
        inputs: Files or folders that are read; ``None`` is none.

    Raises:
        InputError: Naming the output and the input.
    """
    sources = [source for source in inputs if source is not None and source.exists()]
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


def _replaces(output: Path, source: Path) -> bool:
    if not output.exists():
        return False
    # A folder that is replaced goes with all that is in it.
    return output.samefile(source) or source.resolve().is_relative_to(output.resolve())
