# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Notes beside results that say what they were made of, so that no result is taken for one of other settings.

A note has names and contents of files, and no folders: what it describes can be moved and copied.
"""

import dataclasses
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from bionemo.scale.files.provenance import hash_file, version_stamp
from bionemo.scale.files.text import read_json
from bionemo.scale.files.writing.atomic import write_text
from bionemo.scale.types import InputError


def write_note(path: Path, description: Mapping[str, Any]) -> None:
    """Write a note."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(description, indent=1) + "\n")


def read_note(path: Path) -> dict[str, Any]:
    """Read a note; one that is no table says nothing."""
    fields = read_json(path)
    return fields if isinstance(fields, dict) else {}


def check_note(
    path: Path, before: Mapping[str, Any], now: Mapping[str, Any], *, what: str, defaults: Mapping[str, Any]
) -> None:
    """Refuse another description than the one that is noted.

    Args:
        path: Of the note.
        before: What it says.
        now: What is asked for.
        what: Is described, for the message.
        defaults: Values of options by name. A note of an earlier version lacks options that came later; they had
            their default then.

    Raises:
        InputError: Naming the first setting that differs.
    """
    before, now = _flat(before), _flat(json.loads(json.dumps(now)))
    for name in dict.fromkeys((*before, *now)):
        expected, found = (_completed(side, name, default=defaults.get(name)) for side in (before, now))
        if expected != found:
            raise InputError(
                f"{path}: holds {what} of other settings: expected {name} {expected!r}, found {found!r}; "
                f"choose another --out, or remove {path.parent}"
            )


def _completed(side: Mapping[str, Any], name: str, *, default: Any) -> Any:
    """Return a value of a description, with the default of what it lacks."""
    if dataclasses.is_dataclass(default) and not isinstance(default, type):
        default = dataclasses.asdict(default)
    value = side.get(name, default)
    return {**default, **value} if isinstance(value, dict) and isinstance(default, dict) else value


def _flat(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields, and those of the training after them."""
    inner = fields.get("training")
    return {**fields, "training": inner is not None, **(inner if isinstance(inner, dict) else {})}


def stamped(path: Path) -> list[str | int]:
    """Return name, bytes and time of a file."""
    return [path.name, *version_stamp(path)]


def stamps_of_same(paths: Sequence[Path], before: Any, hashes: Collection[str]) -> list[Any]:
    """Return the stamps of files, those of a note where they are the same files.

    Args:
        paths: The files.
        before: The stamps of a note, in the same order; earlier versions noted whole paths.
        hashes: sha256 of the noted files. A copy has another time and the same content.
    """
    now = [stamped(path) for path in paths]
    if not isinstance(before, list) or len(before) != len(now):
        return now
    return [
        noted if _is_same(path, stamp, noted, hashes=hashes) else stamp
        for path, stamp, noted in zip(paths, now, before, strict=True)
    ]


def _is_same(path: Path, stamp: list[str | int], noted: Any, *, hashes: Collection[str]) -> bool:
    if not isinstance(noted, list) or not noted or PurePath(str(noted[0])).name != path.name:
        return False
    return noted[1:] == stamp[1:] or hash_file(path) in hashes
