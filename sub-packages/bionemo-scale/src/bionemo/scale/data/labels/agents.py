# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a perturbation's label is made of: agents, their doses, and vectors that describe them."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bionemo.scale.files.labels.grammar import NO_DOSE, Grammar, agent_names
from bionemo.scale.files.suggest import suggest
from bionemo.scale.files.text import read_text
from bionemo.scale.types import InputError


NO_AGENT = -1


@dataclass(frozen=True, kw_only=True)
class Agents:
    """The labels of a vocabulary, taken apart."""

    names: tuple[str, ...]
    """Every agent once, in the order of their first appearance."""
    members: np.ndarray
    """[labels, M] int64, agents of each label, :data:`NO_AGENT` where it has fewer than M."""
    doses: np.ndarray
    """[labels, M] float32, :data:`NO_DOSE` where there is none."""


def agents_of(labels: Sequence[str], grammar: Grammar, *, known: Sequence[str] = ()) -> Agents:
    """Read labels.

    Args:
        labels: Perturbations.
        grammar: How they are read.
        known: Agents that come first, whether the labels name them or not.

    Raises:
        InputError: If a label cannot be read, or the doses of an agent cannot be compared.
    """
    parsed = [grammar.parse(label) for label in labels]
    names = tuple(dict.fromkeys([*known, *agent_names(labels, grammar)]))
    position = {name: row for row, name in enumerate(names)}
    width = max((len(agents) for agents in parsed), default=1)
    members = np.full((len(labels), width), NO_AGENT, dtype=np.int64)
    doses = np.full((len(labels), width), NO_DOSE, dtype=np.float32)
    for row, agents in enumerate(parsed):
        members[row, : len(agents)] = [position[name] for name, _ in agents]
        doses[row, : len(agents)] = [dose for _, dose in agents]
    return Agents(names=names, members=members, doses=doses)


def read_features(path: Path, names: Sequence[str]) -> np.ndarray:
    """Read one vector per agent, such as an embedding of the targeted gene or the fingerprint of a drug.

    Args:
        path: .csv or .tsv with a header, names in the first column and numbers in the others, or .parquet with names
            as its index.
        names: Agents that are wanted; the file may hold more.

    Returns:
        [len(names), F] float32.

    Raises:
        InputError: If the file cannot be read, a name is missing or twice in it, or a value is not a finite number.
    """
    table = read_table(path)
    table.index = table.index.astype(str)
    missing = [name for name in names if name not in table.index]
    if missing:
        raise InputError(
            f"{path}: expected a row for each of {len(names)} perturbations, found none for {len(missing)}, the first "
            "is "
            f"{missing[0]!r}; {suggest(missing[0], list(table.index))}"
        )
    twice = table.index[table.index.duplicated()]
    if len(twice):
        raise InputError(f"{path}: expected each name once, found {twice[0]!r} more than once")
    try:
        features = table.loc[list(names)].to_numpy(dtype=np.float32)
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: expected numbers beside the names, found {error}") from error
    if not features.shape[1] or not np.isfinite(features).all():
        raise InputError(f"{path}: expected at least one column of finite numbers, found {_describe(features)}")
    return features


def feature_names(path: Path) -> tuple[str, ...]:
    """Return the agents that a file of features describes.

    Raises:
        InputError: If the file cannot be read.
    """
    return tuple(read_table(path).index.astype(str))


def read_table(path: Path) -> pd.DataFrame:
    """Read a table whose index names agents.

    Args:
        path: .csv, .tsv or .parquet.

    Raises:
        InputError: If it cannot be read.
    """
    readers = {
        ".csv": lambda: pd.read_csv(io.StringIO(read_text(path)), index_col=0),
        ".tsv": lambda: pd.read_csv(io.StringIO(read_text(path)), sep="\t", index_col=0),
        ".parquet": lambda: pd.read_parquet(path),
    }
    if path.suffix not in readers:
        raise InputError(f"{path}: expected a .csv, .tsv or .parquet file of perturbation features")
    try:
        return readers[path.suffix]()
    except FileNotFoundError as error:
        raise InputError(f"{path}: expected a file of perturbation features, found no such file") from error
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: cannot be read as a table: {str(error).splitlines()[0]}") from error


def _describe(features: np.ndarray) -> str:
    return "none" if not features.shape[1] else f"{int((~np.isfinite(features)).sum())} that are not finite"
