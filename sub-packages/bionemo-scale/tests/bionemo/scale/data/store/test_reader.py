# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses
import multiprocessing
import os
import pickle
import shutil
from pathlib import Path

import anndata as ad
import lmdb
import numpy as np
import pytest
import scanpy as sc
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csc_matrix, csr_matrix

from bionemo.scale.data.store import reader, shards
from bionemo.scale.data.store.format import block_key, decode_block, encode_block
from bionemo.scale.data.store.reader import Store
from bionemo.scale.types import InputError, ObsKeys, Split


def expected_of(adata, library_size=None):
    """log1p(count * 1e4 / library size), in float64."""
    counts = csr_matrix(adata.X).astype(np.float64)
    sizes = np.asarray(counts.sum(axis=1)).ravel() if library_size is None else library_size
    counts.data *= np.repeat(1e4 / sizes, np.diff(counts.indptr))
    np.log1p(counts.data, out=counts.data)
    return counts


def assert_reads(store, adata, expected):
    """Every cell of the store has the values of the cell of that name and labels."""
    rows = np.random.default_rng(0).permutation(store.num_cells)
    obs = store.obs(rows)
    cells = adata.obs_names.get_indexer(obs["cell"])
    assert (cells >= 0).all() and len(set(cells)) == len(cells)
    found = store.read(rows)
    assert found.dtype == np.float32 and found.has_sorted_indices
    columns = adata.var_names.get_indexer(store.card.genes)
    difference = abs(found - expected[cells][:, columns])
    assert difference.max() < 1e-6
    for column in ("cell_type", "perturbation", "batch"):
        name = getattr(store.card.keys, column)
        assert obs[column].astype(str).tolist() == adata.obs[name].iloc[cells].astype(str).tolist()


def test_kang_is_the_normalised_anndata(kang_file, kang_store):
    adata = ad.read_h5ad(kang_file)
    assert kang_store.num_cells == adata.n_obs and kang_store.num_genes == 2000
    assert_reads(kang_store, adata, expected_of(adata, adata.obs["n_counts_full"].to_numpy(dtype=np.float64)))


def test_papalexi_is_scanpys_normalised_anndata(papalexi_file, papalexi_store):
    adata = ad.read_h5ad(papalexi_file)
    normalised = adata.copy()
    normalised.X = normalised.X.astype(np.float32)
    sc.pp.normalize_total(normalised, target_sum=1e4)
    sc.pp.log1p(normalised)
    assert papalexi_store.card.genes == tuple(adata.var_names)
    assert_reads(papalexi_store, adata, csr_matrix(normalised.X))


@pytest.mark.parametrize("storage", [csr_matrix, csc_matrix, lambda matrix: matrix.toarray()])
def test_storage_types_and_labels_do_not_matter(make_store, screen, storage):
    """CSR, CSC or dense, counts as integers or floats, labels as categories or text."""
    expected = expected_of(screen)
    for dtype in (np.int64, np.float32):
        screen.X = storage(csr_matrix(screen.X).astype(dtype))
        screen.obs = screen.obs.astype(str if dtype == np.float32 else "category")
        store = make_store(screen, num_hvg=0, overwrite=True)
        assert_reads(store, screen, expected)
        store.close()


def test_log1p_input_is_returned_as_it_is(make_store, screen):
    values = expected_of(screen).astype(np.float32)
    screen.X = values
    store = make_store(screen, num_hvg=20, library_size_key=None)
    assert store.card.scale.source == "log1p"
    assert_reads(store, screen, values)


def test_genes_that_library_sizes_were_summed_over(make_store, screen, tmp_path):
    sizes = screen.copy()
    sizes.obs["size"] = 1e5
    known = make_store(sizes, library_size_key="size", out=tmp_path / "known")
    assert make_store(screen).counted_genes == screen.n_vars and known.counted_genes is None


