# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""How refusals name what was found instead."""

import difflib
from collections.abc import Iterable


MAX_NAMES = 5


def suggest(name: str, known: Iterable[str]) -> str:
    """Return ``"did you mean 'a', 'b'?"``, or the first known names when none is close.

    Args:
        name: What was asked for.
        known: What there is.
    """
    names = sorted(set(known))
    if not names:
        return "there is none"
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    lowered = {other.lower(): other for other in names}
    if not close and name.lower() in lowered:
        close = [lowered[name.lower()]]
    if close:
        return "did you mean " + ", ".join(repr(other) for other in close) + "?"
    shown = ", ".join(repr(other) for other in names[:MAX_NAMES])
    return f"found {shown}" + (f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else "")
