# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Bytes of the store: file names, LMDB keys and CSR blocks.

``docs/data-format.md`` describes the same layout for readers in other languages; a change here needs a new
``SCHEMA_VERSION``.
"""

import struct
from dataclasses import dataclass

import numpy as np


SCHEMA_VERSION = 1
CHUNK_ROWS = 256
"""Cells in a block; the last block of a group may be shorter."""
MANIFEST_NAME = "manifest.json"
OBS_NAME = "obs.parquet"
SPLIT_NAME = "split.json"

_KEY = struct.Struct(">II")
_HEADER = struct.Struct("<4sBBBBIIQQ")
_MAGIC = b"BSCB"
_BLOCK_VERSION = 1
_CODEC_RAW = 0
_DTYPES = {1: np.dtype("<u1"), 2: np.dtype("<u2"), 3: np.dtype("<u4"), 4: np.dtype("<f4")}
_CODES = {dtype: code for code, dtype in _DTYPES.items()}
_POINTER = np.dtype("<u4")
_LIBRARY = np.dtype("<f4")


@dataclass(frozen=True, kw_only=True)
class Block:
    """Consecutive cells of one group as CSR arrays."""

    first_row: int
    """Store row of the first cell."""
    num_genes: int
    indptr: np.ndarray
    """[rows + 1] unsigned integers."""
    library_size: np.ndarray
    """[rows] float32, 0 where it is not known."""
    indices: np.ndarray
    """[nnz] unsigned integers, gene of each entry, ascending in a row."""
    values: np.ndarray
    """[nnz] unsigned counts, or float32 where values are not counts."""


def shard_name(kind: str, index: int) -> str:
    """Return the file name of a shard: ``perturbed-00000.lmdb``, ``control-00000.lmdb``."""
    return f"{kind}-{index:05d}.lmdb"


def block_key(group: int, chunk: int) -> bytes:
    """Return the LMDB key of a block; big-endian, so that keys sort like rows."""
    return _KEY.pack(group, chunk)


def index_dtype(num_genes: int) -> np.dtype:
    """Return the smallest dtype that holds every gene's column."""
    return _DTYPES[2] if num_genes <= 1 << 16 else _DTYPES[3]


def count_dtype(largest: int) -> np.dtype:
    """Return the smallest unsigned dtype that holds counts up to ``largest``."""
    for code in (1, 2, 3):
        if largest <= np.iinfo(_DTYPES[code]).max:
            return _DTYPES[code]
    raise ValueError(f"counts must be below 2**32, got {largest}")


def encode_block(block: Block) -> bytes:
    """Serialise a block; counts take the smallest dtype that loses nothing.

    Args:
        block: ``values`` of an integer dtype are counts, any other dtype is written as float32.
    """
    is_count = block.values.dtype.kind in "iu"
    largest = int(block.values.max(initial=0)) if is_count else 0
    value_dtype = count_dtype(largest) if is_count else _DTYPES[4]
    columns = index_dtype(block.num_genes)
    num_rows = len(block.indptr) - 1
    header = _HEADER.pack(
        _MAGIC,
        _BLOCK_VERSION,
        _CODEC_RAW,
        _CODES[columns],
        _CODES[value_dtype],
        num_rows,
        block.num_genes,
        len(block.indices),
        block.first_row,
    )
    sections = (
        block.indptr.astype(_POINTER),
        block.library_size.astype(_LIBRARY),
        block.indices.astype(columns),
        block.values.astype(value_dtype),
    )
    return header + b"".join(section.tobytes() + bytes(_padding(section.nbytes)) for section in sections)


def decode_block(buffer: bytes | memoryview) -> Block:
    """Return the arrays of a block as views into ``buffer``, without a copy.

    Args:
        buffer: What :func:`encode_block` returned.

    Raises:
        ValueError: The bytes are no block of this version, or there are too few.
    """
    size = memoryview(buffer).nbytes
    if size < _HEADER.size:
        raise ValueError(f"a block needs at least {_HEADER.size} bytes, found {size}")
    magic, version, codec, columns, values, num_rows, num_genes, nnz, first_row = _HEADER.unpack_from(buffer)
    if (magic, version) != (_MAGIC, _BLOCK_VERSION):
        raise ValueError(f"expected a block of version {_BLOCK_VERSION}, found {magic!r} version {version}")
    if codec != _CODEC_RAW or columns not in _DTYPES or values not in _DTYPES:
        raise ValueError(f"unknown codec {codec}, index dtype {columns} or value dtype {values}")
    views = []
    offset = _HEADER.size
    sections = ((_POINTER, num_rows + 1), (_LIBRARY, num_rows), (_DTYPES[columns], nnz), (_DTYPES[values], nnz))
    for dtype, count in sections:
        num_bytes = dtype.itemsize * count
        if offset + num_bytes > size:
            raise ValueError(f"a block of {nnz} entries is cut off after {size} bytes")
        views.append(np.frombuffer(buffer, dtype=dtype, count=count, offset=offset))
        offset += num_bytes + _padding(num_bytes)
    indptr, library_size, indices, data = views
    return Block(
        first_row=first_row,
        num_genes=num_genes,
        indptr=indptr,
        library_size=library_size,
        indices=indices,
        values=data,
    )


def _padding(num_bytes: int) -> int:
    """Bytes that bring a section to a multiple of 8, so that the next one starts aligned."""
    return -num_bytes % 8
