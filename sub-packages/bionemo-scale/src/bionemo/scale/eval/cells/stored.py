# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Expression that stays in its file until a context needs it, so that memory follows the largest context."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from bionemo.scale.eval.cells.library_size import scaled
from bionemo.scale.files.anndata.checked_anndata import CheckedAnnData
from bionemo.scale.files.anndata.matrix_on_disk import MatrixOnDisk


BLOCK_VALUES = 1 << 24
"""Values read at once: 64 MiB."""
_GAPS_OF_BLOCK = 32
"""So many gaps make a block; longer ones between wanted rows are not read. HDF5 decompresses a chunk at a time, and
shorter ones would save nothing."""


@dataclass(frozen=True, kw_only=True)
class StoredMatrix:
    """Some rows and columns of ``X`` of an AnnData file, dense or CSR; nothing is read before it is asked for."""

    path: Path
    num_stored: int
    """Rows of the file."""
    num_columns: int
    """Columns of the file."""
    rows: np.ndarray
    """[cells] int64, rows of the file, in the order wanted."""
    columns: np.ndarray | None = None
    """[G] int64, columns of the file; ``None`` for all as they are."""
    unit: np.ndarray | None = None
    """[rows of the file] float64, what a count is worth, of a file of counts; ``None`` where it has log1p values."""

    @property
    def shape(self) -> tuple[int, int]:
        """Cells, genes."""
        return len(self.rows), self.num_columns if self.columns is None else len(self.columns)

    def select(self, rows: np.ndarray) -> "StoredMatrix":
        """Return the rows of a boolean mask or of an index."""
        return replace(self, rows=self.rows[rows])

    def with_columns(self, columns: list[int]) -> "StoredMatrix":
        """Return the same cells with columns picked and ordered."""
        chosen = np.asarray(columns, dtype=np.int64)
        return replace(self, columns=chosen if self.columns is None else self.columns[chosen])

    def copy_to(self, out: np.ndarray) -> None:
        """Read everything into ``out``, [cells, G] float32."""
        order = np.argsort(self.rows, kind="stable")
        wanted = self.rows[order]
        with CheckedAnnData(self.path) as file:
            matrix = file.matrix("X")
            for start, stop in self._blocks(wanted):
                first, last = np.searchsorted(wanted, [start, stop])
                block = _dense(matrix.rows(start, stop))[wanted[first:last] - start]
                if self.unit is not None:
                    block = scaled(block, self.unit[wanted[first:last]])
                out[order[first:last]] = block if self.columns is None else block[:, self.columns]

    def _blocks(self, wanted: np.ndarray) -> Iterator[tuple[int, int]]:
        """Yield the row ranges of the file that hold wanted rows, without long gaps."""
        step = max(1, BLOCK_VALUES // max(1, self.num_columns))
        gap = max(1, BLOCK_VALUES // _GAPS_OF_BLOCK // max(1, self.num_columns))
        for near in np.split(wanted, np.flatnonzero(np.diff(wanted) > gap) + 1):
            position = 0
            while position < len(near):
                start = int(near[position])
                stop = min(start + step, self.num_stored)
                position = int(np.searchsorted(near, stop))
                yield start, int(near[position - 1]) + 1


def _dense(rows: np.ndarray | sparse.csr_matrix) -> np.ndarray:
    return np.asarray(rows, dtype=np.float32) if isinstance(rows, np.ndarray) else rows.astype(np.float32).toarray()


@dataclass(frozen=True, kw_only=True)
class ValueBlock:
    """Some rows as they are stored."""

    rows: slice
    values: np.ndarray
    """[rows, G], or the nonzero values of CSR rows."""
    pointers: np.ndarray | None
    """[rows + 1] where each CSR row begins in ``values``; ``None`` for dense rows."""
    indices: np.ndarray | None = None
    """Columns of the values of CSR rows."""

    def expressed(self, num_columns: int) -> sparse.csr_matrix:
        """Return the rows without stored zeros, [rows, G]."""
        # scipy does not compute with half precision.
        values = self.values.astype(np.float32) if self.values.dtype.itemsize < 4 else self.values
        if self.pointers is None:
            return sparse.csr_matrix(values)
        shape = (len(self.pointers) - 1, num_columns)
        matrix = sparse.csr_matrix((values, self.indices, self.pointers), shape=shape, copy=not values.all())
        matrix.eliminate_zeros()
        return matrix

    def row_sums(self) -> np.ndarray:
        """[rows] float64."""
        if self.pointers is None:
            return self.values.sum(axis=1, dtype=np.float64)
        total = np.concatenate([[0.0], np.cumsum(self.values, dtype=np.float64)])
        return total[self.pointers[1:]] - total[self.pointers[:-1]]


def value_blocks(x: MatrixOnDisk | np.ndarray | sparse.csr_matrix, num_columns: int) -> Iterator[ValueBlock]:
    """Yield all rows in order, :data:`BLOCK_VALUES` values or one row at a time."""
    pointers = None if isinstance(x, np.ndarray) else x.indptr
    start, last = 0, x.shape[0]
    while start < last:
        if pointers is None:
            stop = start + BLOCK_VALUES // max(1, num_columns)
        else:
            stop = int(np.searchsorted(pointers, pointers[start] + BLOCK_VALUES, side="right")) - 1
        stop = min(max(stop, start + 1), last)
        rows: Any = x.rows(start, stop) if isinstance(x, MatrixOnDisk) else x[start:stop]
        yield ValueBlock(
            rows=slice(start, stop),
            values=np.asarray(rows) if pointers is None else rows.data,
            pointers=None if pointers is None else rows.indptr,
            indices=None if pointers is None else rows.indices,
        )
        start = stop
