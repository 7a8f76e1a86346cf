# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bionemo.scale.data.store.csr import row_pointers
from bionemo.scale.data.store.format import Block, decode_block, encode_block
from bionemo.scale.data.store.gather import gather_rows, place_block


NUM_GENES = 40


def make_block(rng, num_rows, largest, codec):
    """A block as it comes from a shard; ``largest`` None for float values."""
    lengths = rng.integers(0, 9, size=num_rows)
    genes = [np.sort(rng.choice(NUM_GENES, size=length, replace=False)) for length in lengths]
    total = int(lengths.sum())
    values = rng.random(total).astype(np.float32) if largest is None else rng.integers(1, largest + 1, size=total)
    block = Block(
        first_row=0,
        num_genes=NUM_GENES,
        indptr=row_pointers(lengths),
        library_size=rng.random(num_rows).astype(np.float32),
        indices=np.concatenate([*genes, np.zeros(0, dtype=np.int64)]),
        values=values,
    )
    # Two bytes in front: a block in a shard is aligned to no more than two.
    return decode_block(memoryview(b"\0\0" + encode_block(block, codec))[2:])


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    kinds=st.lists(
        st.tuples(st.sampled_from([200, 60_000, 2**32 - 1, None]), st.sampled_from(["none", "zstd"])),
        min_size=1,
        max_size=6,
    ),
    num_rows=st.integers(1, 60),
)
def test_rows_are_those_of_their_blocks(seed, kinds, num_rows):
    """Any mix of dtypes and codecs, blocks in memory of their own, rows repeated and in any order."""
    rng = np.random.default_rng(seed)
    blocks = [make_block(rng, int(rng.integers(1, 12)), *kind) for kind in kinds]
    which = rng.integers(len(blocks), size=num_rows)
    local = np.array([rng.integers(len(blocks[number].library_size)) for number in which])
    found = gather_rows([place_block(block) for block in blocks], which, local)
    assert found.pointers.tolist()[-1] == len(found.indices) == len(found.values)
    assert (found.indices.dtype, found.values.dtype) == (np.int32, np.float32)
    for row, (number, place) in enumerate(zip(which.tolist(), local.tolist(), strict=True)):
        block, mine = blocks[number], slice(*found.pointers[row : row + 2].tolist())
        theirs = slice(*block.indptr[place : place + 2].tolist())
        np.testing.assert_array_equal(found.indices[mine], block.indices[theirs])
        np.testing.assert_array_equal(found.values[mine], block.values[theirs].astype(np.float32))
        assert found.library_size[row] == block.library_size[place]


def test_a_row_may_come_more_often_than_its_block_is_long():
    block = make_block(np.random.default_rng(1), 3, 200, "none")
    found = gather_rows([place_block(block)], np.zeros(5000, dtype=np.int64), np.ones(5000, dtype=np.int64))
    row = block.indices[block.indptr[1] : block.indptr[2]]
    np.testing.assert_array_equal(found.indices, np.tile(row, 5000))


@pytest.mark.parametrize("pointers", [[1, 2, 3], [0, 2, 4], [0, 9, 3]])
def test_pointers_out_of_the_block_are_refused(pointers):
    block = make_block(np.random.default_rng(0), 2, 200, "none")
    bad = Block(
        first_row=0,
        num_genes=NUM_GENES,
        indptr=np.array(pointers, dtype=np.uint32),
        library_size=block.library_size,
        indices=np.arange(3, dtype=np.uint16),
        values=np.ones(3, dtype=np.uint8),
    )
    with pytest.raises(ValueError, match="row pointers"):
        place_block(bad)


def test_a_gene_that_the_store_does_not_have_is_refused():
    block = Block(
        first_row=0,
        num_genes=3,
        indptr=np.array([0, 2]),
        library_size=np.ones(1, dtype=np.float32),
        indices=np.array([1, 3]),
        values=np.ones(2, dtype=np.int64),
    )
    placed = place_block(decode_block(encode_block(block)))
    with pytest.raises(ValueError, match="found gene 3 of 3"):
        gather_rows([placed], np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64))
