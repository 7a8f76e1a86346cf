# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Gene sets as .gmt files have them."""

from pathlib import Path

from bionemo.scale.files.text import read_text
from bionemo.scale.types import InputError


def read_gene_sets(path: Path) -> dict[str, tuple[str, ...]]:
    """Return the genes of each set, each gene once.

    Args:
        path: .gmt file: a line is the name of a set, a description and its genes, with tabs between them.

    Raises:
        InputError: It is no such file, or a set is in it twice.
    """
    sets: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        title, *rest = (field.strip() for field in line.split("\t"))
        members = tuple(dict.fromkeys(gene for gene in rest[1:] if gene))
        if not title or not members:
            raise InputError(
                f"{path}: line {number}: expected a set, a description and genes with tabs between them, found "
                f"{line[:60]!r}"
            )
        if title in sets:
            raise InputError(f"{path}: line {number}: expected each set once, found {title!r} more than once")
        sets[title] = members
    if not sets:
        raise InputError(f"{path}: expected gene sets, found none")
    return sets
