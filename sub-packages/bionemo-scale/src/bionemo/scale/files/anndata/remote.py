# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""AnnData at a URL: zarr stores and h5ad files are read where they lie, piece by piece, and nothing is kept."""

import atexit
import math
from importlib import import_module
from typing import Any

import h5py
import numpy as np
import zarr

from bionemo.scale.files.provenance import version_of
from bionemo.scale.files.url import HDF5, WITHOUT_LISTS, Url, is_page
from bionemo.scale.types import InputError


_BLOCK = 1 << 22
"""Bytes of an h5ad that are fetched at once; the last 32 such blocks are kept in memory."""
_ZIP = b"PK"
_SAMPLED = 256
"""Pieces whose sizes stand for those of an array."""


def open_url(url: Url) -> tuple[h5py.File | zarr.Group, Any]:
    """Open what is at a URL.

    Returns:
        The open file, and for an h5ad the stream to close after it.

    Raises:
        InputError: There is nothing, nothing that is read, or it cannot be reached.
    """
    if url.is_dir():
        return _open_store(url), None
    if not url.is_file():
        raise InputError(f"{url}: no such file, and no zarr store (found no .zmetadata, zarr.json or .zgroup)")
    return _open_h5ad(url)


def _open_store(url: Url) -> zarr.Group:
    version = int(version_of("zarr").partition(".")[0])
    if version < 3 and url.metadata(".zmetadata") is None and url.metadata("zarr.json") is not None:
        raise InputError(
            f"{url}: zarr format 3, which zarr {version_of('zarr')} cannot read; write it with "
            "anndata.settings.zarr_write_format = 2"
        )
    if url.scheme in WITHOUT_LISTS and not _describes_all(url, version):
        raise InputError(
            f"{url}: expected .zmetadata, or consolidated_metadata in zarr.json, for a web server lists no files; "
            "zarr.consolidate_metadata writes it"
        )
    with url.reached():
        return import_module(f"bionemo.scale.files.anndata.remote_zarr{version}").open_store(url)


def _describes_all(url: Url, version: int) -> bool:
    """Return whether this version of zarr finds all arrays of a store in one file."""
    # It takes the newer format where a store has both.
    newer = url.metadata("zarr.json") if version > 2 else None
    if newer is not None:
        return bool(newer.get("consolidated_metadata"))
    return url.metadata(".zmetadata") is not None


def _open_h5ad(url: Url) -> tuple[h5py.File, Any]:
    with url.reached():
        stream = url.files.open(url.location(), "rb", cache_type="blockcache", block_size=_BLOCK)
        try:
            head = stream.read(len(HDF5))
            if head != HDF5:
                raise InputError(f"{url}: expected a zarr store or an h5ad file (HDF5), found {_other(head)}")
            stream.seek(0)
            return h5py.File(stream, "r"), stream
        except BaseException:
            stream.close()
            raise


def _other(head: bytes) -> str:
    if head.startswith(_ZIP):
        return "a zip file; give the URL of the store as a folder"
    return "a web page" if is_page(head) else "something else"


@atexit.register
def _close_all() -> None:
    """Close what is still open: when Python has ended, HDF5 would read through objects of it, and crash."""
    for file in h5py.h5f.get_obj_ids(types=h5py.h5f.OBJ_FILE):
        through_python = file.get_access_plist().get_driver() == h5py.h5fd.fileobj_driver
        if through_python and file.get_intent() == h5py.h5f.ACC_RDONLY:
            h5py.File(file).close()


def must_be_whole(array: zarr.Array) -> None:
    """Let no piece of an array at a URL be missing when it is read."""
    # With zarr 2 an array has its metadata from another store.
    store = array.chunk_store if hasattr(array, "chunk_store") else array.store
    store.whole.add(array.path)


def stored_bytes(url: Url, array: zarr.Array | h5py.Dataset) -> int:
    """Return about how many bytes an array has at its URL, by the sizes of some of its pieces.

    Raises:
        InputError: They cannot be asked for.
    """
    with url.reached():
        if isinstance(array, h5py.Dataset):
            return int(url.files.info(url.location())["size"] or 0)
    steps = getattr(array, "shards", None) or array.chunks
    counts = [-(-length // step) for length, step in zip(array.shape, steps, strict=True)]
    total = math.prod(counts)
    chosen = np.unique(np.linspace(0, total - 1, min(total, _SAMPLED)).astype(np.int64))
    places = zip(*np.unravel_index(chosen, counts), strict=True)
    sizes = url.sizes([f"{array.path}/{_piece(array, tuple(map(int, place)))}" for place in places])
    return math.ceil(sum(sizes) * total / len(chosen))


def _piece(array: zarr.Array, place: tuple[int, ...]) -> str:
    if hasattr(array, "metadata"):
        # zarr 3.
        return array.metadata.encode_chunk_key(place)
    return array._dimension_separator.join(map(str, place))
