# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Golden files, and recipes as text."""

import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import nemo_run as run
import pytest


REPOSITORY = Path(__file__).parents[2]
GOLDEN = REPOSITORY / "tests" / "golden"
WRITE = "BIONEMO_SCALE_WRITE_GOLDEN"


@pytest.fixture
def golden() -> Callable[[str, str], str]:
    """Return what a file under tests/golden holds; with the variable above set, after writing the text to it."""

    def golden_text(name: str, text: str) -> str:
        path = GOLDEN / name
        if os.environ.get(WRITE):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        assert path.is_file(), f"{path} is missing; {WRITE}=1 writes it"
        return path.read_text()

    return golden_text


@pytest.fixture
def render() -> Callable[[run.Partial], str]:
    """Return a recipe as sorted ``path: value`` lines: what a review compares when a default changes."""
    return lambda recipe: "".join(f"{line}\n" for line in sorted(_lines(recipe, "")))


def _lines(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, run.Partial | run.Config):
        target = value.__fn_or_cls__
        yield f"{path or 'task'}: {target.__module__}.{target.__qualname__}"
        # Defaults of other packages are those of the versions at hand.
        own = _defaults(target) if target.__module__.startswith("bionemo.scale") else {}
        for name, entry in {**own, **value.__arguments__}.items():
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
