# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Cell types that differ most from one another, by principal components of their mean control expression."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

from bionemo.scale.data.folds.hold_out import Parts, Shares
from bionemo.scale.data.prepare.conversion.convert import InputFile
from bionemo.scale.data.prepare.conversion.layout import read_labels
from bionemo.scale.data.prepare.conversion.scan import check_values, kind_of, size_factors
from bionemo.scale.data.store.reader import Store
from bionemo.scale.files.anndata.anndata_file import H5adSource
from bionemo.scale.types import ExpressionScale, InputError


NUM_COMPONENTS = 10
"""Principal components that distances are taken in; fewer where there are fewer cell types."""


class _Cells(NamedTuple):
    """Some control cells."""

    genes: np.ndarray
    """[G] strings."""
    cell_types: Sequence[str]
    """Of each cell."""
    expression: csr_matrix
    """[cells, G] float64, normalised, before the logarithm."""


def profiles_of_files(files: Sequence[InputFile]) -> dict[str, np.ndarray]:
    """Return the pseudobulk of each cell type's controls: [G] float64, log1p of the mean of normalised expression.

    Reads all files once. G are the genes of ``X`` that all files have.

    Raises:
        InputError: A file cannot be read, or the files have no gene in common.
    """
    return _profiles(cells for file in files for cells in _controls_of_file(file))


def profiles_of_store(store: Store) -> dict[str, np.ndarray]:
    """Return the same of a store, with its genes."""
    groups, genes = store.groups, np.array(store.card.genes)

    def cells() -> Iterator[_Cells]:
        for index in np.flatnonzero(groups.is_control).tolist():
            expression = store.read(groups.rows(index)).astype(np.float64)
            name = groups.cell_types[groups.cell_type[index]]
            yield _Cells(genes, [name] * expression.shape[0], expression.expm1())

    return _profiles(cells())


def by_distance(profiles: Mapping[str, np.ndarray], shares: Shares) -> Parts:
    """Hold out the cell types that differ most: first those of the test part, then those of validation.

    Args:
        profiles: Cell type to [G].
        shares: Of cell types.

    Raises:
        InputError: Nothing would be left to train on.
    """
    sizes = shares.sizes(len(profiles))
    order = iter(most_distinct(profiles, sum(sizes.values())))
    return {next(order): part for part, size in sizes.items() for _ in range(size)}


def most_distinct(profiles: Mapping[str, np.ndarray], count: int) -> list[str]:
    """Return the names of profiles that are far from one another, farthest first.

    Profiles are centred and projected on their first principal components. The first name is the farthest from the
    mean; each next one has the largest distance to the nearest of those before it (Gonzalez 1985).

    Args:
        profiles: Name to [G].
        count: How many.
    """
    names = sorted(profiles)
    values = np.stack([profiles[name] for name in names])
    left, singular, _ = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    scores = (left * singular)[:, :NUM_COMPONENTS]
    distance, chosen = np.linalg.norm(scores, axis=1), list[int]()
    while len(chosen) < count:
        chosen.append(int(np.argmax(distance)))
        # What is chosen is at distance 0 from itself.
        nearest = np.linalg.norm(scores - scores[chosen[-1]], axis=1)
        distance = nearest if len(chosen) == 1 else np.minimum(distance, nearest)
    return [names[row] for row in chosen]


def _controls_of_file(file: InputFile) -> Iterator[_Cells]:
    with H5adSource(file.path, matrix=file.matrix, gene_key=file.gene_key) as source:
        labels = read_labels(source, file.dataset, file.keys, grammar=file.grammar)
        control = np.array([name == file.grammar.controls[0] for name in labels.perturbation.names])
        for chunk in source.chunks():
            check_values(source, chunk)
            cells = np.arange(chunk.first_cell, chunk.first_cell + chunk.matrix.shape[0])
            chosen = np.flatnonzero(control[labels.perturbation.codes[cells]])
            if not len(chosen):
                continue
            expression = chunk.matrix[chosen].astype(np.float64)
            if kind_of(chunk.matrix.data, file.values) == "log1p":
                expression = expression.expm1()
            else:
                total = np.asarray(expression.sum(axis=1)).ravel()
                factors = size_factors(total, ExpressionScale().target_sum)
                expression = csr_matrix(expression.multiply(factors[:, None]))
            names = [labels.cell_type.names[code] for code in labels.cell_type.codes[cells[chosen]].tolist()]
            yield _Cells(source.genes, names, expression)


def _profiles(pieces: Iterator[_Cells]) -> dict[str, np.ndarray]:
    sums: dict[str, np.ndarray] = {}
    counts: dict[str, int] = {}
    genes: np.ndarray | None = None
    for piece in pieces:
        genes = piece.genes if genes is None else genes
        if not np.array_equal(genes, piece.genes):
            genes, kept, columns = np.intersect1d(genes, piece.genes, return_indices=True)
            sums = {name: total[kept] for name, total in sums.items()}
            piece = piece._replace(expression=piece.expression[:, columns])
        if not len(genes):
            raise InputError("expected genes that all files have, found none")
        names = np.array(piece.cell_types)
        for name in np.unique(names).tolist():
            rows = np.flatnonzero(names == name)
            sums[name] = sums.get(name, 0.0) + np.asarray(piece.expression[rows].sum(axis=0)).ravel()
            counts[name] = counts.get(name, 0) + len(rows)
    return {name: np.log1p(total / counts[name]) for name, total in sums.items()}
