# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""An expression matrix in its file, dense, CSR or CSC, checked once and then read in pieces."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.sparse import csc_matrix, csr_matrix

from bionemo.scale.files.anndata.anndata_node import NUMBERS, Node


Layout = Literal["dense", "csr", "csc"]


@dataclass(frozen=True, kw_only=True)
class MatrixOnDisk:
    """Cells by genes; made by :func:`open_matrix`, which checks everything but the single values."""

    node: Node
    layout: Layout
    shape: tuple[int, int]
    """Cells, genes."""
    dtype: np.dtype
    """Of the values."""
    stored: tuple[Node, ...] = ()
    """Values and indices of a sparse matrix."""
    indptr: np.ndarray | None = None
    """[cells + 1], or [genes + 1] for CSC: int64 from 0 to the number of stored values; ``None`` for a dense
    matrix."""

    @property
    def pointers(self) -> np.ndarray:
        """The index pointers of a sparse matrix."""
        if self.indptr is None:
            raise ValueError("a dense matrix has no index pointers")
        return self.indptr

    def dense_rows(self, first: int, last: int) -> np.ndarray:
        """Return rows of a dense matrix."""
        return self.node.read(first, last)

    def entries(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """Return stored values of a sparse matrix and their column, or their row for CSC, by position.

        Raises:
            InputError: Some lie outside the matrix, or cannot be read.
        """
        values, indices = (node.read(first, last) for node in self.stored)
        axis, what = (1, "genes") if self.layout == "csr" else (0, "cells")
        if len(indices) and not 0 <= indices.min() <= indices.max() < self.shape[axis]:
            raise self.node.refusal(f"has entries outside its {self.shape[axis]} {what}")
        return values, indices

    def rows(self, first: int, last: int) -> np.ndarray | csr_matrix:
        """Return consecutive cells of a dense or a CSR matrix, with the values' own type."""
        if self.layout == "dense":
            return self.dense_rows(first, last)
        pointers = self.pointers[first : last + 1]
        values, indices = self.entries(int(pointers[0]), int(pointers[-1]))
        return csr_matrix((values, indices, pointers - pointers[0]), shape=(last - first, self.shape[1]))

    def whole(self) -> np.ndarray | csr_matrix:
        """Return all cells.

        Raises:
            InputError: They do not fit in memory, or cannot be read.
        """
        if self.layout == "dense":
            self.node.check_memory()
            return self.dense_rows(0, self.shape[0])
        for node in self.stored:
            node.check_memory()
        if self.layout == "csr":
            return self.rows(0, self.shape[0])
        values, indices = self.entries(0, int(self.pointers[-1]))
        return csr_matrix(csc_matrix((values, indices, self.pointers), shape=self.shape))


def open_matrix(node: Node, num_cells: int) -> MatrixOnDisk:
    """Check what an expression matrix declares, before any of its values is read.

    Args:
        node: The array of a dense matrix, or the group of a sparse one.
        num_cells: Rows that it must have.

    Raises:
        InputError: It is not dense, CSR or CSC, is empty, has another number of cells, holds no real numbers, or its
            index pointers do not start at 0, fall, or do not end at the number of stored values.
    """
    layout: Layout = "dense"
    if not node.is_folder:
        array = node.array(kinds=NUMBERS, num_axes=2)
        shape = tuple(array.shape)
    else:
        layout, shape = _layout(node), _declared_shape(node)
    if 0 in shape:
        raise node.refusal(f"must have cells and genes, found the shape {shape}")
    if shape[0] != num_cells:
        raise node.refusal(f"must have a row for each of the {num_cells} cells in obs, found {shape[0]}")
    if layout == "dense":
        return MatrixOnDisk(node=node, layout=layout, shape=shape, dtype=array.dtype)
    stored = _part(node, "data"), _part(node, "indices")
    values = stored[0].array(kinds=NUMBERS)
    stored[1].array(kinds="iu", length=values.shape[0])
    for part in (*stored, _part(node, "indptr")):
        # Zeros in their place would be counts of the first gene.
        part.check_stored()
    indptr = _index_pointers(_part(node, "indptr"), shape[layout == "csc"], values.shape[0])
    return MatrixOnDisk(node=node, layout=layout, shape=shape, dtype=values.dtype, stored=stored, indptr=indptr)


def _layout(node: Node) -> Layout:
    # anndata before 0.7 called it h5sparse_format.
    name = (node.encoding or str(node.attribute("h5sparse_format", ""))).removesuffix("_matrix")
    if name == "csr":
        return "csr"
    if name == "csc":
        return "csc"
    raise node.refusal(f"must be dense, CSR or CSC, found a group of the encoding {name!r}")


def _declared_shape(node: Node) -> tuple[int, int]:
    declared = np.asarray(node.attribute("shape", node.attribute("h5sparse_shape")))
    if declared.shape != (2,) or declared.dtype.kind not in "iu" or declared.min() < 0:
        raise node.refusal(f"must declare a shape of two numbers, found {declared}")
    return int(declared[0]), int(declared[1])


def _part(node: Node, name: str) -> Node:
    part = node.get(name)
    if part is None:
        raise node.refusal(f"must have data, indices and indptr as a sparse matrix has, found no {name}")
    return part


def _index_pointers(node: Node, num_major: int, num_values: int) -> np.ndarray:
    """Return checked index pointers, [num_major + 1] int64."""
    node.array(kinds="iu", length=num_major + 1)
    node.check_memory()
    # Those beyond int64 become negative, and then they fall.
    pointers = node.read().astype(np.int64)
    falls = np.flatnonzero(np.diff(pointers) < 0)
    if pointers[0] != 0 or len(falls):
        where = f"{pointers[0]} first" if pointers[0] else f"{pointers[falls[0] + 1]} after {pointers[falls[0]]}"
        raise node.refusal(f"must rise from 0, found {where}")
    if pointers[-1] != num_values:
        raise node.refusal(f"must end at {num_values}, the number of stored values, found {pointers[-1]}")
    return pointers
