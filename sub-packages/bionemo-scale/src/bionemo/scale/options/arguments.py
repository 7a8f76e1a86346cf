# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Settings as the command line that makes them: what a scheduler starts is what a person would type."""

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from bionemo.scale.options.fields import Option, options_of
from bionemo.scale.options.settings import Settings
from bionemo.scale.options.values import column_flag


def arguments(settings: Settings, *, without: Collection[str] = ()) -> list[str]:
    """Return the words that a command's parser turns into these settings again.

    Args:
        settings: The settings.
        without: Names of fields to leave out.
    """
    values = {option.name: getattr(settings, option.name) for option in options_of(type(settings))}
    return arguments_of(type(settings), {name: value for name, value in values.items() if name not in without})


def arguments_of(settings_class: type[Settings], values: Mapping[str, Any]) -> list[str]:
    """Return the command line of values that a file recorded; they are not checked, for they were possible once.

    Args:
        settings_class: Whose fields the values are of.
        values: Values by field; what is none, false or empty is left out, and what is no field too.
    """
    words = [
        (option, word)
        for option in options_of(settings_class)
        if not _is_empty(values.get(option.name))
        for word in _words(option, values[option.name])
    ]
    # First: an option of several words takes all that follow it.
    first = [word for option, word in words if option.form == "positional"]
    return first + [word for option, word in words if option.form != "positional"]


def _is_empty(value: Any) -> bool:
    return value is None or value is False or (isinstance(value, str | tuple | list | Mapping) and not value)


def _words(option: Option, value: Any) -> Iterator[str]:
    parts = dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value
    if option.form == "words" and isinstance(parts, Mapping):
        parts = list(parts.values())
    entries = [str(entry) for entry in (parts if isinstance(parts, tuple | list) else [parts])]
    match option.form:
        case "hidden" | "flag":
            yield from (option.flag,) if option.form == "flag" else ()
        case "positional":
            yield from entries
        case "words":
            yield from (option.flag, *entries)
        case "commas":
            yield from _pair(option.flag, ",".join(entries))
        case "columns":
            for name, column in parts.items():
                if not column:
                    continue
                yield from _pair(column_flag(name), column)
        case _:
            pairs = [f"{key}={entry}" for key, entry in value.items()] if option.form == "pairs" else entries
            for text in pairs:
                yield from _pair(option.flag, text)


def _pair(flag: str, text: str) -> Iterator[str]:
    """An option and its value: one word where the value would be taken for an option."""
    yield from (f"{flag}={text}",) if text.startswith("-") else (flag, text)
