# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""A recipe as sorted ``path: value`` lines: what a review compares when a default changes."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import nemo_run as run


def render(recipe: run.Partial | run.Config) -> str:
    """Return every value that a recipe holds, one a line."""
    return "".join(f"{line}\n" for line in sorted(_lines(recipe, "")))


def _lines(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, run.Partial | run.Config):
        target = value.__fn_or_cls__
        yield f"{path or 'task'}: {target.__module__}.{target.__qualname__}"
        for name, entry in {**_defaults(target), **value.__arguments__}.items():
            yield from _lines(entry, f"{path}.{name}" if path else name)
    elif isinstance(value, Mapping):
        for name, entry in value.items():
            yield from _lines(entry, f"{path}.{name}")
    else:
        yield f"{path}: {value!r}"


def _defaults(target: Any) -> dict[str, Any]:
    parameters = inspect.signature(target).parameters.values()
    # A default that is made anew for each instance has no value to show.
    return {
        each.name: each.default
        for each in parameters
        if each.default is not inspect.Parameter.empty and "factory" not in repr(each.default)
    }
