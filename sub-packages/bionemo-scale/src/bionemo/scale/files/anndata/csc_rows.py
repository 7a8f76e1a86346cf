# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Rows of a matrix that is stored by columns, with bounded memory.

Entries are dealt to files of consecutive rows, each of which fits in memory, and every file is then sorted. That takes
disk space of about the size of the uncompressed matrix, in the folder for temporary files (``TMPDIR``).
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix

from bionemo.scale.files.anndata.matrix_on_disk import MatrixOnDisk
from bionemo.scale.files.writing.folder import temporary_folder


_MAX_FILES = 256


def rows_of_csc(
    matrix: MatrixOnDisk, first_row: int, entries_at_once: int, *, max_rows: int
) -> Iterator[tuple[int, csr_matrix]]:
    """Yield runs of rows, in order.

    Args:
        matrix: CSC.
        first_row: Rows before it are left out.
        entries_at_once: Entries read at once, and of a run of rows where 256 such runs are enough.
        max_rows: Most rows of a run.

    Yields:
        First row, and the [run, columns] matrix from it on.

    Raises:
        InputError: Entries lie outside the rows, or cannot be read.
    """
    lengths = _row_lengths(matrix, entries_at_once)
    lengths[:first_row] = 0
    edges = _edges(lengths, first_row, entries_at_once, max_rows=max_rows)
    value = matrix.dtype
    # Small types may overflow where duplicated entries are added up.
    value = value if value.kind in "iuf" and value.itemsize >= 4 else np.dtype(np.float32)
    entry = np.dtype([("row", "<i8"), ("column", "<i4"), ("value", value)])
    with temporary_folder("columns-") as folder:
        _deal(matrix, edges, entry, folder=folder, entries_at_once=entries_at_once)
        for number, (first, last) in enumerate(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)):
            path = folder / str(number)
            stored = np.fromfile(path, dtype=entry) if path.exists() else np.empty(0, dtype=entry)
            path.unlink(missing_ok=True)
            rows = coo_matrix(
                (stored["value"], (stored["row"] - first, stored["column"])), shape=(last - first, matrix.shape[1])
            )
            yield first, rows.tocsr()


def _row_lengths(matrix: MatrixOnDisk, entries_at_once: int) -> np.ndarray:
    lengths = np.zeros(matrix.shape[0], dtype=np.int64)
    for first in range(0, int(matrix.pointers[-1]), entries_at_once):
        lengths += np.bincount(matrix.entries(first, first + entries_at_once)[1], minlength=len(lengths))
    return lengths


def _edges(lengths: np.ndarray, first_row: int, entries_at_once: int, *, max_rows: int) -> np.ndarray:
    """First row of every run, and the number of rows."""
    ends = np.cumsum(lengths)
    size = max(entries_at_once, int(ends[-1]) // _MAX_FILES)
    edges = [first_row]
    while edges[-1] < len(lengths):
        done = int(ends[edges[-1] - 1]) if edges[-1] else 0
        last = int(np.searchsorted(ends, done + size, side="right"))
        edges.append(min(max(last, edges[-1] + 1), edges[-1] + max_rows, len(lengths)))
    return np.array(edges)


def _deal(matrix: MatrixOnDisk, edges: np.ndarray, entry: np.dtype, *, folder: Path, entries_at_once: int) -> None:
    for first in range(0, int(matrix.pointers[-1]), entries_at_once):
        values, rows = matrix.entries(first, first + entries_at_once)
        entries = np.empty(len(rows), dtype=entry)
        entries["row"], entries["value"] = rows, values
        positions = np.arange(first, first + len(rows))
        entries["column"] = np.searchsorted(matrix.pointers, positions, side="right") - 1
        run = np.searchsorted(edges, rows, side="right") - 1
        for number in np.unique(run[run >= 0]).tolist():
            with (folder / str(number)).open("ab") as file:
                entries[run == number].tofile(file)
