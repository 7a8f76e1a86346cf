# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""AnnData files read in pieces: labels by column, expression by rows.

Nothing here holds a whole expression matrix; the rows of a CSC matrix are put together on disk.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import zarr
from anndata.io import read_elem
from scipy.sparse import csr_matrix

from bionemo.scale.files.csc_rows import rows_of_csc
from bionemo.scale.files.suggest import suggest
from bionemo.scale.types import InputError


CHUNK_ENTRIES = 1 << 22
"""Stored values read at once: some 50 MB in flight."""
MAX_CHUNK_CELLS = 1 << 16
_NAMES_AT_ONCE = 1 << 16

Folder = h5py.Group | zarr.Group
Array = h5py.Dataset | zarr.Array


@dataclass(frozen=True, kw_only=True)
class Labels:
    """One obs column: every cell has one of a few names."""

    codes: np.ndarray
    """[cells] int32, row in ``names``."""
    names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class CellChunk:
    """Consecutive cells of a file."""

    first_cell: int
    matrix: csr_matrix
    """[cells, genes], indices ascending in a row, no stored zeros."""


class H5adSource:
    """An open AnnData on disk: an h5ad file, or the folder of a zarr store.

    Args:
        path: File or folder.
        matrix: Expression to read: ``X``, ``layers/NAME``, ``raw/X`` or ``obsm/NAME``.
        gene_key: var column with the gene names; ``None`` is the index. The genes of ``raw/X`` are those of
            ``raw/var``; those of ``obsm/NAME`` are ``uns/hvg_names``, or the genes of ``var/highly_variable``.

    Raises:
        InputError: It is no AnnData, it has no such matrix, or its genes have missing or duplicated names.
    """

    def __init__(self, path: Path, *, matrix: str = "X", gene_key: str | None = None) -> None:
        self.path = path
        self.matrix_name = matrix
        self._file = _open(path)
        try:
            self._matrix = self._find_matrix(matrix)
            self.num_cells, self.num_genes = self._shape()
            self.genes = self._read_genes(gene_key)
            self._check_log_base()
        except BaseException:
            self._close()
            raise

    def __enter__(self) -> "H5adSource":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def labels(self, key: str) -> Labels:
        """Return a label column, whatever its type, as text.

        Raises:
            InputError: There is no such column, or some cells have no label.
        """
        values = self._column("obs", key)
        column = values if isinstance(values, pd.Categorical) else pd.Categorical(np.asarray(values, dtype=object))
        missing = int((column.codes < 0).sum())
        if missing:
            raise InputError(
                f"{self.path}: obs[{key!r}] must label every cell, found {missing} of {self.num_cells} without a "
                "label; remove those cells or name them"
            )
        names = tuple(str(name) for name in column.categories)
        return Labels(codes=column.codes.astype(np.int32), names=names)

    def has_column(self, key: str) -> bool:
        """Return whether obs has a column."""
        return key in self._columns("obs")

    def numbers(self, key: str) -> np.ndarray:
        """Return a numeric column, [cells] float64.

        Raises:
            InputError: There is no such column, or it holds no numbers.
        """
        values = self._column("obs", key)
        try:
            return np.asarray(values, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise InputError(f"{self.path}: obs[{key!r}] must hold numbers, found {values[0]!r}") from error

    def cell_names(self) -> np.ndarray:
        """Return the obs index, [cells] strings."""
        return np.asarray(self._column("obs", None), dtype=object).astype(str)

    def name_column(self) -> pa.ChunkedArray:
        """Return the obs index as one buffer of text: a fraction of what as many Python strings take."""
        node = self._file["obs"][self._index_name("obs")]
        if not isinstance(node, h5py.Dataset) or h5py.check_string_dtype(node.dtype) is None:
            return pa.chunked_array([pa.array(self.cell_names().tolist(), pa.string())])
        pieces = [node.asstr()[first : first + _NAMES_AT_ONCE] for first in range(0, len(node), _NAMES_AT_ONCE)]
        return pa.chunked_array([pa.array(piece, pa.string()) for piece in pieces], pa.string())

    def chunks(self, first_cell: int = 0) -> Iterator[CellChunk]:
        """Yield the cells in file order, a bounded number of stored values at a time.

        Args:
            first_cell: Where to start; from the first cell of a chunk on, the chunks are those of the whole.

        Raises:
            InputError: The matrix has entries outside its cells and genes.
            OSError: The file cannot be read.
        """
        try:
            if not _is_folder(self._matrix):
                yield from self._dense_chunks(self._matrix, first_cell)
            elif _sparse_format(self._matrix) == "csr":
                yield from self._csr_chunks(self._matrix, first_cell)
            else:
                shape = (self.num_cells, self.num_genes)
                for first, rows in rows_of_csc(self._matrix, shape, first_cell, CHUNK_ENTRIES, MAX_CHUNK_CELLS):
                    yield _chunk(first, rows)
        except (OSError, KeyError, RuntimeError) as error:
            # HDF5 has all three for a damaged file.
            raise OSError(f"{self.path}: {self.matrix_name} cannot be read: {error}") from error

    def _dense_chunks(self, matrix: Array, first_cell: int) -> Iterator[CellChunk]:
        step = max(1, min(MAX_CHUNK_CELLS, CHUNK_ENTRIES // max(1, self.num_genes)))
        for first in range(first_cell, self.num_cells, step):
            yield _chunk(first, csr_matrix(_widen(matrix[first : first + step])))

    def _csr_chunks(self, matrix: Folder, first_cell: int) -> Iterator[CellChunk]:
        indptr = matrix["indptr"][:].astype(np.int64)
        for first, last in _spans(indptr, first_cell):
            begin, end = int(indptr[first]), int(indptr[last])
            data, indices = _widen(matrix["data"][begin:end]), matrix["indices"][begin:end]
            if len(indices) and not 0 <= indices.min() <= indices.max() < self.num_genes:
                raise InputError(f"{self.path}: {self.matrix_name} has entries outside its {self.num_genes} genes")
            shape = (last - first, self.num_genes)
            yield _chunk(first, csr_matrix((data, indices, indptr[first : last + 1] - begin), shape=shape))

    def _close(self) -> None:
        if isinstance(self._file, h5py.File):
            self._file.close()

    def _find_matrix(self, name: str) -> Array | Folder:
        for frame in ("obs", "var"):
            if frame not in self._file or not _is_folder(self._file[frame]):
                raise InputError(
                    f"{self.path}: not an AnnData of version 0.7 or newer, expected a group {frame!r} in it"
                )
        if name == "X":
            if "X" not in self._file:
                raise InputError(f"{self.path}: expected an expression matrix X, found none; {self._other_matrices()}")
            return self._file["X"]
        place, _, key = name.partition("/")
        if place not in ("layers", "raw", "obsm") or not key or (place == "raw" and key != "X"):
            raise InputError(f"{self.path}: expected a matrix X, layers/NAME, raw/X or obsm/NAME, found {name!r}")
        if place not in self._file or key not in self._file[place]:
            what = {"layers": "layer", "raw": "raw matrix", "obsm": "obsm matrix"}[place]
            known = [other for other in self._file.get(place, {}) if place != "raw"]
            raise InputError(f"{self.path}: no {what} {key!r}; {suggest(key, known)}")
        return self._file[name]

    def _other_matrices(self) -> str:
        names = [f"{place}/{key}" for place in ("layers", "obsm") for key in self._file.get(place, {})]
        names += ["raw/X"] if "raw" in self._file else []
        return suggest("X", names)

    def _shape(self) -> tuple[int, int]:
        matrix, name = self._matrix, self.matrix_name
        if not _is_folder(matrix):
            shape = matrix.shape
        elif _sparse_format(matrix) not in ("csr", "csc"):
            raise InputError(f"{self.path}: expected {name} dense, CSR or CSC, found {dict(matrix.attrs)}")
        else:
            shape = matrix.attrs["shape"] if "shape" in matrix.attrs else matrix.attrs["h5sparse_shape"]
        if len(shape) != 2 or 0 in shape:
            raise InputError(f"{self.path}: expected {name} of cells x genes, found shape {tuple(shape)}")
        return int(shape[0]), int(shape[1])

    def _read_genes(self, gene_key: str | None) -> np.ndarray:
        frame = "raw/var" if self.matrix_name == "raw/X" else "var"
        where = f"the {frame} index" if gene_key is None else f"{frame}[{gene_key!r}]"
        names = pd.Series(np.asarray(self._column(frame, gene_key), dtype=object))
        if self.matrix_name.startswith("obsm/"):
            names, where = self._genes_of_obsm(names)
        if len(names) != self.num_genes:
            raise InputError(
                f"{self.path}: expected a name for each of the {self.num_genes} columns of {self.matrix_name}, found "
                f"{len(names)} in {where}"
            )
        missing = int((names.isna() | names.astype(str).str.strip().isin(["", "nan"])).sum())
        if missing:
            raise InputError(
                f"{self.path}: {where} must name every gene, found {missing} of {len(names)} without name"
            )
        names = names.astype(str)
        twice = names[names.duplicated()]
        if len(twice):
            raise InputError(
                f"{self.path}: gene names in {where} must be unique, found {twice.nunique()} duplicated, the first is "
                f"{twice.iloc[0]!r}; use var_names_make_unique() or another --gene-key"
            )
        if len(names) > 1 and np.array_equal(names, np.arange(len(names)).astype(str)):
            raise InputError(
                f"{self.path}: {where} must hold gene names, found the numbers 0 to {len(names) - 1}; name the column "
                f"that has them with --gene-key; {suggest('gene_name', self._columns(frame))}"
            )
        return names.to_numpy()

    def _genes_of_obsm(self, names: pd.Series) -> tuple[pd.Series, str]:
        """Names of the columns of an obsm matrix, which AnnData itself does not keep, and where they are."""
        if "uns/hvg_names" in self._file:
            return pd.Series(np.asarray(read_elem(self._file["uns/hvg_names"]), dtype=object)), "uns/hvg_names"
        if "highly_variable" in self._columns("var"):
            chosen = np.asarray(self._column("var", "highly_variable"), dtype=bool)
            return names[chosen].reset_index(drop=True), "var['highly_variable']"
        raise InputError(
            f"{self.path}: expected the genes of {self.matrix_name} in uns['hvg_names'] or var['highly_variable'], "
            "found neither"
        )

    def _check_log_base(self) -> None:
        base = self._file.get("uns/log1p/base")
        if base is not None and not _is_folder(base) and base.shape == () and base.dtype.kind == "f":
            if abs(float(base[()]) - np.e) > 1e-6:
                raise InputError(
                    f"{self.path}: expected the natural logarithm, found uns['log1p']['base'] = {base[()]}"
                )

    def _index_name(self, frame: str) -> str:
        return self._file[frame].attrs.get("_index", "_index")

    def _columns(self, frame: str) -> list[str]:
        return [name for name in self._file[frame] if name not in ("__categories", self._index_name(frame))]

    def _column(self, frame: str, key: str | None) -> Any:
        group = self._file[frame]
        name = self._index_name(frame) if key is None else key
        if name not in group or name == "__categories":
            raise InputError(f"{self.path}: {frame} has no column {name!r}; {suggest(name, self._columns(frame))}")
        if "__categories" in group:
            # anndata 0.7 keeps categories apart; only reading the whole table puts them together.
            table = read_elem(group)
            return table.index.to_numpy() if key is None else table[key].array
        return read_elem(group[name])


def _open(path: Path) -> h5py.File | zarr.Group:
    if path.is_dir():
        try:
            return zarr.open_group(str(path), mode="r")
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{path}: expected an h5ad file or a zarr store, found a folder: {error}") from error
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if not h5py.is_hdf5(path):
        raise InputError(f"{path}: expected an h5ad file (HDF5), found something else")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"{path}: the file cannot be opened as HDF5: {error}") from error


def _is_folder(node: Any) -> bool:
    return isinstance(node, h5py.Group | zarr.Group)


def _sparse_format(matrix: Folder) -> str:
    encoding = str(matrix.attrs.get("encoding-type", matrix.attrs.get("h5sparse_format", "")))
    return encoding.removesuffix("_matrix")


def _spans(indptr: np.ndarray, first: int) -> Iterator[tuple[int, int]]:
    """Yield (first, last) cells, so that a span has at most ``CHUNK_ENTRIES`` stored values or is one cell."""
    num_cells = len(indptr) - 1
    while first < num_cells:
        last = int(np.searchsorted(indptr, indptr[first] + CHUNK_ENTRIES, side="right")) - 1
        last = min(max(last, first + 1), first + MAX_CHUNK_CELLS, num_cells)
        yield first, last
        first = last


def _widen(values: np.ndarray) -> np.ndarray:
    """Half precision and booleans as float32, which sparse arithmetic knows; small integers, which may overflow, too."""
    return values.astype(np.float32) if values.dtype.kind not in "iuf" or values.dtype.itemsize < 4 else values


def _chunk(first: int, matrix: csr_matrix) -> CellChunk:
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    return CellChunk(first_cell=first, matrix=matrix)
