# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Refusals in the words of Python: the argument in the place of the option of a command."""

import importlib
from collections.abc import Callable
from dataclasses import fields
from functools import cache, wraps
from typing import ParamSpec, TypeVar

from bionemo.scale.options.fields import options_of
from bionemo.scale.options.values import column_flag, renamed
from bionemo.scale.types import InputError, ObsKeys


P = ParamSpec("P")
R = TypeVar("R")


def names_arguments(settings: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function of the Python API name its arguments where a refusal names options.

    Args:
        settings: Module and class, below ``bionemo.scale``, whose fields the function takes. It is imported when
            something is refused.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return function(*args, **kwargs)
            except InputError as error:
                raise InputError(in_python(str(error), settings)) from error

        return call

    return decorate


def in_python(line: str, settings: str) -> str:
    """Return a refusal with the names of arguments; options of other commands stay."""
    return renamed(line, _arguments(settings))


@cache
def _arguments(settings: str) -> dict[str, str]:
    module, _, name = settings.rpartition(".")
    options = options_of(getattr(importlib.import_module(f"bionemo.scale.{module}"), name))
    columns = {column_flag(part.name): f"keys.{part.name}" for part in fields(ObsKeys)}
    return {
        **columns,
        **{each.flag: f"{each.name}=True" if each.form == "flag" else each.name for each in options},
    }
