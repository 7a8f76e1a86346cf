# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Labels as a user lists them: options that repeat, a file with one label a line, a Python list.

Labels may hold commas (``CD4-positive, alpha-beta T cell``), brackets and quotes (``[('Dabrafenib', 0.05, 'uM')]``).
An option is therefore kept whole when it is parsed (:func:`given_labels`) and split at commas only when it is known
which labels there are (:func:`settle_labels`).
"""

import os
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from bionemo.scale.files.text import read_text
from bionemo.scale.types import InputError


_PAIRS = ("()", "[]", "{}")


def given_labels(given: str | os.PathLike[str] | Iterable[Any] | None) -> tuple[str, ...]:
    """Return what was given for a list of labels: the parser of an option's value, and what API functions take.

    Args:
        given: A list of labels; or one text as a command line has it: a label, labels with commas between them, or
            ``@FILE`` for a file with one label a line; or the path of such a file. ``None`` is no label.

    Returns:
        Texts for :func:`settle_labels`; nothing is split at commas yet.

    Raises:
        InputError: There is no such file, it is no UTF-8 text, it holds no label, or a label is no text.
    """
    if given is None:
        return ()
    if isinstance(given, os.PathLike):
        return _labels_of_file(Path(given))
    if isinstance(given, str):
        return _labels_of_file(Path(given[1:])) if given.startswith("@") else (given,)
    labels = tuple(given)
    for label in labels:
        if not isinstance(label, str):
            raise InputError(f"expected labels as text, found {label!r}")
    return labels


def settle_labels(given: Iterable[str], known: Collection[str]) -> tuple[str, ...]:
    """Split at the commas that are no part of a label.

    A text that is a known label is that label. Of any other, pieces between commas are put together again where they
    are a known label, and commas in brackets never split.

    Args:
        given: From :func:`given_labels`.
        known: Labels that there are; others pass, and are the caller's to refuse.

    Returns:
        Each label once, in the order given, without blanks at its ends.
    """
    known = set(known)
    longest = 1 + max((label.count(",") for label in known), default=0)
    labels: list[str] = []
    for text in given:
        labels += (
            [text] if text in known else join_known(split_outside_brackets(text, ","), known.__contains__, longest)
        )
    labels = [label for label in labels if label]
    return tuple(dict.fromkeys(labels))


def check_label(label: str, *, what: str) -> str:
    """Return a label that a user typed, without blanks at its ends.

    Raises:
        InputError: Nothing is left.
    """
    if not label.strip():
        raise InputError(f"{what}: expected a label, found {label!r}")
    return label.strip()


def given_paths(
    given: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
) -> tuple[Path, ...]:
    """Return paths, of one or of several."""
    return (Path(given),) if isinstance(given, str | os.PathLike) else tuple(Path(path) for path in given)


def split_outside_brackets(text: str, separator: str) -> list[str]:
    """Split a text at the separators that stand in no bracket: ``(+)-JQ1`` is whole, ``A(x)+B`` is two."""
    parts: list[str] = []
    for piece in text.split(separator):
        if parts and _is_open(parts[-1]):
            parts[-1] += separator + piece
        else:
            parts.append(piece)
    return parts


def _is_open(text: str) -> bool:
    return any(text.count(pair[0]) > text.count(pair[1]) for pair in _PAIRS)


def join_known(
    pieces: Sequence[str], is_known: Callable[[str], bool], longest: int, *, separator: str = ","
) -> list[str]:
    """Put pieces of a text together again where together they are known, the longest first.

    Args:
        pieces: What stands between separators.
        is_known: Whether some text is known.
        longest: Most pieces that a known text has.
        separator: What stood between them.

    Returns:
        Texts without blanks at their ends.
    """
    labels, first = [], 0
    while first < len(pieces):
        sizes = range(min(longest, len(pieces) - first), 0, -1)
        candidates = ((size, separator.join(pieces[first : first + size]).strip()) for size in sizes)
        size, label = next((size, label) for size, label in candidates if size == 1 or is_known(label))
        labels.append(label)
        first += size
    return labels


def _labels_of_file(path: Path) -> tuple[str, ...]:
    if not path.exists():
        raise InputError(f"{path}: expected a file with one label a line, found no such file")
    lines = read_text(path).split("\n")
    labels = tuple(line.strip() for line in lines if line.strip())
    if not labels:
        raise InputError(f"{path}: expected one label a line, found none")
    return labels
