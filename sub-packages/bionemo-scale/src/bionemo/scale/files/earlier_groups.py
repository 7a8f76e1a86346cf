# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The file of a fine-tuned run that says which groups its weights had learned from when it began."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bionemo.scale.files.text import read_json
from bionemo.scale.files.writing.atomic import write_text
from bionemo.scale.types import Group, InputError


EARLIER_NAME = "earlier_groups.json"
"""In a run folder, where the run began with the weights of another one."""


def write_earlier(run: Path, groups: Iterable[Group]) -> None:
    """Write the groups that a run's first weights were trained on."""
    rows = sorted([*group[:4], list(group.covariates)] for group in set(groups))
    write_text(run / EARLIER_NAME, json.dumps({"groups": rows}) + "\n")


def read_earlier(run: Path) -> frozenset[Group]:
    """Return the groups that a run's first weights were trained on; none where it began with random weights.

    Runs of releases that did not note them have none either.

    Raises:
        InputError: If the file is damaged.
    """
    path = run / EARLIER_NAME
    if not path.is_file():
        return frozenset()
    try:
        return frozenset(_group(row) for row in read_json(path)["groups"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: cannot be read as the groups that a run began with: {error}") from error


def _group(row: list[Any]) -> Group:
    dataset, cell_type, perturbation, batch, covariates = row
    group = Group(dataset, cell_type, perturbation, batch, tuple(covariates))
    if not all(isinstance(name, str) for name in (*group[:4], *group.covariates)):
        raise ValueError(f"expected labels, found {row}")
    return group
