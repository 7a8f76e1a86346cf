# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""AnnData files read in pieces: labels by column, expression by rows.

Nothing here holds a whole expression matrix; the rows of a CSC matrix are put together on disk.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
from scipy.sparse import csr_matrix

from bionemo.scale.files.anndata.checked_anndata import CheckedAnnData
from bionemo.scale.files.anndata.csc_rows import rows_of_csc
from bionemo.scale.files.anndata.label_column import Labels, check_text, has_labels, read_label_columns
from bionemo.scale.files.anndata.matrix_on_disk import MatrixOnDisk
from bionemo.scale.files.expression_scale import read_base
from bionemo.scale.files.suggest import suggest
from bionemo.scale.files.url import PathOrUrl
from bionemo.scale.types import InputError


CHUNK_ENTRIES = 1 << 21
"""Stored values read at once: some 25 MB in flight. The memory of arrays above 32 MiB is never used again."""
MAX_CHUNK_CELLS = 1 << 16
_NAMES_AT_ONCE = 1 << 16


@dataclass(frozen=True, kw_only=True)
class CellChunk:
    """Consecutive cells of a file."""

    first_cell: int
    matrix: csr_matrix
    """[cells, genes], indices ascending in a row, no stored zeros."""


class H5adSource:
    """One expression matrix of an AnnData on disk, with the names of its cells and genes.

    Args:
        path: An h5ad file, the folder of a zarr store, or a zip file of one; the URL of one of the first two; or what
            is open already, which is closed with this.
        matrix: Expression to read: ``X``, ``layers/NAME``, ``raw/X`` or ``obsm/NAME``.
        gene_key: var column with the gene names; ``None`` is the index. The genes of ``raw/X`` are those of
            ``raw/var``; those of ``obsm/NAME`` are ``uns/hvg_names``, or the genes of ``var/highly_variable``.

    Raises:
        InputError: It is no AnnData, it has no such matrix, or its genes have missing or duplicated names.
    """

    def __init__(self, path: PathOrUrl | CheckedAnnData, *, matrix: str = "X", gene_key: str | None = None) -> None:
        self._file = path if isinstance(path, CheckedAnnData) else CheckedAnnData(path)
        self.path = self._file.path
        self.matrix_name = matrix
        try:
            self._matrix = self._file.matrix(matrix)
            self.num_cells, self.num_genes = self._matrix.shape
            self.genes = self._read_genes(gene_key)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "H5adSource":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def labels(self, key: str, *, named: Collection[str] = ()) -> Labels:
        """Return a label column, whatever its type, as text.

        Args:
            key: The column, or several with commas between them.
            named: Labels that the user named; see :func:`bionemo.scale.files.anndata.label_column.read_labels_of`.

        Raises:
            InputError: There is no such column, or some cells have no label.
        """
        return read_label_columns(self._file, key, named=named)

    def columns(self) -> list[str]:
        """Return the columns of obs."""
        return self._file.columns("obs")

    def has_column(self, key: str) -> bool:
        """Return whether obs has a column."""
        return key in self.columns()

    def has_labels(self, key: str) -> bool:
        """Return whether obs has a column, or all of several with commas between them, or the key is "none"."""
        return has_labels(self._file, key)

    def text_columns(self) -> Iterator[tuple[str, pd.Series]]:
        """Yield the obs columns of text, each with the cells of every value; unreadable ones are left out."""
        for key in self.columns():
            try:
                values = pd.Series(self._file.column("obs", key))
            except InputError:
                # Nobody asked for this column.
                continue
            if isinstance(values.dtype, pd.CategoricalDtype) or not pd.api.types.is_numeric_dtype(values):
                counts = values.value_counts()
                yield key, counts[counts > 0]

    def numbers(self, key: str) -> np.ndarray:
        """Return a numeric column, [cells] float64.

        Raises:
            InputError: There is no such column, or it holds no numbers.
        """
        values = self._file.column("obs", key)
        try:
            return np.asarray(values, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise InputError(f"{self.path}: obs[{key!r}] must hold numbers, found {values[0]!r}") from error

    def facts(self, name: str) -> dict[str, Any]:
        """Return a group of small things, such as ``uns/bionemo_scale``; see :meth:`CheckedAnnData.facts`."""
        return self._file.facts(name)

    def cell_names(self) -> np.ndarray:
        """Return the obs index, [cells] strings."""
        return np.asarray(self._file.index("obs"), dtype=object).astype(str)

    def log_base(self) -> float | None:
        """Return the base of the logarithm that ``uns["log1p"]`` notes; ``None`` for the natural one, or no note."""
        return read_base(self._file.element("uns/log1p/base"))

    def name_column(self) -> pa.ChunkedArray:
        """Return the obs index as one buffer of text: a fraction of what as many Python strings take."""
        node = self._file.index_node("obs")
        if not isinstance(node.raw, h5py.Dataset) or h5py.check_string_dtype(node.raw.dtype) is None:
            return pa.chunked_array([pa.array(self.cell_names().tolist(), pa.string())])
        array = node.array(length=self.num_cells)
        is_bytes = h5py.check_string_dtype(node.raw.dtype).length is None
        pieces = []
        with node.reading():
            for first in range(0, len(array), _NAMES_AT_ONCE):
                # Arrow reads the bytes of texts of any length as they are, and checks that they are UTF-8.
                part = (array if is_bytes else array.asstr())[first : first + _NAMES_AT_ONCE]
                pieces.append(pa.array(part, pa.binary() if is_bytes else pa.string()).cast(pa.string()))
        return pa.chunked_array(pieces, pa.string())

    def chunks(self, first_cell: int = 0) -> Iterator[CellChunk]:
        """Yield the cells in file order, a bounded number of stored values at a time.

        Args:
            first_cell: Where to start; from the first cell of a chunk on, the chunks are those of the whole.

        Raises:
            InputError: The matrix has entries outside its cells and genes, or cannot be read.
            OSError: The disk failed.
        """
        matrix = self._matrix
        if matrix.layout == "csc":
            for first, rows in rows_of_csc(matrix, first_cell, CHUNK_ENTRIES, max_rows=MAX_CHUNK_CELLS):
                yield _chunk(first, rows)
            return
        for first, last in _spans(matrix, first_cell):
            rows = matrix.rows(first, last)
            if not isinstance(rows, np.ndarray):
                rows.data = _widen(rows.data)
            yield _chunk(first, csr_matrix(_widen(rows) if isinstance(rows, np.ndarray) else rows))

    def _read_genes(self, gene_key: str | None) -> np.ndarray:
        frame = "raw/var" if self.matrix_name == "raw/X" else "var"
        where = f"the {frame} index" if gene_key is None else f"{frame}[{gene_key!r}]"
        values = self._file.index(frame) if gene_key is None else self._file.column(frame, gene_key)
        names = pd.Series(np.asarray(values, dtype=object))
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
        check_text(names, where=f"{self.path}: {where}")
        twice = names[names.duplicated()]
        if len(twice):
            raise InputError(
                f"{self.path}: gene names in {where} must be unique, found {twice.nunique()} duplicated, the first is "
                f"{twice.iloc[0]!r}; use var_names_make_unique() or another --gene-key"
            )
        if len(names) > 1 and np.array_equal(names, np.arange(len(names)).astype(str)):
            raise InputError(
                f"{self.path}: {where} must hold gene names, found the numbers 0 to {len(names) - 1}; name the column "
                f"that has them with --gene-key; {suggest('gene_name', self._file.columns(frame))}"
            )
        return names.to_numpy()

    def _genes_of_obsm(self, names: pd.Series) -> tuple[pd.Series, str]:
        """Names of the columns of an obsm matrix, which AnnData itself does not keep, and where they are."""
        listed = self._file.element("uns/hvg_names")
        if listed is not None:
            return pd.Series(np.ravel(np.asarray(listed, dtype=object))), "uns/hvg_names"
        if "highly_variable" in self._file.columns("var"):
            chosen = np.asarray(self._file.column("var", "highly_variable"), dtype=bool)
            return names[chosen].reset_index(drop=True), "var['highly_variable']"
        raise InputError(
            f"{self.path}: expected the genes of {self.matrix_name} in uns['hvg_names'] or var['highly_variable'], "
            "found neither"
        )


def _spans(matrix: MatrixOnDisk, first: int) -> Iterator[tuple[int, int]]:
    """Yield (first, last) cells, so that a span has at most ``CHUNK_ENTRIES`` values or is one cell."""
    num_cells = matrix.shape[0]
    while first < num_cells:
        if matrix.layout == "dense":
            last = first + CHUNK_ENTRIES // matrix.shape[1]
        else:
            last = int(np.searchsorted(matrix.pointers, matrix.pointers[first] + CHUNK_ENTRIES, side="right")) - 1
        last = min(max(last, first + 1), first + MAX_CHUNK_CELLS, num_cells)
        yield first, last
        first = last


def _widen(values: np.ndarray) -> np.ndarray:
    """Return as float32 what sparse arithmetic does not know (half precision, booleans), and small integers."""
    return values.astype(np.float32) if values.dtype.kind not in "iuf" or values.dtype.itemsize < 4 else values


def _chunk(first: int, matrix: csr_matrix) -> CellChunk:
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    return CellChunk(first_cell=first, matrix=matrix)
