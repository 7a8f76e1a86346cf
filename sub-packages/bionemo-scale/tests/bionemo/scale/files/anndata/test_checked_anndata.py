# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a file declares is compared with what it holds, for h5ad and zarr alike, and a refusal is one line."""

import json
import shutil

import anndata as ad
import h5py
import numpy as np
import pytest
import zarr
from scipy.sparse import csc_matrix, csr_matrix

from bionemo.scale.files.anndata.checked_anndata import CheckedAnnData
from bionemo.scale.types import InputError


pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
FORMATS = ("h5ad", "zarr", "web")
"""Of "web" is a zarr store on a web server."""


@pytest.fixture(scope="module")
def originals(tmp_path_factory, web):
    """Files that are whole, by storage of X and format."""
    folder = tmp_path_factory.mktemp("originals")
    values = np.random.default_rng(0).poisson(0.7, size=(12, 5)).astype(np.float32)
    files = {}
    for storage, make in (("csr", csr_matrix), ("csc", csc_matrix), ("dense", np.array)):
        adata = ad.AnnData(make(values), layers={"counts": csr_matrix(values)}, obsm={"X_hvg": values[:, :2]})
        adata.raw = adata.copy()
        adata.obs["line"] = np.array(["A", "B"])[np.arange(12) % 2]
        adata.obs["line"] = adata.obs["line"].astype("category")
        adata.obs["depth"] = values.sum(axis=1)
        adata.obs["name"] = [f"n{number}" for number in range(12)]
        adata.uns = {"log1p": {"base": None}, "other": {"more": np.arange(3)}}
        adata.write_h5ad(folder / f"{storage}.h5ad")
        adata.write_zarr(folder / f"{storage}.zarr")
        files |= {(storage, name): folder / f"{storage}.{name}" for name in ("h5ad", "zarr")}
        files[storage, "web"] = web.url(files[storage, "zarr"])
    return files


@pytest.fixture
def damaged(originals, tmp_path, web):
    """Change a copy of a file and return its path."""

    def make(change, kind="h5ad", storage="csr"):
        form = "h5ad" if kind == "h5ad" else "zarr"
        path = tmp_path / f"a.{form}"
        shutil.rmtree(path, ignore_errors=True)
        (shutil.copytree if form == "zarr" else shutil.copyfile)(originals[storage, form], path)
        if form == "zarr":
            change(zarr.open_group(str(path), mode="r+"))
            zarr.consolidate_metadata(str(path))
        else:
            with h5py.File(path, "r+") as file:
                change(file)
        return web.url(path) if kind == "web" else path

    return make


def put(name, values, **attributes):
    """Replace an array, keeping what its attributes say but for those given."""

    def change(file):
        kept = dict(file[name].attrs) if name in file else {}
        if name in file:
            del file[name]
        file[name] = np.asarray(values(file) if callable(values) else values)
        file[name].attrs.update(kept | attributes)

    return change


def set_attribute(name, value):
    return lambda file: file["X"].attrs.update({name: value})


def as_group(frame, name, **attributes):
    """Put an empty group where an array was."""

    def edit(file):
        del file[frame][name]
        file[frame].create_group(name).attrs.update(attributes)

    return edit


def edit_array(name, edit):
    def change(file):
        values = file[name][:]
        put(name, edit(values))(file)

    return change


def replaced(at, value):
    def edit(values):
        values = values.copy()
        values[at] = value
        return values

    return edit


def read_everything(path, matrix="X"):
    with CheckedAnnData(path) as file:
        found = file.matrix(matrix)
        values = found.whole()
        if found.layout != "csc":
            found.rows(2, 7)
        labels = [file.column("obs", name) for name in file.columns("obs")]
        return values, labels, file.index("obs"), file.index("var")


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("storage", ["csr", "csc", "dense"])
@pytest.mark.parametrize("matrix", ["X", "layers/counts", "raw/X", "obsm/X_hvg"])
def test_a_whole_file_is_read(originals, kind, storage, matrix):
    values, labels, cells, _ = read_everything(originals[storage, kind], matrix)
    dense = values if isinstance(values, np.ndarray) else values.toarray()
    expected = np.random.default_rng(0).poisson(0.7, size=(12, 5)).astype(np.float32)
    np.testing.assert_array_equal(dense, expected[:, :2] if matrix == "obsm/X_hvg" else expected)
    assert list(labels[0]) == ["A", "B"] * 6 and labels[1].tolist() == expected.sum(axis=1).tolist()
    assert list(cells) == [str(number) for number in range(12)]


