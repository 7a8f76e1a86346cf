# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Values of options: read from text, and checked the same way whoever gives them."""

import dataclasses
import numbers
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bionemo.scale.files.label_list import given_labels
from bionemo.scale.files.suggest import suggest
from bionemo.scale.files.text import is_line
from bionemo.scale.files.url import Url, is_url, path_or_url
from bionemo.scale.options.fields import Option
from bionemo.scale.types import NO_COLUMN, InputError, ObsKeys


_FLAG = re.compile(r"(?<![\w/-])--[a-z][a-z0-9-]*")
_NAMES: dict[type, str] = {
    int: "a whole number",
    float: "a number",
    str: "text that is not empty",
    Path: "a path",
    bool: "true or false",
}


def read_text(option: Option, text: str) -> Any:
    """Return what the text of one value means; ranges are not looked at.

    Raises:
        InputError: It is no number where one is expected.
    """
    # Of a small class that is given in words, the parts are numbers.
    kind = float if dataclasses.is_dataclass(option.kind) else option.kind
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            raise _refusal(option, _NAMES[kind], text) from None
    return checked_one(option, text)


def number_in(option: Option, value: Any) -> Any:
    """Return the number that text in a YAML file is, where an option takes one; anything else as it is.

    YAML 1.1 reads ``2e-4`` as text, for it has no decimal point.
    """
    if not isinstance(value, str) or option.kind not in (int, float) or option.is_many:
        return value
    try:
        return option.kind(value)
    except ValueError:
        return value


def checked(option: Option, value: Any) -> Any:
    """Return the value of a field in the type that its class declares: text as a path, a list as a tuple.

    Raises:
        InputError: The value is of another kind or outside of what is allowed.
    """
    if (value is None and option.is_optional) or (option.others and isinstance(value, option.others)):
        return value
    if option.form == "pairs":
        return _checked_pairs(option, value)
    if dataclasses.is_dataclass(option.kind):
        return _checked_parts(option, value)
    if not option.is_many:
        return checked_one(option, value)
    if isinstance(value, str | os.PathLike):
        value = _listed(option, value)
    if not isinstance(value, Sequence | set | frozenset):
        raise _refusal(option, f"a list of values, each {_NAMES.get(option.kind, option.kind.__name__)}", value)
    # Labels of data have no blanks at their ends either.
    strip = str.strip if takes_file(option) else lambda entry: entry
    entries = tuple(strip(checked_one(option, entry)) for entry in value)
    if option.form == "commas":
        for entry in entries:
            if "," in str(entry):
                raise _refusal(option, "names without commas", entry)
    return entries


def _listed(option: Option, value: str | os.PathLike) -> tuple[Any, ...]:
    """Return what one text gives for a list."""
    if option.form == "commas":
        return tuple(name for name in str(value).split(",") if name)
    return given_labels(value) if takes_file(option) else (value,)


def takes_file(option: Option) -> bool:
    """Whether ``@FILE`` may stand for a list of labels."""
    return option.kind is str and not option.choices


def checked_one(option: Option, value: Any) -> Any:
    """Return one value, as :func:`checked`."""
    if option.choices:
        if value not in option.choices:
            raise _refusal(option, f"one of {', '.join(option.choices)}", value)
        return str(value)
    if option.kind is bool:
        if not isinstance(value, bool):
            raise _refusal(option, _NAMES[bool], value)
        return value
    if option.kind in (int, float):
        return _checked_number(option, value)
    if option.kind is Path and isinstance(value, str | Url) and is_url(value) and is_line(str(value)):
        if Url not in option.others:
            raise _refusal(option, "a path on this machine", str(value))
        return path_or_url(value)
    if not isinstance(value, str | os.PathLike) or not (str(value).strip() or value == option.default):
        raise _refusal(option, _NAMES.get(option.kind, "text"), value)
    # Results, logs and job scripts hold it.
    if not is_line(str(value)):
        raise _refusal(option, "one line of text in UTF-8", value)
    return option.kind(value)


def _checked_number(option: Option, value: Any) -> int | float:
    kind = numbers.Integral if option.kind is int else numbers.Real
    if isinstance(value, bool) or not isinstance(value, kind):
        raise _refusal(option, _NAMES[option.kind], value)
    number = option.kind(value)
    if option.limits is not None and number not in option.limits:
        raise _refusal(option, str(option.limits), number)
    if number != number or number in (float("inf"), float("-inf")):
        raise _refusal(option, "finite", number)
    return number


def _checked_pairs(option: Option, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise _refusal(option, "names and values", value)
    if option.values is str:
        for key, entry in value.items():
            if not isinstance(entry, str):
                raise _refusal(option, f"text for each name, such as {key}={str(entry)!r}", f"{key}={entry!r}")
    return dict(value)


def _checked_parts(option: Option, value: Any) -> Any:
    """Return labels of columns, or another small class, from its parts by name or in their order."""
    names = [field.name for field in dataclasses.fields(option.kind)]
    if isinstance(value, tuple | list):
        if len(value) > len(names):
            raise _refusal(option, f"at most {len(names)} values", len(value))
        value = dict(zip(names, value, strict=False))
    if isinstance(value, Mapping):
        value = option.kind(**known_fields(option.kind, value))
    if not isinstance(value, option.kind):
        raise _refusal(option, option.kind.__name__, value)
    if isinstance(value, ObsKeys):
        check_covariates(value)
    for field in dataclasses.fields(option.kind):
        name, part = field.name, getattr(value, field.name)
        if option.form == "columns" and not isinstance(part, str):
            raise InputError(f"{column_flag(name)} must be text, columns with commas between them, found {part!r}")
        if isinstance(part, str) and not part.strip() and part != field.default:
            raise InputError(f"{column_flag(name)} must be the name of a column, found {part!r}")
    return value


def check_covariates(keys: ObsKeys, *, mark: str = "") -> None:
    """Refuse columns of covariates that cannot be.

    Args:
        keys: With those columns.
        mark: What the names of the options begin with.

    Raises:
        InputError: Naming the option.
    """
    flag = column_flag(f"{mark}covariate")
    named = [name.strip() for name in str(keys.covariate).split(",")]
    if NO_COLUMN in named:
        raise InputError(f"{flag} must be names of columns, found {NO_COLUMN!r}; leave it out")
    if keys.perturbation in named:
        raise InputError(f"{flag} must be other columns than the perturbation, found {keys.perturbation!r}")
    if keys.covariate and (not all(named) or len(set(named)) < len(named)):
        raise InputError(
            f"{flag} must be distinct names of columns with commas between them, found {keys.covariate!r}"
        )


def column_flag(name: str) -> str:
    """Return the option that names an obs column."""
    return f"--{name.replace('_', '-')}-key"


def renamed(line: str, names: Mapping[str, str]) -> str:
    """Return a refusal with other names in the place of options; an option that has none stays.

    Args:
        line: The refusal.
        names: Name by option.
    """
    return _FLAG.sub(lambda found: names.get(found.group(), found.group()), line)


def known_fields(settings_class: type, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return keyword arguments of a dataclass once every name is known.

    Raises:
        InputError: A name is no field; the nearest is named.
    """
    known = [field.name for field in dataclasses.fields(settings_class)]
    for name in fields:
        if name not in known:
            raise InputError(f"{settings_class.__name__}: unknown setting {name!r}; {suggest(name, known)}")
    return dict(fields)


def _refusal(option: Option, expected: str, value: Any) -> InputError:
    found = repr(value) if isinstance(value, str) else str(value)
    return InputError(f"{option.flag} must be {expected}, found {found}")
