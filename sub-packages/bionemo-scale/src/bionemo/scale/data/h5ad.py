# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""AnnData files read in pieces: labels by column, expression by rows.

Nothing here holds a whole expression matrix, but for CSC files, whose rows cannot be read one by one.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
import pandas as pd
from anndata.io import read_elem
from scipy.sparse import csr_matrix

from bionemo.scale.data.suggest import suggest
from bionemo.scale.types import InputError


logger = logging.getLogger(__name__)

CHUNK_ENTRIES = 1 << 22
"""Stored values read at once: some 50 MB in flight."""
MAX_CHUNK_CELLS = 1 << 16


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
    """An open h5ad file.

    Args:
        path: The file.
        layer: Layer to read instead of ``X``.
        gene_key: var column with the gene names; ``None`` is the index.

    Raises:
        InputError: It is no h5ad, or its genes have missing or duplicated names.
    """

    def __init__(self, path: Path, *, layer: str | None = None, gene_key: str | None = None) -> None:
        self.path = path
        self._file = _open(path)
        try:
            self._matrix = self._find_matrix(layer)
            self.num_cells, self.num_genes = _shape(self._matrix)
            self.genes = self._read_genes(gene_key)
            self._check_log_base()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "H5adSource":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

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

    def chunks(self) -> Iterator[CellChunk]:
        """Yield the cells in file order, a bounded number of stored values at a time."""
        if isinstance(self._matrix, h5py.Dataset):
            yield from self._dense_chunks(self._matrix)
        elif _sparse_format(self._matrix) == "csr":
            yield from self._csr_chunks(self._matrix)
        else:
            logger.warning(
                "%s: X is CSC, which cannot be read by cells; the whole matrix is held in memory", self.path
            )
            whole = csr_matrix(read_elem(self._matrix))
            whole.data = _widen(whole.data)
            for first, last in _spans(whole.indptr.astype(np.int64)):
                yield _chunk(first, whole[first:last])

    def _dense_chunks(self, matrix: h5py.Dataset) -> Iterator[CellChunk]:
        step = max(1, min(MAX_CHUNK_CELLS, CHUNK_ENTRIES // max(1, self.num_genes)))
        for first in range(0, self.num_cells, step):
            yield _chunk(first, csr_matrix(_widen(matrix[first : first + step])))

    def _csr_chunks(self, matrix: h5py.Group) -> Iterator[CellChunk]:
        indptr = matrix["indptr"][:].astype(np.int64)
        for first, last in _spans(indptr):
            begin, end = int(indptr[first]), int(indptr[last])
            data, indices = _widen(matrix["data"][begin:end]), matrix["indices"][begin:end]
            if len(indices) and not 0 <= indices.min() <= indices.max() < self.num_genes:
                raise InputError(f"{self.path}: X has entries outside its {self.num_genes} genes")
            shape = (last - first, self.num_genes)
            yield _chunk(first, csr_matrix((data, indices, indptr[first : last + 1] - begin), shape=shape))

    def _find_matrix(self, layer: str | None) -> h5py.Dataset | h5py.Group:
        for name in ("obs", "var"):
            if not isinstance(self._file.get(name), h5py.Group):
                raise InputError(f"{self.path}: not an h5ad of anndata 0.7 or newer, expected a group {name!r} in it")
        if layer is None:
            if "X" not in self._file:
                raise InputError(f"{self.path}: expected an expression matrix X, found none")
            return self._file["X"]
        layers = self._file.get("layers", {})
        if layer not in layers:
            raise InputError(f"{self.path}: no layer {layer!r}; {suggest(layer, layers)}")
        return layers[layer]

    def _read_genes(self, gene_key: str | None) -> np.ndarray:
        where = "the var index" if gene_key is None else f"var[{gene_key!r}]"
        names = pd.Series(np.asarray(self._column("var", gene_key), dtype=object))
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
                f"that has them with --gene-key; {suggest('gene_name', self._columns('var'))}"
            )
        return names.to_numpy()

    def _check_log_base(self) -> None:
        base = self._file.get("uns/log1p/base")
        if isinstance(base, h5py.Dataset) and base.shape == () and base.dtype.kind == "f":
            if abs(float(base[()]) - np.e) > 1e-6:
                raise InputError(
                    f"{self.path}: expected the natural logarithm, found uns['log1p']['base'] = {base[()]}"
                )

    def _columns(self, frame: str) -> list[str]:
        group = self._file[frame]
        return [name for name in group if name not in ("__categories", group.attrs.get("_index"))]

    def _column(self, frame: str, key: str | None) -> Any:
        group = self._file[frame]
        name = group.attrs.get("_index", "_index") if key is None else key
        if name not in group or name == "__categories":
            raise InputError(f"{self.path}: {frame} has no column {name!r}; {suggest(name, self._columns(frame))}")
        if "__categories" in group:
            # anndata 0.7 keeps categories apart; only reading the whole table puts them together.
            table = read_elem(group)
            return table.index.to_numpy() if key is None else table[key].array
        return read_elem(group[name])


def _open(path: Path) -> h5py.File:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if not h5py.is_hdf5(path):
        raise InputError(f"{path}: expected an h5ad file (HDF5), found something else")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"{path}: the file cannot be opened as HDF5: {error}") from error


def _sparse_format(matrix: h5py.Group) -> str:
    encoding = str(matrix.attrs.get("encoding-type", matrix.attrs.get("h5sparse_format", "")))
    return encoding.removesuffix("_matrix")


def _shape(matrix: h5py.Dataset | h5py.Group) -> tuple[int, int]:
    if isinstance(matrix, h5py.Dataset):
        shape = matrix.shape
    else:
        if _sparse_format(matrix) not in ("csr", "csc"):
            raise InputError(f"{matrix.file.filename}: expected X dense, CSR or CSC, found {dict(matrix.attrs)}")
        shape = matrix.attrs["shape"] if "shape" in matrix.attrs else matrix.attrs["h5sparse_shape"]
    if len(shape) != 2 or 0 in shape:
        raise InputError(f"{matrix.file.filename}: expected X of cells x genes, found shape {tuple(shape)}")
    return int(shape[0]), int(shape[1])


def _spans(indptr: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield (first, last) cells, so that a span has at most ``CHUNK_ENTRIES`` stored values or is one cell."""
    num_cells = len(indptr) - 1
    first = 0
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
