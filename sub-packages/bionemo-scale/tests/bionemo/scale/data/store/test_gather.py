# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bionemo.scale.data.store import compiled
from bionemo.scale.data.store.csr import row_pointers
from bionemo.scale.data.store.format import CHUNK_ROWS, Block, decode_block, encode_block
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


KINDS = st.lists(
    st.tuples(st.sampled_from([200, 60_000, 2**32 - 1, None]), st.sampled_from(["none", "zstd"])),
    min_size=1,
    max_size=6,
)


def drawn_rows(seed, kinds, num_rows):
    """Blocks of these kinds, and some of their rows, repeated and in any order: block and place of each."""
    rng = np.random.default_rng(seed)
    blocks = [make_block(rng, int(rng.integers(1, 12)), *kind) for kind in kinds]
    which = rng.integers(len(blocks), size=num_rows)
    return blocks, which, np.array([rng.integers(len(blocks[number].library_size)) for number in which])


@settings(max_examples=60)
@given(seed=st.integers(0, 2**31), kinds=KINDS, num_rows=st.integers(1, 60))
def test_rows_are_those_of_their_blocks(seed, kinds, num_rows):
    """Any mix of dtypes and codecs, blocks in memory of their own, rows repeated and in any order."""
    blocks, which, local = drawn_rows(seed, kinds, num_rows)
    found = gather_rows([place_block(block) for block in blocks], which, local)
    assert found.pointers.tolist()[-1] == len(found.indices) == len(found.values)
    assert (found.indices.dtype, found.values.dtype) == (np.int32, np.float32)
    for row, (number, place) in enumerate(zip(which.tolist(), local.tolist(), strict=True)):
        block, mine = blocks[number], slice(*found.pointers[row : row + 2].tolist())
        theirs = slice(*block.indptr[place : place + 2].tolist())
        np.testing.assert_array_equal(found.indices[mine], block.indices[theirs])
        np.testing.assert_array_equal(found.values[mine], block.values[theirs].astype(np.float32))


@settings(max_examples=60)
@given(seed=st.integers(0, 2**31), kinds=KINDS, num_rows=st.integers(1, 60), target_sum=st.sampled_from([None, 1e4]))
def test_the_compiled_loop_gives_the_same_bits(seed, kinds, num_rows, target_sum):
    assert_same_bits(drawn_rows(seed, kinds, num_rows), target_sum)


@pytest.mark.parametrize("target_sum", [None, 1e4])
def test_the_same_bits_of_more_rows_than_a_piece(target_sum):
    drawn = drawn_rows(3, [(200, "none"), (60_000, "zstd"), (None, "none")], 2 * CHUNK_ROWS + 7)
    assert_same_bits(drawn, target_sum)


def assert_same_bits(drawn, target_sum):
    blocks, which, local = drawn
    placed = [place_block(block) for block in blocks]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "PAYS_AFTER", 1 << 60)
        expected = gather_rows(placed, which, local, target_sum=target_sum)
        patch.setattr(compiled, "PAYS_AFTER", -1)
        found = gather_rows(placed, which, local, target_sum=target_sum)
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.dtype == theirs.dtype
        assert mine.tobytes() == theirs.tobytes()


def test_counts_become_log1p_of_their_share():
    blocks, which, local = drawn_rows(5, [(200, "none"), (60_000, "zstd")], 40)
    found = gather_rows([place_block(block) for block in blocks], which, local, target_sum=1e4)
    for row, (number, place) in enumerate(zip(which.tolist(), local.tolist(), strict=True)):
        block, mine = blocks[number], slice(*found.pointers[row : row + 2].tolist())
        counts = block.values[slice(*block.indptr[place : place + 2].tolist())].astype(np.float64)
        np.testing.assert_allclose(found.values[mine], np.log1p(counts * 1e4 / block.library_size[place]), rtol=1e-6)


@pytest.mark.parametrize("after", [-1, 1 << 60])
def test_cells_of_no_known_size_are_zero(after, monkeypatch):
    monkeypatch.setattr(compiled, "PAYS_AFTER", after)
    block = Block(
        first_row=0,
        num_genes=3,
        indptr=np.array([0, 0, 2]),
        library_size=np.zeros(2, dtype=np.float32),
        indices=np.array([1, 2]),
        values=np.ones(2, dtype=np.int64),
    )
    placed = place_block(decode_block(encode_block(block)))
    found = gather_rows([placed], np.zeros(2, dtype=np.int64), np.arange(2), target_sum=1e4)
    assert found.values.tolist() == [0, 0]


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


@pytest.mark.parametrize("num_genes", [3, 1 << 17])
@pytest.mark.parametrize("after", [-1, 1 << 60])
def test_a_gene_that_the_store_does_not_have_is_refused(after, num_genes, monkeypatch):
    monkeypatch.setattr(compiled, "PAYS_AFTER", after)
    block = Block(
        first_row=0,
        num_genes=num_genes,
        indptr=np.array([0, 2]),
        library_size=np.ones(1, dtype=np.float32),
        indices=np.array([1, num_genes]),
        values=np.ones(2, dtype=np.int64),
    )
    placed = place_block(decode_block(encode_block(block)))
    with pytest.raises(ValueError, match=f"found gene {num_genes} of {num_genes}"):
        gather_rows([placed], np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64))
