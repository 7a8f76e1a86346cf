# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Rows of blocks that lie anywhere in memory, copied into one CSR matrix.

A batch takes some rows of each of a hundred blocks, and numpy gathers from one array at a time: calls for each block
cost more than the copying. So one array is laid over the memory from the first block to the last, whatever is between
them, and the rows are ranges of it; nothing but the ranges is read. They are copied by a compiled loop or, with the
same bits, by a few operations on arrays.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from bionemo.scale.data.store.compiled import CsrRows, Loops, PlacedRows, loops_for
from bionemo.scale.data.store.csr import copy_ranges, row_pointers
from bionemo.scale.data.store.format import CHUNK_ROWS, Block
from bionemo.scale.data.store.memory import batch_memory


_VALUE_DTYPES = tuple(np.dtype(name) for name in ("<u1", "<u2", "<u4", "<f4"))
_VALUE_BYTES = np.array([dtype.itemsize for dtype in _VALUE_DTYPES])
_NUMBER = {dtype: number for number, dtype in enumerate(_VALUE_DTYPES)}
_POINTER_BYTES = 4


class PlacedBlock(NamedTuple):
    """A block and where its arrays are; they stay there as long as it is kept."""

    block: Block
    addresses: tuple[int, int, int, int]
    """Of ``indptr``, ``library_size``, ``indices`` and ``values``."""
    end: int
    """First address behind all four."""
    value_dtype: int
    """Number of the dtype of ``values``."""


def place_block(block: Block) -> PlacedBlock:
    """Look up where a block is, once it is known that its rows are inside its arrays.

    Raises:
        ValueError: Row pointers that lead out of the block.
    """
    pointers = block.indptr
    if pointers[0] != 0 or pointers[-1] != len(block.indices) or (pointers[1:] < pointers[:-1]).any():
        raise ValueError("its row pointers do not cover its entries")
    arrays = (pointers, block.library_size, block.indices, block.values)
    addresses = tuple(array.__array_interface__["data"][0] for array in arrays)
    end = max(address + array.nbytes for address, array in zip(addresses, arrays, strict=True))
    return PlacedBlock(block, addresses, end, _NUMBER[block.values.dtype])


def gather_rows(
    blocks: Sequence[PlacedBlock], which: np.ndarray, local: np.ndarray, *, target_sum: float | None = None
) -> CsrRows:
    """Copy rows of blocks.

    Args:
        blocks: Blocks of one store, at least one.
        which: [n] number of each row's block in ``blocks``.
        local: [n] number of each row in its block.
        target_sum: Library size that counts are scaled to before their log1p is taken; ``None`` gives values as they
            are stored.

    Returns:
        Row i is row ``local[i]`` of block ``which[i]``.

    Raises:
        ValueError: A gene that the store does not have.
    """
    addresses = np.array([block.addresses for block in blocks], dtype=np.int64)
    first = int(addresses.min())
    memory = pa.foreign_buffer(first, max(block.end for block in blocks) - first)
    pointer_at, library_at, index_at, value_at = (addresses - first).T[:, which]
    pointer_at += _POINTER_BYTES * local
    words = _overlapping(memory, "<u4")
    starts = words[pointer_at].astype(np.int64)
    pointers = row_pointers(words[pointer_at + _POINTER_BYTES].astype(np.int64) - starts)
    index_bytes, kind = (
        blocks[0].block.indices.dtype.itemsize,
        np.array([block.value_dtype for block in blocks])[which],
    )
    rows = PlacedRows(
        memory=np.frombuffer(memory, dtype=np.uint8),
        index_at=index_at + index_bytes * starts,
        value_at=value_at + _VALUE_BYTES[kind] * starts,
        kind=kind,
        index_bytes=index_bytes,
    )
    library_size = _overlapping(memory, "<f4")[library_at + _POINTER_BYTES * local]
    factors = None if target_sum is None else _factors(library_size, np.float32(target_sum))
    loops = loops_for("read", len(local))
    cells, largest = _copy(rows, pointers, factors) if loops is None else _loop(loops, rows, pointers, factors=factors)
    if largest >= blocks[0].block.num_genes:
        raise ValueError(f"found gene {largest} of {blocks[0].block.num_genes}")
    return cells


def _factors(library_size: np.ndarray, target_sum: np.float32) -> np.ndarray:
    return np.divide(target_sum, library_size, out=np.zeros_like(library_size), where=library_size > 0)


def _loop(loops: Loops, rows: PlacedRows, pointers: np.ndarray, *, factors: np.ndarray | None) -> tuple[CsrRows, int]:
    """Copy rows by the compiled loop; return them and their largest index."""
    indices, values = (batch_memory.take(int(pointers[-1]), dtype) for dtype in (np.int32, np.float32))
    cells = CsrRows(pointers, indices, values)
    largest = loops.copy_indices(rows, cells)
    if factors is None:
        loops.copy_values(rows, np.ones(len(rows.kind), dtype=np.float32), cells)
    else:
        loops.copy_values(rows, factors, cells)
        np.log1p(values, out=values)
    return cells, largest


def _copy(rows: PlacedRows, pointers: np.ndarray, factors: np.ndarray | None) -> tuple[CsrRows, int]:
    """Copy rows without it."""
    lengths = np.diff(pointers)
    indices = copy_ranges(rows.memory, rows.index_at, lengths, dtype=np.dtype(f"<u{rows.index_bytes}"))
    cells = CsrRows(pointers, _cast(indices, np.int32), _copy_values(rows, lengths))
    if factors is not None:
        _normalise(cells, lengths, factors)
    return cells, int(indices.max(initial=0))


def _normalise(cells: CsrRows, lengths: np.ndarray, factors: np.ndarray) -> None:
    """Turn counts into log1p of library-size normalised counts, in place."""
    # Piece by piece, so that what is computed on stays in the processor's cache.
    for first in range(0, len(lengths), CHUNK_ROWS):
        rows = slice(first, first + CHUNK_ROWS)
        values = cells.values[cells.pointers[first] : cells.pointers[min(rows.stop, len(lengths))]]
        values *= np.repeat(factors[rows], lengths[rows])
        np.log1p(values, out=values)


def _copy_values(rows: PlacedRows, lengths: np.ndarray) -> np.ndarray:
    """Return [nnz] float32, each row from its dtype."""

    def copied(number: int, chosen: slice | np.ndarray) -> np.ndarray:
        return copy_ranges(rows.memory, rows.value_at[chosen], lengths[chosen], dtype=_VALUE_DTYPES[number])

    distinct = np.unique(rows.kind).tolist()
    if len(distinct) == 1:
        return _cast(copied(distinct[0], slice(None)), np.float32)
    values = batch_memory.take(int(lengths.sum()), np.float32)
    owner = np.repeat(rows.kind, lengths)
    for number in distinct:
        values[owner == number] = copied(number, rows.kind == number)
    return values


def _cast(array: np.ndarray, dtype: type) -> np.ndarray:
    out = batch_memory.take(len(array), dtype)
    np.copyto(out, array, casting="unsafe")
    return out


def _overlapping(memory: pa.Buffer, dtype: str) -> np.ndarray:
    """Return an array of 4-byte elements whose element i starts at byte i: blocks need not be aligned."""
    return np.ndarray(shape=(memory.size - 3,), dtype=dtype, buffer=memory, strides=(1,))
