# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Suggestions of error messages: the nearest known names, or the first of many."""

import difflib
from collections.abc import Iterable, Sequence


MAX_NAMES = 5


def suggest(name: str, known: Iterable[str]) -> str:
    """Return ``"did you mean 'a', 'b'?"``, or the first known names when none is close.

    Args:
        name: What was asked for.
        known: What there is; names in a list are shown in their order, others sorted.
    """
    names = list(dict.fromkeys(known)) if isinstance(known, Sequence) else sorted(set(known))
    if not names:
        return "there is none"
    return did_you_mean(name, names) or f"found {some(names, most=MAX_NAMES)}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``"did you mean 'a', 'b'?"``, or nothing when no name is close."""
    names = sorted(set(known))
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    lowered = {other.lower(): other for other in names}
    if not close and name.lower() in lowered:
        close = [lowered[name.lower()]]
    return "did you mean " + ", ".join(repr(other) for other in close) + "?" if close else ""


def some(names: Sequence[str], *, most: int = 3) -> str:
    """Return ``"'a', 'b' and 7 more"``."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more
