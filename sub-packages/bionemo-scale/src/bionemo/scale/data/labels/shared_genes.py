# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Genes of several files, matched by name, and whether they have enough in common to be one data set."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from bionemo.scale.types import InputError


LEAST_SHARED = 0.1
"""Share of the smaller file's genes that two files must have in common: other species, ids or panels have less."""
FEW_SHARED = 0.5
"""A smaller share than this is told."""


def join_genes(
    named: Sequence[tuple[str, np.ndarray]], *, join: Literal["inner", "outer"], least_shared: float = LEAST_SHARED
) -> np.ndarray:
    """Return the genes that every file has, or that any has, in the order of their first appearance.

    Args:
        named: Name and genes of each file.
        join: "inner" keeps the genes of all files, "outer" those of any.
        least_shared: Share of the smaller one's genes that files must have in common; no gene at all is never enough.

    Raises:
        InputError: Files have fewer genes in common.
    """
    counts: dict[str, int] = {}
    for _, genes in named:
        for gene in genes.tolist():
            counts[gene] = counts.get(gene, 0) + 1
    if join == "outer":
        _check_outer(named, least_shared)
        return np.array(list(counts))
    kept = np.array([gene for gene, count in counts.items() if count == len(named)])
    smallest = min(len(genes) for _, genes in named)
    if not len(kept) or len(kept) < least_shared * smallest:
        raise _refusal(named, len(kept), smallest, least_shared=least_shared)
    return kept


def few_shared(named: Sequence[tuple[str, np.ndarray]]) -> str | None:
    """Say so if the genes that all files have are few beside those of the smallest file."""
    common = len(set.intersection(*(set(genes.tolist()) for _, genes in named)))
    name, smallest = min(((name, len(genes)) for name, genes in named), key=lambda each: each[1])
    if common >= FEW_SHARED * smallest:
        return None
    return f"the files have {common} genes in common by name, {common / smallest:.0%} of the {smallest} of {name}"


def _check_outer(named: Sequence[tuple[str, np.ndarray]], least_shared: float) -> None:
    """Refuse files that no chain of files with shared genes connects."""
    joined, waiting = set(named[0][1].tolist()), list(named[1:])
    while waiting:
        apart = []
        for name, genes in waiting:
            common, smaller = len(joined.intersection(genes.tolist())), min(len(genes), len(joined))
            if common and common >= least_shared * smaller:
                joined.update(genes.tolist())
            else:
                apart.append((name, genes))
        if len(apart) == len(waiting):
            genes = apart[0][1]
            common = len(joined.intersection(genes.tolist()))
            raise _refusal((named[0], apart[0]), common, min(len(genes), len(joined)), least_shared=least_shared)
        waiting = apart


def _refusal(
    named: Sequence[tuple[str, np.ndarray]], common: int, smallest: int, *, least_shared: float
) -> InputError:
    names = ", ".join(name for name, _ in named)
    first = ", ".join(repr(str(genes[0])) for _, genes in named)
    if not common:
        return InputError(f"{names}: expected genes in common, found none; the first names are {first}")
    return InputError(
        f"{names}: expected at least {least_shared:.0%} of the smaller file's genes in common by name, found {common} "
        "of "
        f"{smallest}; the first names are {first}; give another --gene-key, or take them with --least-shared-genes 0"
    )
