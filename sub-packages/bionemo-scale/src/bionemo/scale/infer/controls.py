# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Control cells of any h5ad, brought to the genes and the scale of a model."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix, diags, vstack

from bionemo.scale.data.expression import check_values, read_library_size, size_factors
from bionemo.scale.data.h5ad import H5adSource
from bionemo.scale.data.suggest import suggest
from bionemo.scale.types import DataCard, InputError


@dataclass(frozen=True, kw_only=True)
class ControlCells:
    """Control cells on a model's scale, with the labels a prediction needs."""

    expression: csr_matrix
    """[cells, G] float32 log1p, columns in the model's gene order."""
    cell_type: np.ndarray
    """[cells] strings."""
    batch: np.ndarray
    """[cells] strings."""
    names: np.ndarray
    """[cells] obs names."""


def read_controls(path: Path, card: DataCard) -> ControlCells:
    """Read the control cells of a file.

    Cells whose perturbation is the control label are controls; a file without that column holds nothing else.

    Args:
        path: An h5ad of raw counts, or of log1p values on the model's scale.
        card: The model's genes, labels and scale.

    Raises:
        InputError: If a column, the control label or genes are missing, or values are not expression.
    """
    with H5adSource(path) as source:
        keep = _control_mask(source, card)
        columns = _columns_of(source, card)
        given = _given_library_size(source, card)
        blocks = []
        for chunk in source.chunks():
            check_values(source, chunk)
            first = chunk.first_cell
            inside = keep[first : first + chunk.matrix.shape[0]]
            sizes = None if given is None else given[first : first + len(inside)][inside]
            blocks.append(_log1p(chunk.matrix[inside], sizes, card)[:, columns])
        return ControlCells(
            expression=csr_matrix(vstack(blocks), dtype=np.float32),
            cell_type=_label_column(source, card.keys.cell_type)[keep],
            batch=_label_column(source, card.keys.batch)[keep],
            names=source.cell_names()[keep],
        )


def _control_mask(source: H5adSource, card: DataCard) -> np.ndarray:
    if not source.has_column(card.keys.perturbation):
        return np.ones(source.num_cells, dtype=bool)
    labels = _label_column(source, card.keys.perturbation)
    keep = labels == card.control
    if not keep.any():
        raise InputError(
            f"{source.path}: expected control cells, obs[{card.keys.perturbation!r}] = {card.control!r}, found none; "
            f"{suggest(card.control, set(labels))}"
        )
    return keep


def _label_column(source: H5adSource, key: str) -> np.ndarray:
    labels = source.labels(key)
    return np.asarray(labels.names, dtype=object)[labels.codes]


def _columns_of(source: H5adSource, card: DataCard) -> np.ndarray:
    position = {gene: index for index, gene in enumerate(source.genes)}
    missing = [gene for gene in card.genes if gene not in position]
    if missing:
        raise InputError(
            f"{source.path}: expected the model's {len(card.genes)} genes, found {len(missing)} missing, the first are "
            f"{', '.join(missing[:5])}"
        )
    return np.array([position[gene] for gene in card.genes])


def _given_library_size(source: H5adSource, card: DataCard) -> np.ndarray | None:
    key = card.scale.library_size_key
    return read_library_size(source, key) if key is not None and source.has_column(key) else None


def _log1p(matrix: csr_matrix, library_size: np.ndarray | None, card: DataCard) -> csr_matrix:
    """Normalise counts; leave values that are no counts as the log1p they must be."""
    if not (matrix.data == np.rint(matrix.data)).all():
        return matrix
    sizes = np.asarray(matrix.sum(axis=1)).ravel() if library_size is None else library_size
    scaled = csr_matrix(diags(size_factors(sizes, card.scale.target_sum)) @ matrix)
    np.log1p(scaled.data, out=scaled.data)
    return scaled
