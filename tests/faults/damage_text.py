# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Damages files that people and programs write as text: TOML, YAML, JSON, tables and lists."""

import json
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from damage_bytes import damage_bytes


LONG = "9" * 5000
PIECES = (
    *(
        "",
        " ",
        '"',
        "'",
        "[",
        "]",
        "{",
        "}",
        "=",
        ",",
        ":",
        "#",
        "\n",
        "\r",
        "\t",
        "\x00",
        "\x1b[31m",
        "\ufeff",
        "\u202e",
    ),
    *(
        "[[a]]",
        "[" * 3000,
        "{a=" * 3000,
        '"""',
        "inf",
        "nan",
        "-1",
        "1e400",
        LONG,
        "1979-05-27",
        "true",
        "null",
        "é",
        "😀",
    ),
    *(
        "../..",
        "/",
        "~",
        "$(touch marker)",
        "`touch marker`",
        "; touch marker",
        "\\",
        "x" * 300,
        "&a [*a]",
        "!!python/object:os.system",
    ),
)
VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 0.5, 1e308, 2**70, float("nan"), float("inf"), "", " ", "x", "\x00", "\x1b[31m", "\ud800"),
    *(
        "../x",
        "/",
        "x" * 300,
        [],
        {},
        [[]],
        [1, "a", None],
        {"a": {"b": {}}},
        [0] * 7,
        "nan",
        "control",
        [-1],
        [10**12],
    ),
)


def damage_text(path: Path, rng: random.Random) -> str:
    """Change a text file in one or two places, and say how."""
    text = path.read_text(encoding="utf-8")
    said = []
    for _ in range(rng.choice((1, 1, 1, 2))):
        text, how = rng.choice(_WAYS)(text, rng)
        said.append(how)
    path.unlink()
    encoding = rng.choice(("utf-8",) * 8 + ("utf-16", "utf-32", "latin-1", "utf-8-sig"))
    path.write_bytes(text.encode(encoding, errors="replace"))
    return ", ".join([*said, *([] if encoding == "utf-8" else [encoding])])


def damage_json(path: Path, rng: random.Random) -> str:
    """Change one value of a JSON file, or its text."""
    if rng.random() < 0.25:
        return damage_text(path, rng)
    document = json.loads(path.read_text(encoding="utf-8"))
    said = _change(document, rng)
    path.unlink()
    path.write_text(json.dumps(document), encoding="utf-8")
    return said


def damage_yaml(path: Path, rng: random.Random) -> str:
    """Change one value of a YAML file."""
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    said = _change(document, rng)
    path.unlink()
    path.write_text(yaml.safe_dump(document), encoding="utf-8", errors="replace")
    return said


def _change(value: Any, rng: random.Random, where: str = "") -> str:
    """Change something in a list or mapping, a few levels down."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    if not keys:
        return f"{where} is left empty"
    key = rng.choice(keys)
    name = f"{where}/{key}"
    if isinstance(value[key], dict | list) and value[key] and rng.random() < 0.8:
        return _change(value[key], rng, name)
    how = rng.random()
    if how < 0.2:
        del value[key]
        return f"{name} is deleted"
    if how < 0.3 and isinstance(value, list):
        value.insert(key, value[key])
        return f"{name} is there twice"
    if how < 0.45 and isinstance(value[key], int | float):
        value[key] += rng.choice((-1, 1))
        return f"{name} is {value[key]}"
    value[key] = rng.choice(VALUES)
    return f"{name} is {str(value[key])[:40]!r}"


def damage_npz(path: Path, rng: random.Random) -> str:
    """Change one array of an archive of arrays, or its bytes."""
    if rng.random() < 0.3:
        return damage_bytes(path, rng)
    with np.load(path, allow_pickle=False) as archive:
        arrays = dict(archive)
    name = rng.choice(sorted(arrays))
    how = rng.choice(sorted(_OF_ARRAYS))
    values = arrays.pop(name)
    if how != "missing":
        arrays[name] = _OF_ARRAYS[how](values)
    path.unlink()
    np.savez(path, **arrays)
    return f"{name}: {how}"


_OF_ARRAYS: dict[str, Any] = {
    "missing": None,
    "objects": lambda values: np.array([{"a": 1}, None], dtype=object),
    "longer": lambda values: np.resize(values, (values.size + 1,)),
    "no numbers": lambda values: np.full(values.shape, np.nan) if values.dtype.kind in "fiu" else np.zeros(0),
    "an axis more": lambda values: values[None],
}


def _words(text: str) -> list[re.Match[str]]:
    return list(re.finditer(r"[\w.\-]+|\S", text))


def _replace_word(text: str, rng: random.Random) -> tuple[str, str]:
    words = _words(text)
    if not words:
        return _put_in(text, rng)
    word, piece = rng.choice(words), rng.choice((*PIECES, rng.choice(words).group()))
    return text[: word.start()] + piece + text[word.end() :], f"{word.group()!r} is {piece[:20]!r}"


def _put_in(text: str, rng: random.Random) -> tuple[str, str]:
    place, piece = rng.randrange(len(text) + 1), rng.choice(PIECES)
    return text[:place] + piece + text[place:], f"{piece[:20]!r} put in at {place}"


def _take_out(text: str, rng: random.Random) -> tuple[str, str]:
    first = rng.randrange(len(text) + 1)
    last = first + rng.choice((1, 2, 10, 10_000))
    return text[:first] + text[last:], f"characters {first} to {last} taken out"


def _change_lines(text: str, rng: random.Random) -> tuple[str, str]:
    lines = text.split("\n")
    place, how = rng.randrange(len(lines)), rng.choice(("deleted", "twice", "moved"))
    line = lines.pop(place)
    if how == "twice":
        lines[place:place] = [line, line]
    elif how == "moved":
        lines.insert(rng.randrange(len(lines) + 1), line)
    return "\n".join(lines), f"line {place + 1} {how}"


_WAYS = (_replace_word, _replace_word, _replace_word, _put_in, _take_out, _change_lines)
