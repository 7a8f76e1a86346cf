# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Text files: read as UTF-8, whatever the locale, and refused in a line that names the file."""

import json
import tomllib
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bionemo.scale.types import InputError


_NO_TEXT = ("Cc", "Cs", "Zl", "Zp")
"""Categories of Unicode."""
_TURNS = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
"""Directions of the characters that turn the text around them, so that it reads as another name."""
_MOST_VALUES = 1_000_000
"""Of a YAML file; those of a run have some hundreds."""
_OTHER_MARKS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
    b"\x89HDF": "an HDF5 file",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "a gzip archive",
}


def is_line(text: str) -> bool:
    """Whether a name is one line of text: without control characters, line breaks and halves of surrogate pairs.

    Invisible characters are text, for spreadsheets leave them in names, but not those that turn the direction.
    """
    return text.isprintable() or not any(
        unicodedata.category(char) in _NO_TEXT or unicodedata.bidirectional(char) in _TURNS for char in text
    )


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8, with or without a byte order mark, lines ended by a newline each.

    Raises:
        InputError: It cannot be read, or is no such text.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    for mark, name in _OTHER_MARKS.items():
        if data.startswith(mark):
            raise InputError(f"{path}: expected text in UTF-8, found {name}")
    if b"\x00" in data:
        raise InputError(f"{path}: expected text in UTF-8, found a zero byte at position {data.index(0)}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}: expected text in UTF-8, found byte 0x{data[error.start]:02x} in line {line}; save it as UTF-8"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_toml(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file.

    Raises:
        InputError: It cannot be read, or is no TOML.
    """
    return parse_toml(read_text(path), source=str(path))


def parse_toml(text: str, *, source: str) -> dict[str, Any]:
    """Return the tables of TOML text; see :func:`read_toml`."""
    return _parsed(tomllib.loads, text, source, kind="TOML")


def read_json(path: Path) -> Any:
    """Return the value of a JSON file.

    Raises:
        InputError: It cannot be read, or is no JSON.
    """
    return _parsed(json.loads, read_text(path), str(path), kind="JSON")


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping of a YAML file, empty where the file is.

    Raises:
        InputError: It cannot be read, is no YAML, or is no mapping.
    """
    # Late, as commands that read no YAML start without it.
    import yaml

    def load(text: str) -> Any:
        try:
            values = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(str(error)) from error
        _check_size(values)
        return values

    values = _parsed(load, read_text(path), str(path), kind="YAML")
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected keys and values, found a {type(values).__name__}")
    return values


def _check_size(values: Any) -> None:
    """Refuse references that make gigabytes of a few lines, or never end, when they are written out."""
    left, count = [values], 0
    while left:
        value = left.pop()
        count += 1
        if count > _MOST_VALUES:
            raise ValueError(f"more than {_MOST_VALUES:,} values where references are followed")
        if isinstance(value, dict):
            left += value.values()
        elif isinstance(value, list | tuple | set):
            left += value


def _parsed(parse: Callable[[str], Any], text: str, source: str, *, kind: str) -> Any:
    try:
        return parse(text)
    except ValueError as error:
        # A YAML error has several lines.
        raise InputError(f"{source}: expected {kind}, found {' '.join(str(error).split())[:200]}") from error
    except RecursionError as error:
        raise InputError(f"{source}: expected {kind}, found values too deep within one another") from error
