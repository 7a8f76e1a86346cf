# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""How this process takes memory from the system."""

import ctypes


_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""What malloc.h calls M_TRIM_THRESHOLD and M_MMAP_THRESHOLD."""
KEPT_BYTES, LARGEST_KEPT = 1 << 28, 1 << 25
"""How much freed memory stays, and of how large pieces; the second is the most that glibc takes."""


def keep_freed_memory() -> bool:
    """Let glibc keep what is freed, up to :data:`KEPT_BYTES`, for what is needed next.

    Left to itself it gives the larger tensors back to the system and asks for them again with each step of a training
    and each batch of a prediction, and the system then writes zeros to every page.

    Returns:
        Whether it will; other C libraries are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_THRESHOLD, LARGEST_KEPT) and mallopt(_TRIM_THRESHOLD, KEPT_BYTES))
