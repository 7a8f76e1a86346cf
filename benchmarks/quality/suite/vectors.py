# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Vectors of a screen's genes, and folds of genes that no training cell has; see README.md."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bionemo.scale import api
from bionemo.scale.data.labels.agents import feature_names


GENE_SETS = Path(__file__).parents[3] / "examples" / "data" / "wikipathways_human_subset.gmt"
SEPARATOR = "+"
"""Between the genes of a pair."""


def make_vectors(kinds: Sequence[str], labels: Sequence[str], path: Path, *, prepare: Mapping[str, Any]) -> None:
    """Write the vectors of all genes that have one of every kind, as bionemo-scale-features makes them.

    Co-expression is that of control cells, which are training data in every fold; perturbed cells are never read.

    Args:
        kinds: "gene_sets", "coexpression" or both.
        labels: Perturbations.
        path: File to write; one that is there stays.
        prepare: Arguments of ``api.prepare``, the screen among them.
    """
    if path.exists():
        return
    options: dict[str, Any] = {"gene_sets": GENE_SETS} if "gene_sets" in kinds else {}
    with tempfile.TemporaryDirectory() as folder:
        if "coexpression" in kinds:
            options["from_store"] = Path(folder) / "store"
            api.prepare(out=options["from_store"], **prepare)
        api.features(path, names=sorted(genes_of(labels)), leave_out=True, **options)


def described(labels: Sequence[str], path: Path) -> list[str]:
    """Return the perturbations whose genes all have a vector, by name."""
    known = set(feature_names(path))
    return sorted(label for label in labels if genes_of([label]) <= known)


def new_gene_folds(labels: Sequence[str], half: str, num_folds: int) -> list[list[str]]:
    """Return what each fold leaves out, as a store spells it: genes of a half, with every pair that has one of them.

    Args:
        labels: Perturbations whose genes have vectors.
        half: "even" or "odd" genes, of those that are perturbed alone, by name.
        num_folds: Folds that they are dealt into one after the other.
    """
    alone = sorted(label for label in labels if SEPARATOR not in label)
    together = _joined(alone[{"even": 0, "odd": 1}[half] :: 2], labels)
    dealt = [set().union(*together[number::num_folds]) for number in range(num_folds)]
    spelled = {label: SEPARATOR.join(sorted(genes_of([label]))) for label in labels}
    return [sorted(spelled[label] for label in labels if genes_of([label]) & genes) for genes in dealt]


def _joined(genes: Sequence[str], labels: Sequence[str]) -> list[set[str]]:
    """Return the genes in sets, so that both new genes of a pair are in one: what a fold leaves out no other does."""
    sets = [{gene} for gene in genes]
    for label in labels:
        joined = [each for each in sets if each & genes_of([label])]
        if len(joined) > 1:
            sets[sets.index(joined[0])] = set().union(*joined)
            sets = [each for each in sets if each not in joined]
    return sets


def genes_of(labels: Sequence[str]) -> set[str]:
    """Return the genes of some perturbations."""
    return {gene for label in labels for gene in label.split(SEPARATOR)}
