# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""File names made of labels, which may hold slashes and be longer than a file name may be."""

import hashlib
from collections.abc import Collection


MAX_BYTES = 100
"""Of a name in UTF-8. File systems take 255, some 143, and endings follow."""
_DIGITS = 12
"""Hexadecimal digits of the hash that ends a shortened name."""


def file_name(label: str, taken: Collection[str] = ()) -> str:
    """Return a label as (the beginning of) a file name.

    Slashes become dashes, as in cell-eval. A label of more than :data:`MAX_BYTES` bytes is cut, and ends with a hash
    of the whole label.

    Args:
        label: Any text.
        taken: Names in use. One that is taken, in capitals or not, gets a number at its end.
    """
    plain = label.replace("/", "-").replace("\\", "-").replace("\0", "-")
    encoded = plain.encode(errors="replace")
    if len(encoded) > MAX_BYTES:
        kept = encoded[: MAX_BYTES - _DIGITS - 1].decode(errors="ignore")
        plain = f"{kept}-{hashlib.sha256(label.encode(errors='replace')).hexdigest()[:_DIGITS]}"
    in_use = {name.casefold() for name in taken}
    name, number = plain, 1
    while name.casefold() in in_use:
        number += 1
        name = f"{plain}_{number}"
    return name
