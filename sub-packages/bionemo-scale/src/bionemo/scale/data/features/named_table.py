# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""A table of text with names in its first column."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bionemo.scale.data.features.kind import unique_names
from bionemo.scale.files.text import read_text
from bionemo.scale.types import InputError


@dataclass(frozen=True, kw_only=True)
class Row:
    """What stands beside a name."""

    number: int
    """Line of the file, from 1."""
    values: Mapping[str, str]
    """Column to text, without blanks around it; empty where the line ends before."""


def read_named_table(path: Path, *, column: str, optional: Sequence[str] = ()) -> dict[str, Row]:
    """Read a .csv or .tsv file with a header.

    Args:
        path: File with names in its first column.
        column: One that must be there, in any case.
        optional: Others that are read where they are there.

    Raises:
        InputError: It is no such file, or has a name twice.
    """
    if path.suffix not in (".csv", ".tsv"):
        raise InputError(f"{path}: expected a .csv or .tsv file with names and a column {column}")
    reader = csv.reader(io.StringIO(read_text(path)), delimiter="\t" if path.suffix == ".tsv" else ",")
    lines = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(row)]
    header = lines[0][1] if lines else []
    lowered = [name.lower() for name in header]
    if lowered[1:].count(column) != 1 or lowered[:1] == [column] or len(lines) < 2:
        raise InputError(
            f"{path}: expected names in the first column and a column {column}, found {max(len(lines) - 1, 0)} lines "
            f"below the columns {', '.join(header)}"
        )
    unique_names(path, [row[0] for _, row in lines[1:]])
    places = {name: lowered.index(name, 1) for name in (column, *optional) if name in lowered[1:]}
    filled = ((number, row + [""] * (len(header) - len(row))) for number, row in lines[1:])
    return {
        row[0]: Row(number=number, values={name: row[place] for name, place in places.items()})
        for number, row in filled
    }
