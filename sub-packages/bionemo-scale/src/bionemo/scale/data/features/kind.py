# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Vectors of one kind, as a source gives them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bionemo.scale.types import InputError


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Vectors of one kind."""

    name: str
    """Of the kind, such as "coexpression"; columns begin with it."""
    names: tuple[str, ...]
    """Every name that the source describes, each once."""
    values: np.ndarray
    """[names, F] float64."""
    columns: tuple[str, ...]
    """[F] what each number is."""
    facts: Mapping[str, Any]
    """What the vectors are made of: definition, source, hash, options."""
    is_reduced: bool = False
    """Whether the numbers have a meaning only beside others of the same source, as coordinates of a decomposition
    do."""
    by_column: bool = False
    """Whether columns have units of their own and are standardised one by one."""
    notes: tuple[str, ...] = ()
    """Lines about the source for the user."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Names that the source has but cannot describe, with a line that says why."""


def numbered(kind: str, count: int) -> tuple[str, ...]:
    """Return the names of the columns of a kind whose numbers have no names."""
    return tuple(f"{kind}_{number}" for number in range(count))


def unique_names(path: Path, names: Sequence[str]) -> tuple[str, ...]:
    """Return names that are each there once.

    Raises:
        InputError: One is there twice.
    """
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError(f"{path}: expected each name once, found {name!r} more than once")
        seen.add(name)
    return tuple(names)


def with_fixed_signs(vectors: np.ndarray) -> np.ndarray:
    """Return columns of a decomposition, each with its largest number positive: their sign is arbitrary.

    Args:
        vectors: [names, F] float64.
    """
    largest = vectors[np.abs(vectors).argmax(axis=0), np.arange(vectors.shape[1])]
    return vectors * np.where(largest < 0, -1.0, 1.0)
