# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Bytes of the store: file names, LMDB keys and CSR blocks.

``docs/data-format.md`` describes the same layout for readers in other languages; a change here needs a new
``SCHEMA_VERSION``.
"""

import struct
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa

from bionemo.scale.types import Codec


SCHEMA_VERSION = 2
CHUNK_ROWS = 256
"""Cells in a block; the last block of a group may be shorter."""
MANIFEST_NAME = "manifest.json"
SPLIT_NAME = "split.json"

_KEY = struct.Struct(">II")
_HEADER = struct.Struct("<4sBBBBIIQQ")
_MAGIC = b"BSCB"
_BLOCK_VERSION = 1
_CODEC_RAW = 0
_CODEC_ZSTD = 1
_ZSTD_LEVEL = 1
_DTYPES: dict[int, np.dtype] = {1: np.dtype("<u1"), 2: np.dtype("<u2"), 3: np.dtype("<u4"), 4: np.dtype("<f4")}
VALUE_DTYPES = tuple(dtype.name for dtype in _DTYPES.values())
_CODES = {dtype: code for code, dtype in _DTYPES.items()}
_POINTER = np.dtype("<u4")
_LIBRARY = np.dtype("<f4")


@dataclass(frozen=True, kw_only=True)
class Block:
    """Consecutive cells of one group as CSR arrays."""

    first_row: int
    """Row of the first cell, counted from the first cell of the shard's input."""
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


FINGERPRINT = "fingerprint"
"""Column of :func:`obs_name` with a number of each cell's values: copies of a cell have the same."""


def obs_name(index: int) -> str:
    """Return the file name of the names and labels of an input: ``obs-00000.parquet``."""
    return f"obs-{index:05d}.parquet"


def covariate_column(number: int) -> str:
    """Return the column of :func:`obs_name` that has the values of a covariate: ``covariate_0``."""
    return f"covariate_{number}"


def block_key(group: int, chunk: int) -> bytes:
    """Return the LMDB key of a block; big-endian, so that keys sort like rows.

    Args:
        group: Number of the group among those of its input.
        chunk: Number of the block in its group.
    """
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


def encode_block(block: Block, codec: Codec = "none") -> bytes:
    """Serialise a block; counts take the smallest dtype that loses nothing.

    Args:
        block: ``values`` of an integer dtype are counts, any other dtype is written as float32.
        codec: How indices and values are packed.
    """
    is_count = block.values.dtype.kind in "iu"
    largest = int(block.values.max(initial=0)) if is_count else 0
    value_dtype = count_dtype(largest) if is_count else _DTYPES[4]
    columns = index_dtype(block.num_genes)
    header = _HEADER.pack(
        _MAGIC,
        _BLOCK_VERSION,
        _CODEC_RAW if codec == "none" else _CODEC_ZSTD,
        _CODES[columns],
        _CODES[value_dtype],
        len(block.indptr) - 1,
        block.num_genes,
        len(block.indices),
        block.first_row,
    )
    indices, values = block.indices.astype(columns, copy=False), block.values.astype(value_dtype, copy=False)
    rows = _padded(block.indptr.astype(_POINTER)) + _padded(block.library_size.astype(_LIBRARY))
    if codec == "none":
        return header + rows + _padded(indices) + _padded(values)
    # Differences wrap around where a cell ends, so that one running sum gives all indices back.
    steps = np.diff(indices, prepend=columns.type(0))
    packed = _zstd().compress(_byte_planes(steps) + _byte_planes(values), asbytes=True)
    return header + rows + packed


