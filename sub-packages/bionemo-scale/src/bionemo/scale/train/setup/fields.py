# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Configuration fields as a user names them on a command line: sizes and key=value overrides."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

from bionemo.scale.files.suggest import did_you_mean
from bionemo.scale.flow.prior import PRIORS
from bionemo.scale.model.condition import POOLINGS
from bionemo.scale.model.size.sizes import SIZES
from bionemo.scale.types import InputError


REGISTERED: dict[str, Mapping[str, Any]] = {"prior": PRIORS, "condition_pooling": POOLINGS}
"""Fields whose values are the names in a table, to which an extension may add."""


def size_fields(size: str) -> dict[str, int]:
    """Return the fields of a named size.

    Raises:
        InputError: If there is no such size.
    """
    if size not in SIZES:
        raise InputError(f"--size must be one of {', '.join(SIZES)}, found {size!r}")
    return dict(SIZES[size])


def parse_overrides(config_class: type, overrides: dict[str, str]) -> dict[str, Any]:
    """Turn text values into the types of a dataclass's fields.

    Raises:
        InputError: If a field does not exist or a value is not of its type.
    """
    hints = typing.get_type_hints(config_class)
    names = {field.name for field in dataclasses.fields(config_class) if field.init}
    return {name: _parse(name, text, names, hints=hints) for name, text in overrides.items()}


def _parse(name: str, text: str, names: set[str], *, hints: dict[str, Any]) -> Any:
    if name not in names:
        near = did_you_mean(name, names)
        raise InputError(f"--set {name}={text}: there is no such field{'; ' if near else ''}{near}")
    hint = hints[name]
    choices = [
        *REGISTERED.get(name, ()),
        *(arg for arg in _alternatives(hint) if not isinstance(arg, type) and arg is not None),
    ]
    if choices:
        if text not in choices:
            raise InputError(f"--set {name}: expected one of {', '.join(map(str, choices))}, found {text!r}")
        return text
    for kind in (bool, int, float, str):
        if kind in _alternatives(hint):
            return _convert(name, text, kind)
    raise InputError(f"--set {name}: a field of type {hint} cannot be set from text")


def _alternatives(hint: Any) -> tuple[Any, ...]:
    """Return the members of a union or the values of a Literal."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return tuple(part for arg in typing.get_args(hint) for part in _alternatives(arg))
    if typing.get_origin(hint) is typing.Literal:
        return typing.get_args(hint)
    return (hint,)


def _convert(name: str, text: str, kind: type) -> Any:
    if kind is bool:
        values = {"true": True, "1": True, "false": False, "0": False}
        if str(text).lower() not in values:
            raise InputError(f"--set {name}: expected true or false, found {text!r}")
        return values[str(text).lower()]
    try:
        return kind(text)
    except ValueError as error:
        raise InputError(f"--set {name}: expected {kind.__name__}, found {text!r}") from error
