# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import shutil
from itertools import pairwise

import lmdb
import numpy as np
import pyarrow.parquet as pq
import pytest

from bionemo.scale.data.store.format import CHUNK_ROWS, FINGERPRINT, block_key, decode_block


@pytest.mark.parametrize("bucket_entries", [1, 150, 3000])
def test_buckets_do_not_change_the_store(tmp_path, make_store, screen, bucket_entries):
    """Spilled in many pieces or sorted at once, the bytes are the same."""
    whole = make_store(screen)
    spilled = make_store(screen, out=tmp_path / "spilled", bucket_entries=bucket_entries)
    for name in ("perturbed-00000.lmdb", "control-00000.lmdb", "obs-00000.parquet", "manifest.json"):
        assert (spilled.path / name).read_bytes() == (whole.path / name).read_bytes()
    assert sorted(path.name for path in spilled.path.iterdir()) == sorted(path.name for path in whole.path.iterdir())


def test_shards_hold_the_documented_blocks(tmp_path, papalexi_store):
    """Read with lmdb alone: every block is under its key, in row order, with sorted genes."""
    groups = papalexi_store.groups
    next_row = {0: 0, 1: int(groups.first_row[groups.is_control][0])}
    num_cells = 0
    for is_control, name in enumerate(("perturbed-00000.lmdb", "control-00000.lmdb")):
        # A copy, since LMDB opens a file once in a process.
        copy = shutil.copy(papalexi_store.path / name, tmp_path)
        with lmdb.open(str(copy), subdir=False, readonly=True, lock=False) as environment:
            with environment.begin() as transaction:
                for key, value in transaction.cursor():
                    block = decode_block(value)
                    group, chunk = np.frombuffer(key, dtype=">u4").tolist()
                    assert key == block_key(group, chunk)
                    assert groups.is_control[group] == bool(is_control)
                    assert block.first_row == next_row[is_control] == groups.first_row[group] + chunk * CHUNK_ROWS
                    assert block.values.dtype.kind == "u" and block.values.min() > 0
                    rows = np.repeat(np.arange(len(block.library_size)), np.diff(block.indptr))
                    position = rows * block.num_genes + block.indices
                    assert (np.diff(position) > 0).all()
                    sums = np.bincount(rows, weights=block.values, minlength=len(block.library_size))
                    np.testing.assert_array_equal(sums, block.library_size)
                    next_row[is_control] += len(block.library_size)
                    num_cells += len(block.library_size)
    assert num_cells == papalexi_store.num_cells == 14775


def test_obs_file_is_in_row_order(kang_store):
    table = pq.read_table(kang_store.path / "obs-00000.parquet")
    assert table.column_names == ["cell", "dataset", "cell_type", "perturbation", "batch", FINGERPRINT]
    assert table.num_rows == kang_store.num_cells
    expected = kang_store.obs(np.arange(kang_store.num_cells))
    for name in table.column_names[:-1]:
        assert table[name].to_pylist() == expected[name].tolist()


def test_genes_of_a_second_file_are_matched_by_name(make_store, screen):
    other = screen[:, ::-1].copy()
    other = other[:, [*range(0, 40), *range(45, 60)]].copy()
    other.obs_names = [f"other{name}" for name in other.obs_names]
    store = make_store(screen, other, num_hvg=0)
    assert store.card.genes == tuple(name for name in screen.var_names if name in set(other.var_names))
    assert store.groups.datasets == ("screen0", "screen1")
    rows = np.arange(store.num_cells)
    obs = store.obs(rows)
    matrix = store.read(rows)
    assert matrix.has_sorted_indices
    for first, last in pairwise(matrix.indptr.tolist()):
        assert (np.diff(matrix.indices[first:last]) > 0).all()
    cells = matrix.toarray()
    for dataset, source in (("screen0", screen), ("screen1", other)):
        here = (obs["dataset"] == dataset).to_numpy()
        counts = source[obs["cell"][here]].X.toarray()
        expected = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4)
        columns = source.var_names.get_indexer(store.card.genes)
        np.testing.assert_allclose(cells[here], expected[:, columns], rtol=1e-6, atol=1e-6)
