# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Configuration fields as a user names them on a command line: sizes and key=value overrides."""

import dataclasses
import types
import typing
from collections.abc import Collection, Mapping
from typing import Any

from bionemo.scale.files.suggest import did_you_mean
from bionemo.scale.flow.prior import PRIORS
from bionemo.scale.megatron.roles import OF_A_LAYOUT, Role, kinds
from bionemo.scale.model.condition import POOLINGS
from bionemo.scale.model.config import ScaleModelConfig
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


def network_overrides(
    overrides: Mapping[str, str], *, decided: Collection[Role] = tuple(Role), given: str = "--set "
) -> dict[str, Any]:
    """Return the fields of a network that a user sets by name.

    Args:
        overrides: Text by field.
        decided: Roles whose fields the run decides where it can.
        given: What a refusal writes before the name of a field.

    Raises:
        InputError: If there is no such field, a value is not of its type, or an option or the data decide the field.
    """
    fields = parse_overrides(ScaleModelConfig, overrides, given=given)
    for name in sorted(fields.keys() & OF_A_LAYOUT):
        raise InputError(f"{given}{name}: a field of Megatron's that SCALE does not use; leave it out")
    for name, kind in kinds(ScaleModelConfig).items():
        if name in fields and kind.decided_by and kind.role in decided:
            option = kind.decided_by.startswith("--")
            advice = f"use {kind.decided_by}" if option else f"{kind.decided_by} decides it; leave it out"
            raise InputError(f"{given}{name}: {advice}")
    return fields


def parse_overrides(config_class: type, overrides: Mapping[str, str], *, given: str = "--set ") -> dict[str, Any]:
    """Turn text values into the types of a dataclass's fields.

    Args:
        config_class: The dataclass.
        overrides: Text by field.
        given: What a refusal writes before the name of a field.

    Raises:
        InputError: If a field does not exist or a value is not of its type.
    """
    hints = typing.get_type_hints(config_class)
    names = {field.name for field in dataclasses.fields(config_class) if field.init}
    for name, text in overrides.items():
        if name not in names:
            near = did_you_mean(name, names)
            raise InputError(f"{given}{name}={text}: there is no such field{'; ' if near else ''}{near}")
    return {name: _parse(name, text, hints[name], given=given) for name, text in overrides.items()}


def _parse(name: str, text: str, hint: Any, *, given: str) -> Any:
    choices = [
        *REGISTERED.get(name, ()),
        *(arg for arg in _alternatives(hint) if not isinstance(arg, type) and arg is not None),
    ]
    if choices:
        if text not in choices:
            raise InputError(f"{given}{name}: expected one of {', '.join(map(str, choices))}, found {text!r}")
        return text
    for kind in (bool, int, float, str):
        if kind in _alternatives(hint):
            return _convert(f"{given}{name}", text, kind)
    raise InputError(f"{given}{name}: a field of type {hint} cannot be set from text")


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
            raise InputError(f"{name}: expected true or false, found {text!r}")
        return values[str(text).lower()]
    try:
        return kind(text)
    except ValueError as error:
        raise InputError(f"{name}: expected {kind.__name__}, found {text!r}") from error