def test_mixed_count_dtypes_survive(make_store, screen):
    """The screen has one count of 70,000 among small ones."""
    store = make_store(screen, num_hvg=0)
    assert store._manifest.value_dtype == "uint32"
    assert_reads(store, screen, expected_of(screen))


@pytest.fixture(scope="module")
def dense(papalexi_store):
    return papalexi_store.read(np.arange(papalexi_store.num_cells)).toarray()


@settings(max_examples=40)
@given(data=st.data())
def test_any_rows_in_any_order(papalexi_store, dense, data):
    rows = data.draw(st.lists(st.integers(0, papalexi_store.num_cells - 1), max_size=300))
    found = papalexi_store.read(rows)
    assert found.shape == (len(rows), papalexi_store.num_genes)
    np.testing.assert_array_equal(found.toarray(), dense[rows])
    first = data.draw(st.integers(0, papalexi_store.num_cells - 1))
    run = np.arange(first, min(first + len(rows), papalexi_store.num_cells))
    np.testing.assert_array_equal(papalexi_store.read(run).toarray(), dense[run])


def test_a_small_block_cache_changes_nothing(papalexi_store, dense, monkeypatch):
    monkeypatch.setattr(shards, "CACHED_BLOCKS", 2)
    with Store.open(papalexi_store.path) as store:
        rows = np.random.default_rng(0).integers(store.num_cells, size=2000)
        np.testing.assert_array_equal(store.read(rows).toarray(), dense[rows])


@pytest.mark.parametrize("rows", [[-1], [0, 10**9]])
def test_rows_outside_the_store_are_refused(papalexi_store, rows):
    with pytest.raises(IndexError, match=r"expected rows in 0\.\.14774"):
        papalexi_store.read(rows)


def test_cells_without_counts_are_zero(make_store, screen):
    counts = screen.X.toarray()
    counts[5] = 0
    screen.X = csr_matrix(counts)
    store = make_store(screen, num_hvg=0)
    row = store.obs(range(store.num_cells))["cell"].tolist().index("cell5")
    assert store.read([row]).nnz == 0


@pytest.mark.parametrize("split", list(Split))
def test_group_means(kang_store, split):
    found = kang_store.group_means(split)
    groups = kang_store.groups
    assert len(found.groups) == len(groups.perturbed_in(split)) + groups.is_control.sum()
    index = {groups.label(number): number for number in range(len(groups))}
    for label, mean, count in zip(found.groups, found.means, found.counts, strict=True):
        cells = kang_store.read(groups.rows(index[label])).toarray()
        assert count == len(cells)
        np.testing.assert_allclose(mean, cells.mean(axis=0, dtype=np.float64), atol=1e-6)


def test_group_means_across_pieces(papalexi_store, monkeypatch):
    whole = papalexi_store.group_means(Split.TEST)
    monkeypatch.setattr(reader, "_MEAN_ROWS", 100)
    np.testing.assert_allclose(papalexi_store.group_means(Split.TEST).means, whole.means, atol=1e-9)


@pytest.mark.parametrize("cached_bytes", [0, 20_000, 1 << 28])
def test_packing_and_its_cache_change_nothing(make_store, screen, tmp_path, monkeypatch, cached_bytes):
    monkeypatch.setattr(shards, "CACHED_BYTES", cached_bytes)
    raw = make_store(screen, codec="none")
    packed = make_store(screen, codec="zstd", out=tmp_path / "packed")
    rng = np.random.default_rng(0)
    for _ in range(5):
        rows = rng.integers(raw.num_cells, size=200)
        np.testing.assert_array_equal(raw.read(rows).toarray(), packed.read(rows).toarray())
    assert (raw.codec, packed.codec) == ("none", "zstd")
    blocks = packed._shards._blocks
    assert sum(size for _, size in blocks.values()) == packed._shards._num_bytes
    assert packed._shards._num_bytes <= cached_bytes or len(blocks) == 1