POINTERS = {
    "half way": (
        lambda p: np.where(np.arange(len(p)) > len(p) // 2, p[len(p) // 2], p),
        r"must end at \d+, the number",
    ),
    "beyond": (replaced(-1, 10**6), r"must end at \d+, the number of stored values, found 1000000"),
    "not from 0": (replaced(0, 1), "must rise from 0, found 1 first"),
    "negative": (replaced(2, -7), "must rise from 0, found -7 after"),
    "falling": (lambda p: np.concatenate([p[:2], p[-1:], p[3:]]), "must rise from 0, found"),
    "fractions": (lambda p: p.astype(np.float64), "must hold integers, found the type float64"),
    "too short": (lambda p: p[:-1], r"must have \d+ entries, found \d+"),
    "huge unsigned": (lambda p: replaced(1, 2**63 + 5)(p.astype(np.uint64)), "must rise from 0, found -"),
}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    ("storage", "matrix"), [("csr", "X"), ("csc", "X"), ("dense", "layers/counts"), ("csc", "raw/X")]
)
@pytest.mark.parametrize("fault", POINTERS)
def test_index_pointers_that_lead_astray_are_refused(damaged, kind, storage, matrix, fault):
    edit, message = POINTERS[fault]
    path = damaged(edit_array(f"{matrix}/indptr", edit), kind, storage)
    with pytest.raises(InputError, match=f"{matrix}/indptr {message}") as error:
        read_everything(path, matrix)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int32", "int64", "uint64"])
def test_index_pointers_of_any_width_are_read(damaged, dtype):
    path = damaged(edit_array("X/indptr", lambda values: values.astype(dtype)))
    assert read_everything(path)[0].nnz > 10


FAULTS = {
    "indices beyond": (edit_array("X/indices", replaced(3, 5)), "X has entries outside its 5 genes"),
    "indices below": (edit_array("X/indices", replaced(3, -1)), "X has entries outside its 5 genes"),
    "indices of fractions": (edit_array("X/indices", lambda v: v.astype(float)), "X/indices must hold integers"),
    "indices too few": (edit_array("X/indices", lambda v: v[:-1]), r"X/indices must have \d+ entries"),
    "values too few": (edit_array("X/data", lambda v: v[:-1]), r"X/indices must have \d+ entries"),
    "complex": (edit_array("X/data", lambda v: v.astype(complex)), "X/data must hold real .*, found the type complex"),
    "text": (edit_array("X/data", lambda v: v.astype("S4")), "X/data must hold real numbers"),
    "two axes": (edit_array("X/data", lambda v: v.reshape(1, -1)), "X/data must have 1 axes"),
    "no values": (lambda file: file["X"].__delitem__("data"), "X must have data, indices and indptr .* found no data"),
    "another format": (set_attribute("encoding-type", "coo_matrix"), "X must be dense, CSR or CSC"),
    "no encoding": (lambda file: file["X"].attrs.__delitem__("encoding-type"), "X must be dense, CSR or CSC"),
    "no shape": (lambda file: file["X"].attrs.__delitem__("shape"), "X must declare a shape"),
    "a text as shape": (set_attribute("shape", "12x5"), "X must declare a shape"),
    "more rows": (set_attribute("shape", [13, 5]), "X must have a row for each of the 12 cells"),
    "fewer genes": (set_attribute("shape", [12, 4]), "X must have a column for each of the 5 genes"),
    "a group as codes": (as_group("obs/line", "codes"), "must be an array"),
    "codes beyond": (edit_array("obs/line/codes", replaced(4, 2)), "codes must be -1 or .* of 2 categories, found 2"),
    "codes below": (edit_array("obs/line/codes", replaced(4, -2)), "obs/line/codes must be -1 or .*, found -2"),
    "codes too few": (edit_array("obs/line/codes", lambda v: v[:-1]), "obs/line/codes must have 12 entries, found 11"),
    "codes of fractions": (edit_array("obs/line/codes", lambda v: v.astype(float)), "line/codes must hold integers"),
    "a longer column": (put("obs/depth", np.zeros(13)), "obs/depth must have 12 entries, found 13"),
    "a complex column": (put("obs/depth", np.zeros(12, dtype=complex)), "obs/depth must hold text or real numbers"),
    "unknown column": (
        as_group("obs", "depth", **{"encoding-type": "awkward-array"}),
        "obs/depth must hold text, numbers or categories, found a group of the encoding 'awkward-array'",
    ),
    "no index": (lambda file: file["obs"].attrs.update({"_index": "nowhere"}), "obs must name its rows in 'nowhere'"),
    "a shorter index": (put("obs/_index", np.array([b"a", b"b"])), "X must have a row for each of the 2 cells"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_part_that_does_not_fit_is_refused(damaged, kind, fault):
    change, message = FAULTS[fault]
    path = damaged(change, kind)
    with pytest.raises(InputError, match=message) as error:
        read_everything(path)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "values", [np.ones((12, 4)), np.ones((11, 5)), np.ones(12), np.ones((12, 5, 1)), np.ones((12, 5)) * 1j]
)
def test_a_dense_matrix_of_another_shape_or_type_is_refused(damaged, values):
    path = damaged(put("X", values), storage="dense")
    with pytest.raises(InputError, match="X must have|X must hold real numbers"):
        read_everything(path)


def declare(name, shape, dtype):
    def change(file):
        del file[name]
        chunks = tuple(min(length, 1 << 16) for length in shape)
        file.create_dataset(name, shape=shape, dtype=dtype, chunks=chunks, compression=None)

    return change


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    ("name", "shape"),
    [("obs/line/codes", (10**10,)), ("obs/_index", (10**9,)), ("X", (10**9, 5)), ("uns/other/more", (10**10,))],
)
def test_sizes_that_nothing_stands_behind_are_refused_before_they_are_read(damaged, kind, name, shape):
    path = damaged(declare(name, shape, "i8"), kind, storage="dense")
    with pytest.raises(InputError, match=f"{name} (declares the shape|must have)"):
        read_everything(path)
        with CheckedAnnData(path) as file:
            file.element("uns/other")