def decode_block(buffer: bytes | memoryview) -> Block:
    """Return the arrays of a block, as views into ``buffer`` where they are not packed.

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
    if codec not in (_CODEC_RAW, _CODEC_ZSTD) or columns not in _DTYPES or values not in _DTYPES:
        raise ValueError(f"unknown codec {codec}, index dtype {columns} or value dtype {values}")
    rows = ((_POINTER, num_rows + 1), (_LIBRARY, num_rows))
    entries = ((_DTYPES[columns], nnz), (_DTYPES[values], nnz))
    if codec == _CODEC_RAW:
        indptr, library_size, indices, data = _views(buffer, _HEADER.size, (*rows, *entries))
    else:
        indptr, library_size = _views(buffer, _HEADER.size, rows)
        first = _HEADER.size + sum(_padded_size(dtype.itemsize * count) for dtype, count in rows)
        indices, data = _unpack(memoryview(buffer)[first:], entries)
    return Block(
        first_row=first_row,
        num_genes=num_genes,
        indptr=indptr,
        library_size=library_size,
        indices=indices,
        values=data,
    )


def value_dtype_of(buffer: bytes | memoryview) -> np.dtype:
    """Return the dtype of a block's values, from its header alone."""
    return _DTYPES[_HEADER.unpack_from(buffer)[4]]


def codec_of(buffer: bytes | memoryview) -> Codec:
    """Return the codec of a block, from its header alone."""
    return "none" if _HEADER.unpack_from(buffer)[2] == _CODEC_RAW else "zstd"


def _views(buffer: bytes | memoryview, offset: int, sections: tuple[tuple[np.dtype, int], ...]) -> list[np.ndarray]:
    size = memoryview(buffer).nbytes
    views = []
    for dtype, count in sections:
        num_bytes = dtype.itemsize * count
        if offset + num_bytes > size:
            raise ValueError(f"a block is cut off after {size} bytes")
        views.append(np.frombuffer(buffer, dtype=dtype, count=count, offset=offset))
        offset += _padded_size(num_bytes)
    return views


def _unpack(packed: memoryview, entries: tuple[tuple[np.dtype, int], ...]) -> tuple[np.ndarray, np.ndarray]:
    (columns, nnz), (values, _) = entries
    try:
        planes = _zstd().decompress(packed, nnz * (columns.itemsize + values.itemsize), asbytes=True)
    except (OSError, pa.ArrowInvalid) as error:
        raise ValueError(f"a block of {nnz} entries cannot be unpacked") from error
    steps = _from_byte_planes(planes, columns, nnz, offset=0)
    indices = np.cumsum(steps, dtype=columns)
    return indices, _from_byte_planes(planes, values, nnz, offset=nnz * columns.itemsize)


def _byte_planes(values: np.ndarray) -> bytes:
    """All low bytes, then all second bytes, ...: alike bytes side by side pack well."""
    # Shifts of whole numbers are vectorised, and many times faster than copies of every second byte.
    words = values.view(_as_words(values.dtype))
    return b"".join((words >> 8 * number).astype(np.uint8).tobytes() for number in range(words.itemsize))


def _from_byte_planes(planes: bytes, dtype: np.dtype, count: int, *, offset: int) -> np.ndarray:
    if dtype.itemsize == 1:
        return np.frombuffer(planes, dtype=dtype, count=count, offset=offset)
    planar = np.frombuffer(planes, dtype=np.uint8, count=count * dtype.itemsize, offset=offset)
    words = planar[:count].astype(_as_words(dtype))
    for number in range(1, dtype.itemsize):
        words |= planar[number * count : (number + 1) * count].astype(words.dtype) << 8 * number
    return words.view(dtype)


def _as_words(dtype: np.dtype) -> str:
    return f"<u{dtype.itemsize}"


@lru_cache(maxsize=1)
def _zstd() -> pa.Codec:
    return pa.Codec("zstd", compression_level=_ZSTD_LEVEL)


def _padded(section: np.ndarray) -> bytes:
    return section.tobytes() + bytes(_padded_size(section.nbytes) - section.nbytes)


def _padded_size(num_bytes: int) -> int:
    """Size of a section with the bytes that make it a multiple of 8, so that the next one starts aligned."""
    return num_bytes + -num_bytes % 8
