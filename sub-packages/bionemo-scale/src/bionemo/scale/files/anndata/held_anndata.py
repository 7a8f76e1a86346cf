# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""An AnnData object, read as a file is, so that it meets the same checks and nothing is written."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

from bionemo.scale.files.anndata.anndata_node import NUMBERS, Node
from bionemo.scale.files.anndata.checked_anndata import CheckedAnnData
from bionemo.scale.files.anndata.matrix_on_disk import MatrixOnDisk
from bionemo.scale.files.anndata.plain_anndata import plain_columns
from bionemo.scale.types import InputError


_PARTS = ("data", "indices")
INDEX = "_index"
"""What the index of a frame is called, as in a file."""


class HeldAnnData(CheckedAnnData):
    """An AnnData object with the methods of an open file. Reading gives copies, so the object does not change.

    Args:
        adata: The cells; those of a backed object are read from its file.
        name: What messages call them.
    """

    def __init__(self, adata: anndata.AnnData, name: str) -> None:
        self.path = Path(name)
        self._adata = adata.to_memory() if adata.isbacked else adata
        self.num_cells, self.num_genes = self._adata.shape

    def close(self) -> None:
        """Do nothing: no file is open."""

    def names(self, slot: str) -> list[str]:
        """Return the names in a slot; none where there is no such slot."""
        if slot == "raw":
            return [] if self._adata.raw is None else ["X", "var"]
        return list(getattr(self._adata, slot)) if slot in ("layers", "obsm", "uns") else []

    def columns(self, frame: str) -> list[str]:
        """Return the columns of ``obs``, ``var`` or ``raw/var`` in the order of the table."""
        return list(map(str, self._table(frame).columns))

    def index_name(self, frame: str) -> str:
        """Return what the index is called, by which :meth:`column` knows it too."""
        return INDEX

    def index(self, frame: str) -> Any:
        """Return the names of the rows of a frame."""
        return np.asarray(self._table(frame).index, dtype=object).astype(str)

    def index_node(self, frame: str) -> Node:
        """Return what holds the names of the rows of a frame."""
        return _HeldNode(file=self.path, name=f"{frame}/{INDEX}", raw=self.index(frame))

    def element(self, name: str) -> Any:
        """Return a part of ``uns`` by its path, such as ``uns/log1p/base``; ``None`` where there is none."""
        slot, *parts = name.split("/")
        value: Any = self._adata.uns if slot == "uns" else None
        for part in parts:
            value = value.get(part) if isinstance(value, Mapping) else None
        return value

    def _read_column(self, frame: str, key: str) -> Any:
        table = self._table(frame)
        if not table.columns.is_unique:
            twice = table.columns[table.columns.duplicated()][0]
            raise InputError(f"{self.path}: {frame} must have columns of different names, found {twice!r} twice")
        values = plain_columns(table, [key])[key].array
        return values.to_numpy() if isinstance(values, pd.arrays.NumpyExtensionArray) else values

    def _open_matrix(self, slot: str, key: str) -> MatrixOnDisk | None:
        adata = self._adata
        if slot in ("layers", "obsm"):
            values = getattr(adata, slot).get(key)
        else:
            values = adata.X if slot == "X" else None if adata.raw is None else adata.raw.X
        return None if values is None else _held_matrix(values, file=self.path, name=f"{slot}/{key}".rstrip("/"))

    def _num_rows(self, frame: str) -> int:
        return len(self._table(frame))

    def _table(self, frame: str) -> pd.DataFrame:
        return self._adata.raw.var if frame == "raw/var" else getattr(self._adata, frame)


class _HeldNode(Node):
    """An array in memory."""

    def read(self, first: int = 0, last: int | None = None) -> np.ndarray:
        """Return entries ``first`` to ``last``, which the reader may change."""
        return self.raw[first:last].copy()


def _held_matrix(values: Any, *, file: Path, name: str) -> MatrixOnDisk:
    """Return a matrix in memory; one that is stored by columns is brought to rows.

    Raises:
        InputError: It holds no real numbers, has another number of axes, or is no valid sparse matrix.
    """
    values = values.to_numpy() if isinstance(values, pd.DataFrame) else values
    is_sparse = sparse.issparse(values)
    values = values if is_sparse else np.asarray(values)
    if values.ndim != 2 or 0 in values.shape:
        raise InputError(f"{file}: {name} must have cells and genes, found the shape {values.shape}")
    if values.dtype.kind not in NUMBERS or (values.dtype.kind == "f" and values.dtype.itemsize > 8):
        raise InputError(f"{file}: {name} must hold real numbers, found the type {values.dtype}")
    if not is_sparse:
        node = _HeldNode(file=file, name=name, raw=values)
        return MatrixOnDisk(node=node, layout="dense", shape=values.shape, dtype=values.dtype)
    try:
        rows = sparse.csr_matrix(values)
        rows.check_format(full_check=True)
    except ValueError as error:
        raise InputError(f"{file}: {name} must be a valid sparse matrix, found that {error}") from error
    return MatrixOnDisk(
        node=_HeldNode(file=file, name=name, raw=rows.data),
        layout="csr",
        shape=rows.shape,
        dtype=rows.dtype,
        stored=tuple(_HeldNode(file=file, name=f"{name}/{part}", raw=getattr(rows, part)) for part in _PARTS),
        indptr=rows.indptr.astype(np.int64),
    )
