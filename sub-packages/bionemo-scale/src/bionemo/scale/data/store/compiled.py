# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Three loops over rows of cells, compiled by numba in processes that read so many cells that it pays.

Importing numba, and compiling the first time, takes more than the loops save on few cells (``benchmarks/loader``). So
a process begins with numpy's and scipy's operations, which give the same bits, and stays with them where numba is not
installed or does not work.
"""

import inspect
import logging
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Literal, NamedTuple, TypeAlias

import numpy as np


logger = logging.getLogger(__name__)

PAYS_AFTER = 1 << 20
"""Cells that a process reads, or makes dense, without the loops."""

Work: TypeAlias = Literal["read", "dense"]
"""What is done with cells. A process without workers does both with each of them."""


class PlacedRows(NamedTuple):
    """Rows of blocks, anywhere in memory."""

    memory: np.ndarray
    """[bytes] uint8."""
    index_at: np.ndarray
    """[n] int64, first byte of each row's indices."""
    value_at: np.ndarray
    """[n] int64, first byte of each row's values."""
    kind: np.ndarray
    """[n] int64, type of each row's values: unsigned integers of 1, 2 and 4 bytes, float32."""
    index_bytes: int
    """Of an index, 2 or 4."""


class CsrRows(NamedTuple):
    """Rows in CSR arrays."""

    pointers: np.ndarray
    """[n + 1] int64."""
    indices: np.ndarray
    """[nnz] int32."""
    values: np.ndarray
    """[nnz] float32."""


class Loops(NamedTuple):
    """The functions of this module that have these names, compiled."""

    copy_indices: Callable[[PlacedRows, CsrRows], int]
    copy_values: Callable[[PlacedRows, np.ndarray, CsrRows], None]
    scatter_rows: Callable[[CsrRows, np.ndarray], None]


_num_cells: Counter[Work] = Counter()
"""Cells of this process, of each kind of work, so that none counts twice."""


def loops_for(work: Work, num_cells: int) -> Loops | None:
    """Count cells, and return the loops once there were so many that they pay.

    Args:
        work: What is done with them.
        num_cells: Cells that it is done with now.

    Returns:
        ``None`` before, and where there is no numba.
    """
    _num_cells[work] += num_cells
    return compiled() if max(_num_cells.values()) > PAYS_AFTER else None


@cache
def compiled() -> Loops | None:
    """Return the loops, compiled or from numba's cache; ``None`` where numba is not installed or does not work."""
    try:
        import numba
    except Exception as error:
        # A broken library of its compiler is an OSError, and numpy of a version that it does not know something else.
        logger.debug("numba: %s", error)
        return None
    if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]  # made as it is imported
        return None
    # The cache needs a folder that can be written, here or in the home directory, and room there.
    for is_cached in (True, False):
        try:
            # A decorator that checks types cannot be compiled.
            loops = Loops(*(numba.njit(cache=is_cached)(inspect.unwrap(globals()[name])) for name in Loops._fields))
            _compile(loops)
            return loops
        except Exception as error:
            # Whatever a compiler or a disk raises, numpy does the same.
            logger.debug("numba, cache %s: %s", is_cached, error)
    return None


def _compile(loops: Loops) -> None:
    """Call the loops for no row, with the types of every call."""
    none = np.zeros(0, dtype=np.int64)
    cells = CsrRows(np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.float32))
    rows = PlacedRows(np.frombuffer(bytes(1), dtype=np.uint8), none, none, none, 2)
    loops.copy_indices(rows, cells)
    loops.copy_values(rows, cells.values, cells)
    loops.scatter_rows(cells, np.zeros((0, 1), dtype=np.float32))


def copy_indices(rows: PlacedRows, out: CsrRows) -> int:
    """Copy the indices of rows into CSR arrays whose row pointers are known.

    Args:
        rows: Where they are.
        out: Its indices are written.

    Returns:
        The largest of them, 0 where there is none.
    """
    largest = np.uint32(0)
    for row in range(len(rows.kind)):
        index, at = out.indices[out.pointers[row] : out.pointers[row + 1]], rows.index_at[row]
        # Slices, because a sum in the place of an index would keep the loops from being vectorised.
        if rows.index_bytes == 2:
            short = rows.memory[at : at + 2 * len(index)].view(np.uint16)
            for entry in range(len(index)):
                index[entry] = short[entry]
                largest = max(largest, np.uint32(short[entry]))
        else:
            long = rows.memory[at : at + 4 * len(index)].view(np.uint32)
            for entry in range(len(index)):
                index[entry] = long[entry]
                largest = max(largest, long[entry])
    return int(largest)


def copy_values(rows: PlacedRows, factors: np.ndarray, out: CsrRows) -> None:
    """Copy the values of rows likewise, and multiply them.

    Args:
        rows: Where they are.
        factors: [n] float32, what each row's values are multiplied with.
        out: Its values are written.
    """
    for row in range(len(rows.kind)):
        value, factor = out.values[out.pointers[row] : out.pointers[row + 1]], factors[row]
        at, count = rows.value_at[row], len(value)
        if rows.kind[row] == 0:
            one = rows.memory[at : at + count]
            for entry in range(count):
                value[entry] = np.float32(one[entry]) * factor
        elif rows.kind[row] == 1:
            two = rows.memory[at : at + 2 * count].view(np.uint16)
            for entry in range(count):
                value[entry] = np.float32(two[entry]) * factor
        elif rows.kind[row] == 2:
            four = rows.memory[at : at + 4 * count].view(np.uint32)
            for entry in range(count):
                value[entry] = np.float32(four[entry]) * factor
        else:
            real = rows.memory[at : at + 4 * count].view(np.float32)
            for entry in range(count):
                value[entry] = real[entry] * factor


def scatter_rows(cells: CsrRows, dense: np.ndarray) -> None:
    """Write CSR arrays as a dense matrix, zeros included, row by row so that a row stays in the processor's cache.

    Args:
        cells: No index is outside of a row, or comes twice in one.
        dense: [n, G] float32, written.
    """
    for row in range(len(dense)):
        cell = dense[row]
        cell[:] = 0
        index = cells.indices[cells.pointers[row] : cells.pointers[row + 1]]
        value = cells.values[cells.pointers[row] : cells.pointers[row + 1]]
        for entry in range(len(index)):
            # An index that cannot be negative is not looked at.
            cell[np.uint32(index[entry])] = value[entry]
