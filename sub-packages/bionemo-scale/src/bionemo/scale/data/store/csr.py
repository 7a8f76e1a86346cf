# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Row arithmetic on CSR arrays that writer and reader share."""

import numpy as np
import pyarrow as pa


def concatenate_ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return ``[s, s+1, ..., s+l-1]`` of every (start, length), one after the other.

    Args:
        starts: [n] int64.
        lengths: [n] int64, not negative.

    Returns:
        [lengths.sum()] int64.
    """
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(starts - (ends - lengths), lengths) + np.arange(total)


def row_pointers(lengths: np.ndarray) -> np.ndarray:
    """Return the [n + 1] int64 row pointers of rows with these [n] numbers of entries."""
    pointers = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=pointers[1:])
    return pointers


def copy_ranges(memory: np.ndarray, starts: np.ndarray, lengths: np.ndarray, *, dtype: np.dtype) -> np.ndarray:
    """Return ranges of memory, one after the other.

    Args:
        memory: [bytes] uint8.
        starts: [n] int64, first byte of each range.
        lengths: [n] int64, elements of each.
        dtype: Of an element.

    Returns:
        [lengths.sum()] of that type; it cannot be written.
    """
    # Arrow's variable-length binary arrays are offsets into one buffer, and taking elements of them is a loop of
    # memcpy. The ranges are every second element here; those between, from the end of one to the start of the next,
    # may go backwards and are never taken.
    count, total = len(starts), int(lengths.sum()) * dtype.itemsize
    if not total:
        return np.empty(0, dtype=dtype)
    offsets = np.empty(2 * count + 2, dtype=np.int64)
    offsets[0] = 0
    offsets[1:-1:2] = starts
    offsets[2::2] = starts + lengths * dtype.itemsize
    # Arrow makes room for as many mean lengths as are taken, and believes the first and last offset for the mean.
    offsets[-1] = min(total * (2 * count + 1) // count + 2 * count, memory.size)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(memory)]
    ranges = pa.Array.from_buffers(pa.large_binary(), 2 * count + 1, buffers)
    taken = ranges.take(pa.array(np.arange(1, 2 * count, 2)))
    return np.frombuffer(taken.buffers()[2], dtype=dtype, count=total // dtype.itemsize)
