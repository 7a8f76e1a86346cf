# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""A settings class with a field of every form."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from bionemo.scale.options.fields import option
from bionemo.scale.options.limits import COUNT, Limits
from bionemo.scale.options.settings import Settings
from bionemo.scale.types import InputError, ObsKeys


@dataclass(frozen=True, kw_only=True)
class Example(Settings):
    """Every form."""

    inputs: tuple[Path, ...] = option(form="positional", metavar="INPUT")
    """Files, 100 % of them."""
    out: Path
    """Where to write."""
    mode: Literal["fast", "slow"] = "fast"
    """How."""
    steps: int = option(3, limits=COUNT, group="numbers")
    """Steps of
    the way."""
    rate: float | None = option(None, limits=Limits(above=0, below=1), group="numbers")
    """A rate (default: as measured)."""
    loud: bool = False
    """Say more."""
    labels: tuple[str, ...] = option((), flag="--label")
    """A label; may be repeated."""
    parts: tuple[str, ...] = option((), form="commas", choices={"a": 1, "b": 2})
    """Parts."""
    scans: tuple[Path, ...] = option((), form="words")
    """Folders."""
    keys: ObsKeys = ObsKeys()
    """Columns."""
    overrides: dict[str, Any] = option({}, flag="--set")
    """More."""
    inner: int = option(7, form="hidden")
    """In Python alone."""

    def check(self) -> None:
        if self.loud and self.mode == "slow":
            raise InputError("--loud goes with --mode fast")


@pytest.fixture
def example() -> type[Example]:
    return Example