def test_stores_of_one_folder_share_its_files(papalexi_store, dense):
    with Store.open(papalexi_store.path) as first, Store.open(papalexi_store.path) as second:
        np.testing.assert_array_equal(first.read([1]).toarray(), second.read([1]).toarray())
        first.close()
        np.testing.assert_array_equal(second.read([4000]).toarray(), dense[[4000]])
    np.testing.assert_array_equal(papalexi_store.read([77]).toarray(), dense[[77]])


def test_an_open_store_outlives_its_replacement(make_store, screen):
    old = make_store(screen, num_hvg=0)
    before = old.read(np.arange(old.num_cells)).toarray()
    new = make_store(screen[:, :30].copy(), num_hvg=0, overwrite=True)
    assert new.read([0]).shape == (1, 30)
    np.testing.assert_array_equal(old.read(np.arange(old.num_cells)).toarray(), before)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_read_through_a_store_that_is_in_use(papalexi_store, dense, method):
    other = Store.open(papalexi_store.path)
    rows = np.arange(0, papalexi_store.num_cells, 37)
    for store in (papalexi_store, other):
        store.read(rows)
    with multiprocessing.get_context(method).Pool(1) as pool:
        for store in (papalexi_store, other):
            np.testing.assert_array_equal(pool.apply(store.read, [rows]).toarray(), dense[rows])
    np.testing.assert_array_equal(papalexi_store.read(rows).toarray(), dense[rows])


def test_a_forked_worker_uses_the_store_it_inherits(papalexi_store, dense):
    rows = np.arange(0, papalexi_store.num_cells, 41)
    other = Store.open(papalexi_store.path)
    for store in (papalexi_store, other):
        store.read(rows)
    process = os.fork()
    if process == 0:
        # LMDB files must not be used across a fork: none may be inherited open.
        good = not shards._open_files and all(
            np.array_equal(store.read(rows).toarray(), dense[rows]) for store in (papalexi_store, other)
        )
        os._exit(0 if good else 1)
    assert os.waitpid(process, 0)[1] == 0
    np.testing.assert_array_equal(papalexi_store.read(rows).toarray(), dense[rows])


def private_pages_of_shards(store):
    """KiB of the shards in this process's memory: all of it, and what no other process shares."""
    store.read(np.arange(store.num_cells))
    resident, private, is_shard = 0, 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, *rest = line.split()
        if "-" in name and not name.endswith(":"):
            is_shard = rest[-1].endswith(".lmdb")
        elif is_shard and name == "Rss:":
            resident += int(rest[0])
        elif is_shard and name in ("Private_Dirty:", "Anonymous:"):
            private += int(rest[0])
    return resident, private


def test_workers_share_the_page_cache(make_store, papalexi_file):
    """Whatever the number of workers, the shards are in memory once."""
    store = make_store(ad.read_h5ad(papalexi_file), codec="none", keys=ObsKeys(cell_type="batch"))
    with multiprocessing.get_context("fork").Pool(2) as pool:
        for resident, private in pool.map(private_pages_of_shards, [store, store], chunksize=1):
            assert resident > 1000 and private == 0


def test_a_copy_is_without_open_files(papalexi_store):
    papalexi_store.read([0])
    copy = pickle.loads(pickle.dumps(papalexi_store))
    assert copy._shards is None
    np.testing.assert_array_equal(copy.read([5]).toarray(), papalexi_store.read([5]).toarray())


def test_a_closed_store_opens_again(papalexi_file, make_store, screen):
    with make_store(screen) as store:
        before = store.read([3, 4]).toarray()
    assert store._shards is None
    np.testing.assert_array_equal(store.read([3, 4]).toarray(), before)


