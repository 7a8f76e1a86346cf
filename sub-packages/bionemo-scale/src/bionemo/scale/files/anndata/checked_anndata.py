# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Opens every AnnData file (h5ad, zarr, zipped zarr), and checks what it declares before it reads it.

Only what is asked for is opened, so that a part of the file that nobody needs may be of any format.
"""

import zipfile
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
import zarr
from anndata.io import read_elem

from bionemo.scale.files.anndata.anndata_node import NUMBERS, TEXT, Node
from bionemo.scale.files.anndata.matrix_on_disk import MatrixOnDisk, open_matrix
from bionemo.scale.files.anndata.remote import open_url
from bionemo.scale.files.provenance import version_of
from bionemo.scale.files.suggest import suggest
from bionemo.scale.files.url import PathOrUrl, Url
from bionemo.scale.types import InputError


_SLOTS = {"layers": "layer", "raw": "raw matrix", "obsm": "obsm matrix"}


class CheckedAnnData:
    """An open AnnData on disk.

    Args:
        path: An h5ad file, the folder of a zarr store, or a zip file of one; or the URL of one of the first two.

    Raises:
        InputError: It is none of these, or has no obs and no var.
    """

    def __init__(self, path: PathOrUrl) -> None:
        self.path = path
        self._file, self._archive = _open(path)
        try:
            self._root = Node(file=path, name="", raw=self._file)
            self.num_cells = self._num_rows("obs")
            self.num_genes = self._num_rows("var")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "CheckedAnnData":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if isinstance(self._file, h5py.File):
            self._file.close()
        if self._archive is not None:
            self._archive.close()

    def names(self, slot: str) -> list[str]:
        """Return the names in a group; none where there is no such group."""
        node = self._root.find(slot)
        return [] if node is None else node.members()

    def columns(self, frame: str) -> list[str]:
        """Return the columns of ``obs``, ``var`` or ``raw/var`` in the order of the table, without its index."""
        index = self.index_name(frame)
        names = [name for name in self.names(frame) if name not in ("__categories", index)]
        order = {
            str(name): position
            for position, name in enumerate(np.ravel(self._frame(frame).attribute("column-order", ())))
        }
        return sorted(names, key=lambda name: order.get(name, len(order)))

    def index_name(self, frame: str) -> str:
        """Return what the index of a frame is called in the file, by which :meth:`column` knows it too."""
        return self._index(frame).name.rpartition("/")[2]

    def index(self, frame: str) -> Any:
        """Return the names of the rows of a frame."""
        return self._values(frame, self._index(frame))

    def index_node(self, frame: str) -> Node:
        """Return what holds the names of the rows of a frame, to be read in pieces."""
        return self._index(frame)

    def column(self, frame: str, key: str) -> Any:
        """Return a column as AnnData reads it: an array, or an extension array of pandas.

        Raises:
            InputError: There is none, or it is damaged, of another length, or no text and no real numbers.
        """
        columns = self.columns(frame)
        if key == self.index_name(frame):
            return self.index(frame)
        if key not in columns:
            raise InputError(f"{self.path}: {frame} has no column {key!r}; {suggest(key, columns)}")
        return self._read_column(frame, key)

    def _read_column(self, frame: str, key: str) -> Any:
        return self._values(frame, self._frame(frame).member(key))

    def element(self, name: str) -> Any:
        """Return anything small by its path, such as ``uns/log1p/base``; ``None`` where there is none, or null."""
        node = self._root.find(name)
        # zarr has no null of its own, and AnnData writes a number in its place.
        return None if node is None or node.encoding == "null" else node.element()

    def facts(self, name: str) -> dict[str, Any]:
        """Return a group of small things by its path; empty where there is none.

        Raises:
            InputError: It is no group.
        """
        found = self.element(name)
        if found is not None and not isinstance(found, dict):
            raise InputError(f"{self.path}: {name} must be a group, found {type(found).__name__}")
        return found or {}

    def numbers(self, name: str) -> np.ndarray:
        """Return an array of numbers by its path, such as ``varm/NAME``, as it is in the file.

        Raises:
            InputError: It is none.
        """
        found = self.element(name)
        array = np.asarray(None if isinstance(found, dict) else found)
        if array.dtype.kind not in NUMBERS:
            raise InputError(f"{self.path}: {name} must hold numbers, found {type(found).__name__}")
        return array

    def matrix(self, name: str) -> MatrixOnDisk:
        """Return an expression matrix: ``X``, ``layers/NAME``, ``raw/X`` or ``obsm/NAME``.

        Raises:
            InputError: There is none, or it is damaged or of another format; see :func:`open_matrix`.
        """
        slot, _, key = name.partition("/")
        if name != "X" and (slot not in _SLOTS or not key or (slot == "raw" and key != "X")):
            raise InputError(f"{self.path}: expected a matrix X, layers/NAME, raw/X or obsm/NAME, found {name!r}")
        matrix = self._open_matrix(slot, key)
        if matrix is None and name == "X":
            raise InputError(f"{self.path}: expected an expression matrix X, found none; {self._other_matrices()}")
        if matrix is None:
            known = [other for other in self.names(slot) if slot != "raw"]
            raise InputError(f"{self.path}: no {_SLOTS[slot]} {key!r}; {suggest(key, known)}")
        if slot != "obsm":
            num_genes = self._num_rows("raw/var") if slot == "raw" else self.num_genes
            if matrix.shape[1] != num_genes:
                frame = "raw/var" if slot == "raw" else "var"
                raise matrix.node.refusal(
                    f"must have a column for each of the {num_genes} genes in {frame}, found {matrix.shape[1]}"
                )
        return matrix

    def _open_matrix(self, slot: str, key: str) -> MatrixOnDisk | None:
        """Return a matrix of a slot, or X; ``None`` where there is none."""
        folder = self._root.get(slot)
        node = folder if not key or folder is None else folder.get(key)
        return None if node is None else open_matrix(node, self.num_cells)

    def _other_matrices(self) -> str:
        names = [f"{slot}/{key}" for slot in ("layers", "obsm") for key in self.names(slot)]
        return suggest("X", names + (["raw/X"] if "X" in self.names("raw") else []))

    def _frame(self, frame: str) -> Node:
        node = self._root.find(frame)
        if node is None or not node.is_folder:
            raise InputError(f"{self.path}: not an AnnData of version 0.7 or newer, expected a group {frame!r} in it")
        return node

    def _index(self, frame: str) -> Node:
        node = self._frame(frame)
        name = str(node.attribute("_index", "_index"))
        index = node.get(name)
        if index is None:
            raise node.refusal(f"must name its rows in {name!r}, found {', '.join(node.members()[:5]) or 'nothing'}")
        return index

    def _num_rows(self, frame: str) -> int:
        node = self._index(frame)
        part = next((part for part in map(node.get, ("codes", "values")) if part is not None), node)
        return int(part.array(kinds=TEXT + "iu").shape[0])

    def _values(self, frame: str, node: Node) -> Any:
        length = self._num_rows(frame)
        if "__categories" in self.names(frame):
            return self._old_values(frame, node, length)
        _check_column(node, length)
        with node.reading():
            values = read_elem(node.raw)
        if np.shape(values) != (length,):
            # Without its encoding, a group of codes and categories is a mapping.
            raise node.refusal(f"must be a column of {length} values, found a group of the encoding {node.encoding!r}")
        return values

    def _old_values(self, frame: str, node: Node, length: int) -> Any:
        """Read a column of anndata 0.7, which keeps categories apart: reading the whole table puts them together."""
        folder, key = self._frame(frame), node.name.rpartition("/")[2]
        for name in self.columns(frame):
            _check_column(folder.member(name), length)
        categories = folder.member("__categories")
        for name in categories.members():
            categories.member(name).array()
        with folder.reading():
            table = read_elem(folder.raw)
            return table[key].array if key in table else table.index.to_numpy()


def _check_column(node: Node, length: int) -> None:
    if not node.is_folder:
        node.array(length=length)
        node.check_memory()
        return
    parts = {name: node.get(name) for name in ("codes", "categories", "values", "mask")}
    if parts["codes"] is not None and parts["categories"] is not None:
        codes, categories = parts["codes"].array(kinds="iu", length=length), parts["categories"].array()
        parts["codes"].check_memory()
        parts["categories"].check_memory()
        _check_codes(parts["codes"], codes.shape[0], categories.shape[0])
    elif parts["values"] is not None and parts["mask"] is not None:
        parts["mask"].array(length=length)
        parts["values"].array(length=length)
        parts["values"].check_memory()
    else:
        raise node.refusal(f"must hold text, numbers or categories, found a group of the encoding {node.encoding!r}")


def _check_codes(node: Node, length: int, num_categories: int) -> None:
    codes = node.read()
    if length and not -1 <= codes.min() <= codes.max() < num_categories:
        wrong = codes.max() if codes.max() >= num_categories else codes.min()
        raise node.refusal(f"must be -1 or the number of one of {num_categories} categories, found {wrong}")


def _open(path: PathOrUrl) -> tuple[h5py.File | zarr.Group, Any]:
    """Return the open file, and for a zip file the archive to close after it."""
    if isinstance(path, Url):
        return open_url(path)
    if path.is_dir():
        return _open_zarr(path, str(path)), None
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if zipfile.is_zipfile(path):
        archive = _archive(path)
        return _open_zarr(path, archive), archive
    if not h5py.is_hdf5(path):
        raise InputError(f"{path}: expected an h5ad file (HDF5), found something else")
    try:
        return h5py.File(path, "r"), None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: the file cannot be opened as HDF5: {error}") from error


def _archive(path: Path) -> Any:
    # zarr 3 moved it.
    store = getattr(zarr, "ZipStore", None) or zarr.storage.ZipStore
    try:
        return store(str(path), mode="r")
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: expected an h5ad file or a zipped zarr store, found a zip file: {error}") from error


def _open_zarr(path: Path, store: Any) -> zarr.Group:
    is_new = (path / "zarr.json").is_file() or (not isinstance(store, str) and "zarr.json" in store)
    if is_new and int(zarr.__version__.split(".")[0]) < 3:
        raise InputError(
            f"{path}: zarr format 3, which zarr {version_of('zarr')} cannot read; write it with "
            "anndata.settings.zarr_write_format = 2, or as h5ad"
        )
    try:
        return zarr.open_group(store, mode="r")
    except Exception as error:
        # zarr has its own exceptions, some of them no ValueError, beside those of JSON and of text.
        raise InputError(f"{path}: expected an h5ad file or a zarr store, found a folder: {error}") from error
