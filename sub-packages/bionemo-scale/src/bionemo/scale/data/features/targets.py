# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What the names of a screen stand for: the gene of a guide, and the kind of edit."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bionemo.scale.data.features.kind import Kind
from bionemo.scale.data.features.named_table import read_named_table
from bionemo.scale.files.provenance import hash_file
from bionemo.scale.files.suggest import some
from bionemo.scale.types import InputError


EDIT = "edit"
"""Name of the kind of vector, and of the column."""


@dataclass(frozen=True, kw_only=True)
class Targets:
    """A table of targets."""

    path: Path
    genes: dict[str, str]
    """Name in the screen to the name that sources use."""
    edits: dict[str, str]
    """Name in the screen to its kind of edit; empty where the table says none."""

    def in_names_of_the_screen(self, kind: Kind) -> Kind:
        """Return vectors under the names of the screen as well: a name has the vector of its gene.

        Where the source does not have the gene, it has the vector that the source gives to the name itself, if any.
        Kinds of edit are under the names of the screen already.
        """
        if kind.name == EDIT:
            return kind
        row = {name: number for number, name in enumerate(kind.names)}
        found = {name: row[gene] for name, gene in self.genes.items() if gene in row}
        rows = row | found
        return replace(kind, names=tuple(rows), values=kind.values[list(rows.values())])

    def kind_of_edit(self, columns: Sequence[str] = ()) -> Kind:
        """Return one number for each kind of edit: 1 for the name's own, else 0.

        Args:
            columns: Of an earlier file, whose numbers are wanted.

        Raises:
            InputError: A name has a kind of edit that the earlier file does not have.
        """
        edits = [column.removeprefix(f"{EDIT}_") for column in columns] or sorted(set(self.edits.values()))
        for name, edit in self.edits.items():
            if edit not in edits:
                raise InputError(
                    f"{self.path}: {name!r}: expected an {EDIT} that the earlier file has, {some(edits)}, found "
                    f"{edit!r}"
                )
        values = np.array([[float(edit == own) for edit in edits] for own in self.edits.values()])
        return Kind(
            name=EDIT,
            names=tuple(self.edits),
            values=values,
            columns=tuple(f"{EDIT}_{edit}" for edit in edits),
            facts={
                "definition": "kind of edit, one number for each",
                "source": str(self.path),
                "sha256": hash_file(self.path),
            },
            notes=(f"{EDIT}: {some(edits)}",),
        )


def read_targets(path: Path) -> Targets:
    """Read a table of targets.

    Args:
        path: .csv or .tsv with a header, the screen's names in the first column, a column "gene", and perhaps a column
            "edit", such as knock-out, CRISPRi or CRISPRa.

    Raises:
        InputError: It is no such file, or a field is empty.
    """
    table = read_named_table(path, column="gene", optional=(EDIT,))
    for name, row in table.items():
        for column, text in row.values.items():
            if not text:
                raise InputError(f"{path}: line {row.number}: {name!r}: expected a value in {column}, found none")
    return Targets(
        path=path,
        genes={name: row.values["gene"] for name, row in table.items()},
        edits={name: row.values[EDIT] for name, row in table.items() if EDIT in row.values},
    )
