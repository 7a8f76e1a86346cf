# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What lies at a URL is read as the same file here, and a server that fails is no empty matrix.

test_checked_anndata.py has the damaged stores.
"""

import json
import socket
import subprocess
import sys

import anndata as ad
import fsspec
import h5py
import numpy as np
import pytest
import zarr
from scipy.sparse import csr_matrix

from bionemo.scale.files.anndata import remote
from bionemo.scale.files.anndata.anndata_file import H5adSource
from bionemo.scale.files.anndata.checked_anndata import CheckedAnnData
from bionemo.scale.files.provenance import hash_file, size_of
from bionemo.scale.files.url import ZARR_METADATA, Url
from bionemo.scale.types import InputError


pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture
def folder(tmp_path):
    """The same cells as zarr and h5ad, with names that a URL would take apart."""
    values = np.random.default_rng(0).poisson(0.7, size=(300, 50)).astype(np.float32)
    adata = ad.AnnData(csr_matrix(values), layers={"dense": values})
    adata.var_names = [f"gene{number}" for number in range(50)]
    adata.obs["a #1? 50% [uM]"] = np.array(["A", "B"])[np.arange(300) % 2]
    adata.obs["a #1? 50% [uM]"] = adata.obs["a #1? 50% [uM]"].astype("category")
    adata.write_zarr(tmp_path / "a.zarr")
    layers = zarr.open_group(str(tmp_path / "a.zarr"))["layers"]
    attributes = dict(layers["dense"].attrs)
    layers.create_dataset("dense", data=values, chunks=(64, 50), overwrite=True).attrs.update(attributes)
    zarr.consolidate_metadata(str(tmp_path / "a.zarr"))
    adata.write_h5ad(tmp_path / "a.h5ad", compression="gzip")
    return tmp_path


def read(path, matrix="X"):
    with H5adSource(path, matrix=matrix) as source:
        rows = [chunk.matrix.toarray() for chunk in source.chunks()]
        names = (source.cell_names().tolist(), source.genes.tolist())
        return np.concatenate(rows), source.labels("a #1? 50% [uM]").of_cells().tolist(), *names


def same(one, other):
    return np.array_equal(one[0], other[0]) and one[1:] == other[1:]


@pytest.mark.parametrize("name", ["a.zarr", "a.h5ad"])
@pytest.mark.parametrize("matrix", ["X", "layers/dense"])
def test_the_web_holds_what_the_disk_holds(folder, web, name, matrix, monkeypatch):
    monkeypatch.setattr("bionemo.scale.files.anndata.remote._BLOCK", 1 << 10)
    assert same(read(web.url(folder / name), matrix), read(folder / "a.h5ad", matrix))


def test_only_what_is_needed_is_asked_for(folder, web):
    web.asked.clear()
    read(web.url(folder / "a.zarr"))
    assert any("/X/data/" in path for path in web.asked) and not any("/layers/" in path for path in web.asked)


@pytest.mark.parametrize("consolidated", [True, False])
def test_a_file_system_that_lists_its_files_needs_no_file_that_describes_all(folder, consolidated):
    files = fsspec.filesystem("memory")
    files.put(str(folder / "a.zarr"), "/bucket/a.zarr", recursive=True)
    if not consolidated:
        files.rm("/bucket/a.zarr/.zmetadata")
    try:
        assert same(read(Url("memory://bucket/a.zarr")), read(folder / "a.zarr"))
    finally:
        files.rm("/bucket", recursive=True)


def test_a_bucket_that_may_not_be_listed_needs_it(folder, monkeypatch):
    def denied(*_, **__):
        raise PermissionError("Access Denied")

    files = fsspec.filesystem("memory")
    files.put(str(folder / "a.zarr"), "/bucket/a.zarr", recursive=True)
    url = Url("memory://bucket/a.zarr")
    monkeypatch.setattr(type(files), "find", denied)
    try:
        before = hash_file(url)
        files.pipe("/bucket/a.zarr/X/data/0", b"another length")
        assert hash_file(url) != before and size_of(url) > 0
        files.rm_file("/bucket/a.zarr/.zmetadata")
        with pytest.raises(
            InputError, match="^memory://bucket/a.zarr: expected files that may be listed, or .zmetadata"
        ):
            hash_file(url)
    finally:
        monkeypatch.undo()
        files.rm("/bucket", recursive=True)


def test_a_web_server_needs_it(folder, web):
    (folder / "a.zarr" / ".zmetadata").unlink()
    with pytest.raises(InputError, match="a.zarr: expected .zmetadata, or .* for a web server lists no files"):
        CheckedAnnData(web.url(folder / "a.zarr"))


@pytest.mark.parametrize("piece", ["X/data/0", "X/indices/0", "X/indptr/0", "obs/_index/0", "var/_index/0"])
def test_a_piece_that_is_missing_is_not_zeros(folder, web, piece):
    (folder / "a.zarr" / piece).unlink()
    name, _, key = piece.rpartition("/")
    with pytest.raises(InputError, match=f"^{web.url(folder / 'a.zarr')}: {name} must be whole, found no piece {key}"):
        read(web.url(folder / "a.zarr"))


def test_pieces_that_writers_leave_out_are_zeros(folder, web):
    (folder / "a.zarr" / "layers" / "dense" / "1.0").unlink()
    for path in (folder / "a.zarr", web.url(folder / "a.zarr")):
        values = read(path, "layers/dense")[0]
        assert not values[64:128].any() and values[:64].any() and values[128:].any()


@pytest.mark.parametrize(
    "piece", ["layers/dense/1.0", "obs/a%20%231%3F%2050%25%20%5BuM%5D/codes/0", "X/data/0", ".zmetadata"]
)
def test_a_server_that_fails_is_an_error_and_no_zeros(folder, web, piece, monkeypatch):
    monkeypatch.setattr(web, "failing", {f"a.zarr/{piece}"})
    url = web.url(folder / "a.zarr")
    with pytest.raises(InputError, match=f"^{url}: .*503") as error:
        read(url, "layers/dense" if piece.startswith("layers") else "X")
    assert "\n" not in str(error.value)


def test_a_server_that_fails_is_no_other_version(folder, web, monkeypatch):
    url = web.url(folder / "a.zarr")
    monkeypatch.setattr(web, "failing", {"a.zarr/X/data/0"})
    with pytest.raises(InputError, match=f"^{url}: cannot be read: 503"):
        hash_file(url)


def test_links_out_of_a_file_on_the_web_are_not_followed(folder, web):
    with h5py.File(folder / "a.h5ad", "r+") as file:
        del file["layers/dense"]
        file["layers/dense"] = h5py.ExternalLink(str(folder / "a.h5ad"), "/X")
        layout = h5py.VirtualLayout(shape=(300, 50), dtype="f4")
        layout[:] = h5py.VirtualSource(str(folder / "a.h5ad"), "X", shape=(300, 50))
        file.create_virtual_dataset("layers/virtual", layout)
    for layer, line in (("dense", "is a link to /X in the file"), ("virtual", "has its values in other files")):
        with pytest.raises(InputError, match=f"layers/{layer} {line}.*; expected a file that holds all it needs"):
            read(web.url(folder / "a.h5ad"), f"layers/{layer}")


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("none.zarr", None, "no such file, and no zarr store"),
        ("a.txt", b"text", r"expected a zarr store or an h5ad file \(HDF5\), found something else"),
        ("a.zip", b"PK\x03\x04text", "found a zip file; give the URL of the store as a folder"),
        ("empty.h5ad", b"", "found something else"),
        ("a.zarr/X", None, "expected .zmetadata"),
    ],
)
def test_something_else_is_refused(folder, web, name, content, line):
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=f"^{web.url(folder / name)}: .*{line}"):
        CheckedAnnData(web.url(folder / name))


@pytest.mark.parametrize("missing", [403, 401, 410, 200])
@pytest.mark.parametrize("name", ["a.zarr", "a.h5ad"])
def test_servers_answer_as_they_like_for_files_that_are_not_there(folder, web, name, missing, monkeypatch):
    """A bucket that may not be listed denies them, and a web application sends its page."""
    (folder / "a.zarr" / ".zgroup").unlink()
    monkeypatch.setattr(web, "missing", missing)
    url = web.url(folder / name)
    assert same(read(url), read(folder / "a.h5ad")) and len(hash_file(url)) == 64


def test_an_h5ad_is_read_where_the_server_fails_below_files(folder, web, monkeypatch):
    monkeypatch.setattr(web, "failing", {f"a.h5ad/{name}" for name in ZARR_METADATA})
    assert same(read(web.url(folder / "a.h5ad")), read(folder / "a.h5ad"))


@pytest.mark.parametrize(
    ("missing", "line"),
    [
        (200, r"expected a zarr store or an h5ad file \(HDF5\), found a web page"),
        (403, "cannot be read: 403, message='Forbidden'"),
        (404, "no such file, and no zarr store"),
    ],
)
def test_nothing_is_refused_as_the_server_says_it(folder, web, missing, line, monkeypatch):
    monkeypatch.setattr(web, "missing", missing)
    with pytest.raises(InputError, match=f"^{web.url(folder / 'none')}: {line}") as refused:
        CheckedAnnData(web.url(folder / "none"))
    assert "\n" not in str(refused.value)


def test_damaged_metadata_is_refused(folder, web):
    (folder / "a.zarr" / ".zmetadata").write_text("nonsense")
    with pytest.raises(InputError, match=r"a.zarr: .zmetadata must be JSON: Expecting value"):
        CheckedAnnData(web.url(folder / "a.zarr"))


def test_a_server_that_is_not_there_is_refused():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = Url(f"http://127.0.0.1:{free.getsockname()[1]}/a.zarr")
        with pytest.raises(InputError, match=f"^{url}: cannot be read: Cannot connect to host"):
            CheckedAnnData(url)


@pytest.mark.parametrize("consolidated", [{}, {"consolidated_metadata": None}])
def test_zarr_format_3_must_describe_all_its_arrays_on_the_web(folder, web, consolidated, monkeypatch):
    monkeypatch.setattr(remote, "version_of", lambda package: "3.1.0")
    (folder / "a.zarr" / "zarr.json").write_text(json.dumps({"zarr_format": 3, "node_type": "group", **consolidated}))
    with pytest.raises(InputError, match=r"a.zarr: expected .zmetadata, or consolidated_metadata in zarr.json"):
        CheckedAnnData(web.url(folder / "a.zarr"))


def test_an_h5ad_that_is_open_when_python_ends_is_closed(folder, web):
    """As in a command, which searches no objects at its end."""
    script = (
        "import gc, sys\n"
        "from bionemo.scale.files.anndata.checked_anndata import CheckedAnnData\n"
        "from bionemo.scale.files.url import Url\n"
        "file = CheckedAnnData(Url(sys.argv[1]))\n"
        "file.itself = file\n"
        "gc.freeze()\n"
    )
    url = str(web.url(folder / "a.h5ad"))
    done = subprocess.run([sys.executable, "-c", script, url], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(int(zarr.__version__.split(".")[0]) > 2, reason="zarr 3 reads it")
def test_zarr_format_3_is_refused_with_a_way_out(folder, web):
    (folder / "b.zarr").mkdir()
    (folder / "b.zarr" / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group"}')
    with pytest.raises(InputError, match=r"zarr format 3, which zarr 2.* cannot read; write it with"):
        CheckedAnnData(web.url(folder / "b.zarr"))