def cut(path):
    path.write_bytes(path.read_bytes()[:-4096])


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("perturbed-00000.lmdb", cut, r"expected \d+ bytes, found \d+"),
        ("control-00000.lmdb", lambda path: path.unlink(), "lists this file, found none"),
        ("obs-00000.parquet", lambda path: path.write_bytes(b""), "found 0"),
        ("manifest.json", lambda path: path.unlink(), "not a store"),
        ("manifest.json", lambda path: path.write_text(path.read_text()[:100]), "expected JSON"),
        ("manifest.json", lambda path: path.write_text("[]"), "expected schema_version 2, found None"),
        ("manifest.json", lambda path: path.write_text("{}"), "expected schema_version 2, found None"),
        (
            "manifest.json",
            lambda path: path.write_text(path.read_text().replace('"schema_version": 2', '"schema_version": 3')),
            "expected schema_version 2, found 3",
        ),
        (
            "manifest.json",
            lambda path: path.write_text(path.read_text().replace('"groups"', '"gruops"')),
            "damaged manifest, expected",
        ),
    ],
)
def test_damaged_stores_are_refused_on_opening(make_store, screen, name, change, message):
    path = make_store(screen).path
    change(path / name)
    with pytest.raises(InputError, match=message) as error:
        Store.open(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_verify_finds_changed_bytes(make_store, screen):
    store = make_store(screen)
    store.verify()
    path = store.path / "perturbed-00000.lmdb"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="expected sha256"):
        Store.open(store.path).verify()


def replaced(value, **fields):
    """A block with other arrays."""
    return encode_block(dataclasses.replace(decode_block(value), **fields))


def shortened(value):
    """Its first cell alone."""
    block = decode_block(value)
    entries = slice(int(block.indptr[1]))
    arrays = dict(indptr=block.indptr[:2], indices=block.indices[entries], values=block.values[entries])
    return replaced(value, library_size=block.library_size[:1], **arrays)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (None, "damaged shard, .*found none"),
        (lambda value: b"BSCB", "damaged shard, a block needs"),
        # A reader that believed these would read beyond the block, or write beyond the batch.
        (shortened, r"expected \(cells, genes\) .* found \(1,"),
        (lambda value: replaced(value, num_genes=2), r"expected \(cells, genes\)"),
        (lambda value: replaced(value, indptr=decode_block(value).indptr[::-1]), "row pointers"),
        (lambda value: replaced(value, indices=decode_block(value).indices + 1000), "damaged store, found gene"),
    ],
)
def test_a_damaged_block_is_refused_when_it_is_read(make_store, screen, damage, message):
    store = make_store(screen, codec="none")
    path = store.path / "perturbed-00000.lmdb"
    size = path.stat().st_size
    with lmdb.open(str(path), subdir=False, map_size=1 << 24, lock=False) as environment:
        with environment.begin(write=True) as transaction:
            if damage is None:
                transaction.delete(block_key(0, 0))
            else:
                transaction.put(block_key(0, 0), damage(transaction.get(block_key(0, 0))))
    manifest = store.path / "manifest.json"
    manifest.write_text(manifest.read_text().replace(f": {size},", f": {path.stat().st_size},"))
    rows = range(min(store.num_cells, int(store.groups.num_cells[0])))
    with pytest.raises(InputError, match=message) as error:
        Store.open(store.path).read(rows)
    assert "\n" not in str(error.value)


def test_a_store_that_is_replaced_while_it_is_read_is_refused(make_store, screen):
    store = make_store(screen)
    store.read([0])
    opened = Store.open(store.path)
    aside = store.path.with_name("aside")
    store.path.rename(aside)
    shutil.copytree(aside, store.path)
    with pytest.raises(InputError, match="was replaced or removed while it was read"):
        opened.read([0])
    expected = Store.open(store.path).read([0])
    # What is open already goes on with the files that it has.
    shutil.rmtree(aside)
    assert (store.read([0]) != expected).nnz == 0


def test_damaged_names_of_cells_are_refused_when_they_are_read(make_store, screen):
    path = make_store(screen).path
    names = path / "obs-00000.parquet"
    content = bytearray(names.read_bytes())
    content[-12:] = bytes(12)
    names.write_bytes(content)
    with Store.open(path) as store, pytest.raises(InputError, match=r"obs-00000.parquet: the names of cells cannot"):
        store.obs(np.arange(3))