def test_what_does_not_fit_in_memory_is_refused(originals, monkeypatch):
    monkeypatch.setattr("bionemo.scale.files.anndata.anndata_node._free_memory", lambda: 1 << 7)
    with pytest.raises(InputError, match=r"X has the shape .* needs .* GiB of memory, found .* free"):
        read_everything(originals["dense", "h5ad"])


@pytest.mark.parametrize(
    ("link", "message"),
    [
        (h5py.SoftLink("/nowhere"), "is a link to /nowhere, which leads nowhere"),
        (h5py.SoftLink("/obs/name"), "is a link to /obs/name, which leads nowhere"),
        (h5py.ExternalLink("missing.h5", "/x"), "is a link to /x in the file missing.h5, which cannot be opened"),
    ],
    ids=["soft", "cyclic", "external"],
)
def test_links_that_lead_nowhere_are_refused(damaged, link, message):
    def change(file):
        del file["obs/name"]
        file["obs/name"] = link

    with pytest.raises(InputError, match=f"obs/name {message}"):
        read_everything(damaged(change))


def test_links_that_lead_somewhere_are_followed(damaged, originals, tmp_path):
    shutil.copyfile(originals["csr", "h5ad"], tmp_path / "other.h5ad")

    def change(file):
        del file["X"], file["obs/name"]
        file["X"] = h5py.ExternalLink("other.h5ad", "/X")
        file["obs/name"] = h5py.SoftLink("/obs/line")

    values, labels, *_ = read_everything(damaged(change))
    assert (values != read_everything(originals["csr", "h5ad"])[0]).nnz == 0 and list(labels[2]) == ["A", "B"] * 6


def test_a_group_that_holds_itself_is_refused(damaged):
    def change(file):
        file["uns/other/again"] = file["uns"]

    with CheckedAnnData(damaged(change)) as file, pytest.raises(InputError, match="nested more than 8 groups deep"):
        file.element("uns/other")


def test_text_that_cannot_be_decoded_is_refused(damaged):
    path = damaged(put("obs/name", np.array([b"\xff\xfe"] * 12, dtype=object), **{"encoding-type": "string-array"}))
    with pytest.raises(InputError, match="obs/name cannot be read: .*decode"):
        read_everything(path)


@pytest.mark.parametrize("key", ["/uns/other/more", "../uns", "line/codes", "", "."])
def test_keys_do_not_leave_their_table(originals, key):
    with CheckedAnnData(originals["csr", "h5ad"]) as file, pytest.raises(InputError, match="obs has no column"):
        file.column("obs", key)


