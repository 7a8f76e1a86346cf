# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Expression that stays in its h5ad file until a context needs it, so that memory follows the largest context."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
from scipy import sparse


BLOCK_VALUES = 1 << 24
"""Values read at once: 64 MiB."""


@dataclass(frozen=True, kw_only=True)
class StoredMatrix:
    """Some rows and columns of ``X`` of an h5ad file, dense or CSR; nothing is read before it is asked for."""

    path: Path
    num_stored: int
    """Rows of the file."""
    num_columns: int
    """Columns of the file."""
    rows: np.ndarray
    """[cells] int64, rows of the file, in the order wanted."""
    columns: np.ndarray | None = None
    """[G] int64, columns of the file; ``None`` for all as they are."""

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
        with h5py.File(self.path, "r") as file:
            reader = _Reader(file["X"], self.num_columns)
            for start, stop in self._blocks(wanted):
                first, last = np.searchsorted(wanted, [start, stop])
                block = reader.read(start, stop)[wanted[first:last] - start]
                out[order[first:last]] = block if self.columns is None else block[:, self.columns]

    def _blocks(self, wanted: np.ndarray) -> Iterator[tuple[int, int]]:
        """Yield the row ranges of the file that hold wanted rows."""
        step = max(1, BLOCK_VALUES // max(1, self.num_columns))
        position = 0
        while position < len(wanted):
            start = int(wanted[position])
            stop = min(start + step, self.num_stored)
            position = int(np.searchsorted(wanted, stop))
            yield start, int(wanted[position - 1]) + 1


class _Reader:
    """Reads row ranges of a dense or CSR ``X`` as dense float32."""

    def __init__(self, x: h5py.Dataset | h5py.Group, num_columns: int):
        self._x, self._num_columns = x, num_columns
        self._pointers = None if isinstance(x, h5py.Dataset) else x["indptr"][:]

    def read(self, start: int, stop: int) -> np.ndarray:
        if self._pointers is None:
            return np.asarray(self._x[start:stop], dtype=np.float32)
        first, last = self._pointers[start], self._pointers[stop]
        parts = (
            np.asarray(self._x["data"][first:last], dtype=np.float32),
            self._x["indices"][first:last],
            self._pointers[start : stop + 1] - first,
        )
        return sparse.csr_matrix(parts, shape=(stop - start, self._num_columns)).toarray()


@dataclass(frozen=True, kw_only=True)
class ValueBlock:
    """Some rows as they are stored."""

    rows: slice
    values: np.ndarray
    """[rows, G], or the nonzero values of CSR rows."""
    pointers: np.ndarray | None
    """[rows + 1] where each CSR row begins in ``values``; ``None`` for dense rows."""

    def row_sums(self) -> np.ndarray:
        """[rows] float64."""
        if self.pointers is None:
            return self.values.sum(axis=1, dtype=np.float64)
        total = np.concatenate([[0.0], np.cumsum(self.values, dtype=np.float64)])
        return total[self.pointers[1:]] - total[self.pointers[:-1]]


def value_blocks(
    x: h5py.Dataset | h5py.Group | np.ndarray | sparse.csr_matrix, num_columns: int
) -> Iterator[ValueBlock]:
    """Yield all rows in order, :data:`BLOCK_VALUES` values or one row at a time."""
    if isinstance(x, h5py.Dataset | np.ndarray):
        step = max(1, BLOCK_VALUES // max(1, num_columns))
        for start in range(0, x.shape[0], step):
            stop = min(start + step, x.shape[0])
            yield ValueBlock(rows=slice(start, stop), values=np.asarray(x[start:stop]), pointers=None)
        return
    data, pointers = (x.data, x.indptr) if sparse.issparse(x) else (x["data"], x["indptr"][:])
    start, last = 0, len(pointers) - 1
    while start < last:
        stop = int(np.searchsorted(pointers, pointers[start] + BLOCK_VALUES, side="right")) - 1
        stop = min(max(stop, start + 1), last)
        first = pointers[start]
        values = np.asarray(data[first : pointers[stop]])
        yield ValueBlock(rows=slice(start, stop), values=values, pointers=pointers[start : stop + 1] - first)
        start = stop
