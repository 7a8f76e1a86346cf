# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""First pass over a file: what its values are, library sizes, and the moments that choose genes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.sparse import csr_matrix

from bionemo.scale.data.h5ad import CellChunk, H5adSource
from bionemo.scale.data.hvg import GeneMoments
from bionemo.scale.types import InputError


LOG1P_LIMIT = 15.0
"""No cell's counts, scaled to anything sensible, pass exp(15) = 3.3 million in one gene."""

ValueKind = Literal["counts", "log1p"]


@dataclass(frozen=True, kw_only=True)
class FileStatistics:
    """What the first pass learned of a file."""

    kind: ValueKind
    num_entries: np.ndarray
    """[cells] int64, expressed genes of each cell."""
    library_size: np.ndarray
    """[cells] float64; 0 for log1p input, where it is not known."""
    moments: GeneMoments
    """Over training cells, all genes of the file, expression before the logarithm."""
    num_below_total: int
    """Cells whose given library size is smaller than the sum of their counts in the file."""


def scan(
    source: H5adSource,
    *,
    is_training: np.ndarray,
    library_size: np.ndarray | None,
    target_sum: float,
    progress: Callable[[int], None],
) -> FileStatistics:
    """Read a file once, check every value and add up what normalisation and gene choice need.

    Args:
        source: The open file.
        is_training: [cells] bool, cells that may decide which genes are kept.
        library_size: [cells] given library sizes; ``None`` takes the sum of a cell's counts.
        target_sum: Library size cells are scaled to.
        progress: Called with the number of cells of each piece.

    Raises:
        InputError: A value is NaN, infinite or negative, or values are neither counts nor log1p.
    """
    kind: ValueKind | None = None
    num_entries = np.zeros(source.num_cells, dtype=np.int64)
    total = np.zeros(source.num_cells)
    moments = GeneMoments(source.num_genes)
    for chunk in source.chunks():
        check_values(source, chunk)
        kind = _same_kind(source, chunk, kind)
        cells = slice(chunk.first_cell, chunk.first_cell + chunk.matrix.shape[0])
        num_entries[cells] = np.diff(chunk.matrix.indptr)
        total[cells] = np.asarray(chunk.matrix.sum(axis=1, dtype=np.float64)).ravel()
        given = total[cells] if library_size is None else library_size[cells]
        _add_moments(moments, chunk.matrix, is_training[cells], size_factors(given, target_sum), kind)
        progress(chunk.matrix.shape[0])
    if kind is None:
        raise InputError(f"{source.path}: expected counts or log1p values, every value is 0")
    is_counts = kind == "counts"
    below = 0 if library_size is None or not is_counts else int((library_size < total * (1 - 1e-6)).sum())
    return FileStatistics(
        kind=kind,
        num_entries=num_entries,
        library_size=(total if library_size is None else library_size) if is_counts else np.zeros(source.num_cells),
        moments=moments,
        num_below_total=below,
    )


def size_factors(library_size: np.ndarray, target_sum: float) -> np.ndarray:
    """Return [cells] ``target_sum / library_size``, 0 for cells without counts."""
    known = library_size > 0
    return np.divide(target_sum, library_size, out=np.zeros(len(library_size)), where=known)


def read_library_size(source: H5adSource, key: str) -> np.ndarray:
    """Return a library size column, [cells] float64.

    Raises:
        InputError: The column is missing or a value is not a positive finite number.
    """
    values = source.numbers(key)
    wrong = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
    if len(wrong):
        raise InputError(
            f"{source.path}: library size obs[{key!r}] must be positive, found {values[wrong[0]]} in cell "
            f"{source.cell_names()[wrong[0]]!r} and {len(wrong)} such cells in all"
        )
    return values


def check_values(source: H5adSource, chunk: CellChunk) -> None:
    """Refuse NaN, infinite and negative values, naming the first one's cell and gene."""
    values = chunk.matrix.data
    # A NaN makes the minimum NaN, so that two reductions cover all three cases without a mask.
    if not len(values) or (values.min() >= 0 and values.max() < np.inf):
        return
    first = int(np.flatnonzero(~((values >= 0) & (values < np.inf)))[0])
    cell = chunk.first_cell + int(np.searchsorted(chunk.matrix.indptr, first, side="right")) - 1
    gene = source.genes[chunk.matrix.indices[first]]
    raise InputError(
        f"{source.path}: expression must be finite and not negative, found {values[first]} in cell "
        f"{source.cell_names()[cell]!r}, gene {gene!r}"
    )


def _same_kind(source: H5adSource, chunk: CellChunk, kind: ValueKind | None) -> ValueKind | None:
    values = chunk.matrix.data
    if not len(values):
        return kind
    is_integral = values.dtype.kind in "iu" or bool((values == np.rint(values)).all())
    if not is_integral and values.max() >= LOG1P_LIMIT:
        raise InputError(
            f"{source.path}: expected integer counts or log1p values below {LOG1P_LIMIT:g}, found fractional values "
            f"up to {values.max():g}"
        )
    if is_integral and values.max() >= 1 << 32:
        raise InputError(f"{source.path}: expected counts below 2**32, found {values.max()}")
    found: ValueKind = "counts" if is_integral else "log1p"
    if kind not in (None, found):
        raise InputError(
            f"{source.path}: expected one scale in the whole file, found {kind} before cell {chunk.first_cell} and "
            f"{found} after it"
        )
    return found


def _add_moments(
    moments: GeneMoments, matrix: csr_matrix, is_training: np.ndarray, factors: np.ndarray, kind: ValueKind | None
) -> None:
    if kind == "log1p":
        values = np.expm1(matrix.data, dtype=np.float64)
        matrix = csr_matrix((values, matrix.indices, matrix.indptr), shape=matrix.shape)
        factors = np.ones(matrix.shape[0])
    if not is_training.all():
        matrix, factors = matrix[is_training], factors[is_training]
    moments.add(matrix, factors)
