# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Writes an AnnData file row block by row block, so that a prediction never has to fit in memory."""

import contextlib
from pathlib import Path
from types import TracebackType
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from bionemo.scale.files.writing.atomic import atomic


_CHUNK_VALUES = 1 << 14


class H5adWriter:
    """A context manager that writes to a temporary name and renames it when every announced row was written.

    Left by an exception it removes what it wrote.
    """

    def __init__(self, path: Path, *, obs: pd.DataFrame, genes: tuple[str, ...], uns: dict[str, Any], dense: bool):
        """Announce the rows.

        Args:
            path: File to write.
            obs: One row a cell; blocks must come in its order.
            genes: Names of the columns.
            uns: Provenance.
            dense: Whether X is a dense float32 array or CSR.
        """
        self._path = path
        self._stack = contextlib.ExitStack()
        self._obs, self._genes, self._uns, self._dense = obs, genes, uns, dense
        self.num_written = 0
        """Rows that are written."""

    def __enter__(self) -> "H5adWriter":
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            temporary = stack.enter_context(atomic(self._path))
            self._file = stack.enter_context(h5py.File(temporary, "w"))
            self._begin()
            self._stack = stack.pop_all()
        return self

    def _begin(self) -> None:
        shape = (len(self._obs), len(self._genes))
        parts = {"obs": self._obs, "var": pd.DataFrame(index=pd.Index(self._genes)), "uns": self._uns}
        self._file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        for name, part in {**parts, "obsm": {}, "varm": {}, "obsp": {}, "varp": {}, "layers": {}}.items():
            anndata.io.write_elem(self._file, name, part)
        if self._dense:
            rows = max(1, min(shape[0], 1024))
            x = self._file.create_dataset("X", shape, dtype="float32", chunks=(rows, max(1, shape[1])))
            x.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        else:
            # It grows from nothing: left to itself HDF5 would keep the chunks of an empty array, and take gigabytes to
            # look many of them up in one read.
            empty = sparse.csr_matrix((0, shape[1]), dtype=np.float32)
            # Index pointers of 64 bits, for a screen may have more than 2^31 counts above 0.
            options = {"chunks": (_CHUNK_VALUES,), "indptr_dtype": np.int64}
            anndata.io.write_elem(self._file, "X", empty, dataset_kwargs=options)

    def append(self, block: np.ndarray | sparse.csr_matrix) -> None:
        """Write the next rows."""
        if self._dense:
            rows = block if isinstance(block, np.ndarray) else block.toarray()
            self._file["X"][self.num_written : self.num_written + rows.shape[0]] = rows
        else:
            anndata.io.sparse_dataset(self._file["X"]).append(sparse.csr_matrix(block, dtype=np.float32))
        self.num_written += block.shape[0]

    def add(self, name: str, element: Any) -> None:
        """Write something beside the cells, such as ``uns/conditions``, under a name that is not taken."""
        anndata.io.write_elem(self._file, name, element)

    def add_columns(self, name: str, first: int, block: np.ndarray, *, width: int) -> None:
        """Write some columns of an array [genes, width] float32 of varm.

        Args:
            name: Of the array.
            first: Where the columns begin.
            block: [genes, n].
            width: Columns of the whole array.
        """
        if name not in self._file["varm"]:
            shape = (len(self._genes), width)
            chunks = (max(1, shape[0]), max(1, min(width, 16)))
            array = self._file["varm"].create_dataset(name, shape, dtype="float32", chunks=chunks)
            array.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        self._file["varm"][name][:, first : first + block.shape[1]] = block

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self.num_written != len(self._obs):
            with self._stack:
                raise RuntimeError(f"{self._path}: announced {len(self._obs)} rows, wrote {self.num_written}")
        self._stack.__exit__(kind, error, trace)
