# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Memory of batches that is used again: the first touch of fresh pages costs more than the values written to them."""

import weakref
from collections import deque

import numpy as np


_KEPT = 12


class ReusedMemory:
    """Lends arrays; the memory of one is lent again once nothing refers to it any more.

    What somebody still holds, a tensor or a view of the array included, is never written to.
    """

    def __init__(self) -> None:
        # Its operations are atomic: arrays are let go by any thread, at any moment.
        self._free: deque[memoryview] = deque(maxlen=_KEPT)

    def take(self, count: int, dtype: type) -> np.ndarray:
        """Return [count] elements with any content."""
        num_bytes = _rounded(count * np.dtype(dtype).itemsize)
        memory = self._find(num_bytes)
        if memory is None:
            memory = np.empty(num_bytes, dtype=np.uint8).data
        # Numpy lets a view refer to the array that owns the memory. That is this array and no other: it is made of a
        # memoryview, so that views of it keep it alive.
        lent: np.ndarray = np.frombuffer(memory, dtype=dtype, count=count)
        weakref.finalize(lent, self._free.append, memory).atexit = False
        return lent

    def _find(self, num_bytes: int) -> memoryview | None:
        for _ in range(len(self._free)):
            try:
                memory = self._free.popleft()
            except IndexError:
                return None
            if memory.nbytes == num_bytes:
                return memory
            self._free.append(memory)
        return None


def _rounded(num_bytes: int) -> int:
    """Round up by at most an eighth, so that batches of about the same size share memory."""
    step = 1 << max(num_bytes.bit_length() - 4, 6)
    return -(-num_bytes // step) * step


batch_memory = ReusedMemory()
"""Of this process."""