def test_parts_that_nobody_needs_may_be_of_any_format(damaged, originals):
    def change(file):
        file["uns/strange"] = np.arange(3)
        file["uns/strange"].attrs["encoding-type"] = "of tomorrow"
        file.create_group("obs/strange").attrs["encoding-type"] = "of tomorrow"
        file["obsm/strange"] = h5py.SoftLink("/nowhere")

    with CheckedAnnData(damaged(change)) as file:
        assert (file.matrix("X").whole() != read_everything(originals["csr", "h5ad"])[0]).nnz == 0
        assert "strange" in file.columns("obs") and file.column("obs", "depth").sum() > 10
        with pytest.raises(InputError, match="uns/strange cannot be read"):
            file.element("uns/strange")


@pytest.mark.parametrize("kind", FORMATS)
def test_facts_are_a_group_and_numbers_an_array(damaged, originals, kind):
    with CheckedAnnData(originals["csr", kind]) as file:
        assert list(file.facts("uns/other")) == ["more"] and file.facts("uns/nothing") == {}
        assert file.numbers("uns/other/more").tolist() == [0, 1, 2]
        with pytest.raises(InputError, match="uns/other/more must be a group, found ndarray"):
            file.facts("uns/other/more")
        for name in ("uns/other", "uns/nothing"):
            with pytest.raises(InputError, match=f"{name} must hold numbers, found "):
                file.numbers(name)


@pytest.mark.parametrize("length", ["../x", -3, 1.5, None])
def test_a_shape_in_zarr_that_is_none_is_refused(damaged, length):
    path = damaged(lambda file: None, kind="zarr")
    described = path / "var" / "_index" / ".zarray"
    described.write_text(json.dumps(json.loads(described.read_text()) | {"shape": [length]}))
    with pytest.raises(InputError, match="var/_index"):
        read_everything(path)


@pytest.mark.parametrize("kind", FORMATS)
def test_null_is_nothing(originals, kind):
    with CheckedAnnData(originals["csr", kind]) as file:
        assert file.element("uns/log1p/base") is None and file.element("uns/nothing/here") is None


def test_a_zipped_zarr_store_is_read(originals, tmp_path):
    archive = zarr.ZipStore(str(tmp_path / "a.zarr.zip"), mode="w")
    zarr.copy_store(zarr.DirectoryStore(str(originals["csr", "zarr"])), archive)
    archive.close()
    values, labels, *_ = read_everything(tmp_path / "a.zarr.zip")
    assert (values != read_everything(originals["csr", "zarr"])[0]).nnz == 0 and list(labels[0]) == ["A", "B"] * 6


def test_a_zip_file_of_something_else_is_refused(tmp_path):
    shutil.make_archive(str(tmp_path / "a"), "zip", tmp_path)
    with pytest.raises(InputError, match=r"a.zip: expected an h5ad file or a zarr store, found"):
        CheckedAnnData(tmp_path / "a.zip")


@pytest.mark.skipif(int(zarr.__version__.split(".")[0]) > 2, reason="zarr 3 reads it")
def test_zarr_format_3_is_refused_with_a_way_out(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group"}')
    with pytest.raises(
        InputError, match=r"zarr format 3, which zarr 2.* cannot read; write it with .*zarr_write_format = 2"
    ):
        CheckedAnnData(tmp_path / "a.zarr")


@pytest.mark.skipif(h5py.h5z.filter_avail(32015), reason="the filter is installed")
def test_a_missing_filter_is_named(damaged):
    def change(file):
        del file["obs/depth"]
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_chunk((12,))
        plan.set_filter(32015, h5py.h5z.FLAG_OPTIONAL)
        space = h5py.h5s.create_simple((12,))
        h5py.h5d.create(file["obs"].id, b"depth", h5py.h5t.IEEE_F64LE, space, plan)

    with pytest.raises(InputError, match=r"obs/depth is compressed by .* 32015 .*zstd.*hdf5plugin, or write .*gzip"):
        read_everything(damaged(change))


@pytest.mark.parametrize(("name", "piece"), [("X/data", "0"), ("X/indptr", "0"), ("obs/_index", "0")])
def test_pieces_that_are_missing_from_zarr_are_no_zeros(damaged, name, piece):
    path = damaged(lambda root: None, kind="zarr")
    (path / name / piece).unlink()
    with pytest.raises(InputError, match=f"{name} must be whole, found 0 of its 1 pieces"):
        read_everything(path)


def test_categories_without_their_encoding_are_refused(damaged):
    path = damaged(lambda root: None, kind="zarr")
    (path / "obs" / "line" / ".zattrs").unlink()
    with pytest.raises(InputError, match="obs/line must be a column of"):
        read_everything(path)
