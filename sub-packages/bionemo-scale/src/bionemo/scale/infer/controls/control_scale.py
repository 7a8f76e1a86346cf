# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Values of a file of control cells, judged and brought to a model's scale."""

from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix, diags, vstack

from bionemo.scale.data.prepare.conversion.scan import (
    PART_OF_COUNTED_GENES,
    note_library_sizes,
    read_library_size,
    size_factors,
)
from bionemo.scale.files.anndata.anndata_file import CellChunk, H5adSource
from bionemo.scale.files.expression_scale import StatedScale, check_library_sizes, find_scale
from bionemo.scale.files.scale_evidence import SAME_SUM, ScaleEvidence
from bionemo.scale.infer.settings import GivenScale
from bionemo.scale.types import DataCard, ExpressionScale, InputError


_LIBRARY_WAY_OUT = "name the column of total counts with --library-size-key"


class _Piece(NamedTuple):
    matrix: csr_matrix
    """[cells, G] values as they are, the model's genes."""
    total: np.ndarray
    """[cells] float64, sum over the file's genes."""


class ControlValues:
    """Gathers the values of chosen cells, piece by piece, and turns them into log1p on a model's scale.

    Args:
        source: The open file.
        card: The model's scale.
        columns: [G] position of each of the model's genes in the file.
        given: What the user says.

    Raises:
        InputError: What the user says does not fit the model, or a library-size column is missing.
    """

    def __init__(self, source: H5adSource, card: DataCard, columns: np.ndarray, *, given: GivenScale) -> None:
        self._source, self._scale, self._columns, self._given = source, card.scale, columns, given
        self._counted_genes = card.counted_genes
        _check_given(source, card.scale, given)
        self._library_size = _library_size(source, card.scale, given)
        self._evidence = ScaleEvidence(source.num_cells)
        self._pieces: list[_Piece] = []
        self.notes: tuple[str, ...] = ()
        """What the user should know of the scale, when the cells are on it."""

    def add(self, chunk: CellChunk, chosen: np.ndarray) -> None:
        """Look at all cells of a chunk and keep the chosen ones, a mask."""
        self._evidence.add(chunk.matrix, chunk.first_cell)
        matrix = chunk.matrix[chosen]
        total = np.asarray(matrix.sum(axis=1, dtype=np.float64)).ravel()
        self._pieces.append(_Piece(matrix[:, self._columns], total))

    def on_scale(self, chosen: np.ndarray) -> csr_matrix:
        """Return the kept cells, [cells, G] float32 log1p.

        Args:
            chosen: Mask of the cells of the file that were kept.

        Raises:
            InputError: The values are not on the model's scale, or do not show it.
        """
        scale = find_scale(self._evidence, str(self._source.path), self._stated(), library_size=self._library_size)
        matrix = csr_matrix(vstack([piece.matrix for piece in self._pieces]))
        if scale.kind == "log1p":
            if self._given.target_sum is None:
                self._check_library_size()
                if scale.target_sum is not None:
                    self._check_genes("log1p values scaled to the sum", "--target-sum to use them all the same")
            return matrix.astype(np.float32)
        self._check_library_size()
        self._check_genes(
            "counts",
            "--library-size-key with a column of its library sizes (--sum-as-library-size uses the sum all the same)",
        )
        total = np.concatenate([piece.total for piece in self._pieces])
        if self._library_size is None and not self._given.sum_as_library_size:
            self.notes = note_library_sizes(self._source, total, chosen)
        sizes = total if self._library_size is None else self._library_size[chosen]
        below = check_library_sizes(
            sizes, total, f"{self._source.path}: library sizes in obs", way_out=_LIBRARY_WAY_OUT
        )
        if below:
            self.notes = (f"warning: {below} control cells have a library size below the sum of their counts",)
        scaled = csr_matrix(diags(size_factors(sizes, self._scale.target_sum)) @ matrix)
        np.log1p(scaled.data, out=scaled.data)
        return scaled.astype(np.float32)

    def _stated(self) -> StatedScale:
        return StatedScale(
            values=self._given.values,
            target_sum=self._scale.target_sum,
            is_target_stated=self._given.target_sum is not None,
            base=self._source.log_base(),
            way_out=f"; the model was trained on {self._scale.target_sum:g}: give raw counts, or scale to that",
        )

    def _check_library_size(self) -> None:
        """Refuse to take the sum of the file's genes for the library size of a model that was given it."""
        key = self._scale.library_size_key
        if self._library_size is None and key is not None and not self._given.sum_as_library_size:
            raise InputError(
                f"{self._source.path}: expected library sizes in obs[{key!r}], as the model was trained with, found "
                "no "
                "such column; name it with --library-size-key, or give --sum-as-library-size if the file has all "
                "genes of "
                "its cells"
            )

    def _check_genes(self, what: str, way_out: str) -> None:
        """Refuse sums over some of the genes, where training summed over all."""
        found, expected = len(self._source.genes), self._counted_genes
        if self._library_size is not None or self._given.sum_as_library_size or expected is None:
            return
        if found < PART_OF_COUNTED_GENES * expected:
            raise InputError(
                f"{self._source.path}: expected {what} of about {expected} genes, over which library sizes were "
                f"summed in training, found {found}; give the file with all genes, or {way_out}"
            )


def _check_given(source: H5adSource, scale: ExpressionScale, given: GivenScale) -> None:
    if given.target_sum is not None and abs(given.target_sum / scale.target_sum - 1) > SAME_SUM:
        raise InputError(
            f"{source.path}: expected values scaled to {scale.target_sum:g} as the model's, found --target-sum "
            f"{given.target_sum:g}; give raw counts, or scale to that"
        )


def _library_size(source: H5adSource, scale: ExpressionScale, given: GivenScale) -> np.ndarray | None:
    if given.sum_as_library_size:
        return None
    key = given.library_size_key
    if key is None and scale.library_size_key is not None and source.has_column(scale.library_size_key):
        key = scale.library_size_key
    return None if key is None else read_library_size(source, key)
