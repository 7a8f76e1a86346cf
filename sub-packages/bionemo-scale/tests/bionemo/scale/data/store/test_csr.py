# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bionemo.scale.data.store.csr import concatenate_ranges, row_pointers


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 20)), max_size=30))
def test_concatenate_ranges_equals_the_loop(ranges):
    starts = np.array([start for start, _ in ranges], dtype=np.int64)
    lengths = np.array([length for _, length in ranges], dtype=np.int64)
    expected = [entry for start, length in ranges for entry in range(start, start + length)]
    assert concatenate_ranges(starts, lengths).tolist() == expected


def test_row_pointers_start_at_zero():
    assert row_pointers(np.array([2, 0, 3])).tolist() == [0, 2, 2, 5]
