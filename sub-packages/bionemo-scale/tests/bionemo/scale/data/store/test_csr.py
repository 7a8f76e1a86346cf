# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bionemo.scale.data.store.csr import concatenate_ranges, copy_ranges, row_pointers


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 20)), max_size=30))
def test_concatenate_ranges_equals_the_loop(ranges):
    starts = np.array([start for start, _ in ranges], dtype=np.int64)
    lengths = np.array([length for _, length in ranges], dtype=np.int64)
    expected = [entry for start, length in ranges for entry in range(start, start + length)]
    assert concatenate_ranges(starts, lengths).tolist() == expected


def test_row_pointers_start_at_zero():
    assert row_pointers(np.array([2, 0, 3])).tolist() == [0, 2, 2, 5]


@pytest.mark.parametrize("dtype", ["<u1", "<u2", "<i4", "<f4"])
def test_ranges_are_copied(dtype):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 200, size=300).astype(dtype)
    starts, lengths = rng.integers(0, 280, size=50), rng.integers(0, 20, size=50)
    found = copy_ranges(values.view(np.uint8), values.itemsize * starts, lengths, dtype=values.dtype)
    np.testing.assert_array_equal(found, values[concatenate_ranges(starts, lengths)])
    assert found.dtype == values.dtype


@pytest.mark.parametrize("count", [0, 3])
def test_empty_ranges_are_nothing(count):
    none = np.zeros(count, dtype=np.int64)
    found = copy_ranges(np.zeros(0, dtype=np.uint8), none, none, dtype=np.dtype("<u2"))
    assert found.dtype == np.uint16 and not len(found)
