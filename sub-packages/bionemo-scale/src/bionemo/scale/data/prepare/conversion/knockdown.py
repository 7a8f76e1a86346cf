# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Cells of a CRISPR interference screen in which the targeted gene is down: the others show no effect of it."""

from collections.abc import Callable

import numpy as np
from scipy.sparse import csr_matrix

from bionemo.scale.data.prepare.conversion.layout import FileLabels
from bionemo.scale.data.prepare.conversion.scan import check_values, kind_of, size_factors
from bionemo.scale.data.prepare.settings import Knockdown
from bionemo.scale.files.anndata.anndata_file import H5adSource
from bionemo.scale.types import ValueKind


def cells_with_knockdown(
    source: H5adSource,
    labels: FileLabels,
    limits: Knockdown,
    *,
    control: str,
    library_size: np.ndarray | None,
    values: ValueKind | None = None,
    progress: Callable[[int], None],
) -> np.ndarray:
    """Return the cells to keep; the perturbation's label must be the name of the targeted gene.

    Expression is compared before the logarithm, per library size. Controls are kept. Perturbations whose gene is not
    measured, or not expressed in the controls of the cell type, cannot be checked and are left out.

    Args:
        source: The open file, of counts or log1p values.
        labels: Its labels.
        limits: How much may be left.
        control: Label of the controls.
        library_size: [cells] given library sizes; ``None`` takes the sum of a cell's counts.
        values: What the user says the values are.
        progress: Called with the number of cells of each piece.

    Returns:
        [cells] bool.
    """
    gene = {name: column for column, name in enumerate(source.genes.tolist())}
    targets = np.array([-1 if name == control else gene.get(name, -1) for name in labels.perturbation.names])
    is_control_label = np.array([name == control for name in labels.perturbation.names])
    target, is_control = targets[labels.perturbation.codes], is_control_label[labels.perturbation.codes]
    own, sums = _measure(
        source, labels, target, is_control=is_control, library_size=library_size, values=values, progress=progress
    )
    cell_type = labels.cell_type.codes
    counts = np.bincount(cell_type[is_control], minlength=len(labels.cell_type.names))
    level = sums / np.maximum(counts, 1)[:, None]
    expected = np.where(target >= 0, level[cell_type, target], 0.0)
    residual = np.divide(own, expected, out=np.full(len(own), np.inf), where=expected > 0)
    group = cell_type.astype(np.int64) * len(labels.perturbation.names) + labels.perturbation.codes
    sizes = np.bincount(group)
    mean = np.bincount(group, weights=residual) / np.maximum(sizes, 1)
    return is_control | ((mean[group] < limits.group) & (residual < limits.cell))


def _measure(
    source: H5adSource,
    labels: FileLabels,
    target: np.ndarray,
    *,
    is_control: np.ndarray,
    library_size: np.ndarray | None,
    values: ValueKind | None,
    progress: Callable[[int], None],
) -> tuple[np.ndarray, np.ndarray]:
    """Expression of its target in every cell, [cells], and summed expression of controls, [cell types, genes]."""
    own = np.zeros(source.num_cells)
    num_types = len(labels.cell_type.names)
    sums = np.zeros((num_types, source.num_genes))
    for chunk in source.chunks():
        check_values(source, chunk)
        cells = slice(chunk.first_cell, chunk.first_cell + chunk.matrix.shape[0])
        linear = _per_library(chunk.matrix, None if library_size is None else library_size[cells], values)
        rows = np.flatnonzero(target[cells] >= 0)
        own[cells.start + rows] = np.asarray(linear[rows, target[cells][rows]]).ravel()
        control = np.flatnonzero(is_control[cells])
        types = labels.cell_type.codes[cells][control]
        member = csr_matrix((np.ones(len(control)), (types, control)), shape=(num_types, linear.shape[0]))
        sums += (member @ linear).toarray()
        progress(linear.shape[0])
    return own, sums


def _per_library(matrix: csr_matrix, library_size: np.ndarray | None, stated: ValueKind | None) -> csr_matrix:
    values = matrix.data.astype(np.float64)
    if kind_of(values, stated) == "log1p":
        return csr_matrix((np.expm1(values), matrix.indices, matrix.indptr), shape=matrix.shape)
    sizes = np.asarray(matrix.sum(axis=1, dtype=np.float64)).ravel() if library_size is None else library_size
    factors = np.repeat(size_factors(sizes, 1.0), np.diff(matrix.indptr))
    return csr_matrix((values * factors, matrix.indices, matrix.indptr), shape=matrix.shape)
