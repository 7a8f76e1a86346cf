# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bionemo.scale.data.store.csr import row_pointers
from bionemo.scale.data.store.format import (
    Block,
    block_key,
    codec_of,
    count_dtype,
    decode_block,
    encode_block,
    value_dtype_of,
)


def make_block(values, num_genes=100, first_row=7):
    values = np.asarray(values)
    lengths = np.array([len(values), 0])
    return Block(
        first_row=first_row,
        num_genes=num_genes,
        indptr=row_pointers(lengths),
        library_size=np.array([12.5, 0.0], dtype=np.float32),
        indices=np.arange(len(values)) % num_genes,
        values=values,
    )


@pytest.mark.parametrize(
    ("largest", "dtype"), [(0, "u1"), (255, "u1"), (256, "u2"), (65535, "u2"), (65536, "u4"), (2**32 - 1, "u4")]
)
def test_counts_take_the_smallest_dtype(largest, dtype):
    block = decode_block(encode_block(make_block(np.array([1, largest], dtype=np.uint64))))
    assert block.values.dtype == np.dtype(dtype)
    assert block.values.tolist() == [1, largest]


def test_too_large_counts_are_refused():
    with pytest.raises(ValueError, match="below 2"):
        count_dtype(2**32)


VALUES = st.one_of(
    st.lists(st.floats(0, 15, width=32), max_size=50).map(lambda values: np.array(values, dtype=np.float32)),
    st.lists(st.integers(1, 2**32 - 1), max_size=50).map(lambda values: np.array(values, dtype=np.uint64)),
)


@given(VALUES, st.sampled_from([100, 65536, 65537]), st.sampled_from(["none", "zstd"]))
def test_round_trip(values, num_genes, codec):
    block = make_block(values, num_genes)
    data = encode_block(block, codec)
    again = decode_block(data)
    assert codec_of(data) == codec and value_dtype_of(data) == again.values.dtype
    assert len(data) % 8 == 0 or codec == "zstd"
    assert again.first_row == 7 and again.num_genes == num_genes
    assert again.indices.dtype == np.dtype("u2" if num_genes <= 65536 else "u4")
    for name in ("indptr", "library_size", "indices", "values"):
        np.testing.assert_array_equal(getattr(again, name), getattr(block, name))


def test_decoded_arrays_are_aligned_views():
    data = np.frombuffer(encode_block(make_block(np.arange(5, dtype=np.uint8))), dtype=np.uint8)
    block = decode_block(data.data)
    for array in (block.indptr, block.library_size, block.indices, block.values):
        assert array.flags.aligned and not array.flags.owndata
        assert (array.ctypes.data - data.ctypes.data) % 8 == 0


def test_header_bytes_are_those_documented():
    data = encode_block(make_block(np.array([3, 300], dtype=np.int32), num_genes=60, first_row=5))
    assert data[:4] == b"BSCB"
    assert struct.unpack("<BBBBIIQQ", data[4:32]) == (1, 0, 2, 2, 2, 60, 2, 5)
    assert struct.unpack("<3I", data[32:44]) == (0, 2, 2)
    assert struct.unpack("<2f", data[48:56]) == (12.5, 0.0)
    assert struct.unpack("<2H", data[56:60]) == (0, 1)
    assert struct.unpack("<2H", data[64:68]) == (3, 300)
    assert len(data) == 72


@pytest.mark.parametrize("cut", [1, 20])
def test_a_packed_block_that_is_cut_off_is_refused(cut):
    data = encode_block(make_block(np.arange(1, 90, dtype=np.uint16)), "zstd")
    with pytest.raises(ValueError, match="cannot be unpacked"):
        decode_block(data[:-cut])


def test_packing_takes_less():
    block = make_block(np.ones(5000, dtype=np.uint8), num_genes=10_000)
    assert len(encode_block(block, "zstd")) < len(encode_block(block)) / 10


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:20], "at least 32 bytes"),
        (lambda data: data[:-9], "cut off"),
        (lambda data: b"XXXX" + data[4:], "expected a block"),
        (lambda data: data[:4] + b"\x02" + data[5:], "version 2"),
        (lambda data: data[:5] + b"\x09" + data[6:], "unknown codec 9"),
        (lambda data: data[:7] + b"\x09" + data[8:], "value dtype 9"),
    ],
)
def test_damaged_blocks_are_refused(damage, message):
    data = encode_block(make_block(np.arange(20, dtype=np.uint8)))
    with pytest.raises(ValueError, match=message):
        decode_block(damage(data))


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)), min_size=2, max_size=20))
def test_keys_sort_like_group_and_chunk(pairs):
    assert sorted(pairs) == sorted(pairs, key=lambda pair: block_key(*pair))
