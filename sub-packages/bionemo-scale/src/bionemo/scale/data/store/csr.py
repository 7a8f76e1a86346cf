# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Row arithmetic on CSR arrays that writer and reader share."""

import numpy as np


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
