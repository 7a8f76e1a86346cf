# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Settings as the command line that makes them: what a scheduler starts is what a person would type."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from bionemo.scale.files.suggest import suggest
from bionemo.scale.types import InputError


def arguments(settings: Any, *, defaults: Any = None) -> list[str]:
    """Return options that a command's parser turns into these settings again.

    A field is the option of its name with dashes: a flag where it is true or false, values joined by commas where it is
    a tuple, ``--set key=value`` for each entry of a dict; ``None`` and what is empty are left out.

    Args:
        settings: A dataclass instance.
        defaults: Another of the same class; fields equal to its are left out.
    """
    options: list[str] = []
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if defaults is None or value != getattr(defaults, field.name):
            options += _option(field.name, value)
    return options


def _option(name: str, value: Any) -> list[str]:
    flag = f"--{name.replace('_', '-')}"
    if value is None or value is False or value in ("", (), {}):
        return []
    if value is True:
        return [flag]
    if isinstance(value, Mapping):
        return [part for key, entry in value.items() for part in ("--set", f"{key}={entry}")]
    if isinstance(value, tuple):
        value = ",".join(map(str, value))
    return [flag, str(value)]


def checked_fields(settings_class: type, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return keyword arguments of a dataclass once every name is known.

    Raises:
        InputError: A name is no field.
    """
    known = [field.name for field in dataclasses.fields(settings_class)]
    for name in fields:
        if name not in known:
            raise InputError(f"{settings_class.__name__}: unknown setting {name!r}; {suggest(name, known)}")
    return dict(fields)
