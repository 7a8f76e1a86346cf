# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""First pass over a file: what its values are, library sizes, and the moments that choose genes."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from scipy.sparse import csr_matrix

from bionemo.scale.data.prepare.conversion.hvg import GeneMoments
from bionemo.scale.files.anndata.anndata_file import CellChunk, H5adSource
from bionemo.scale.files.expression_scale import StatedScale, check_library_sizes, check_range, find_scale
from bionemo.scale.files.scale_evidence import ScaleEvidence, is_whole
from bionemo.scale.files.writing.atomic import write_arrays
from bionemo.scale.types import InputError, ValueKind


_SIZE_NAME = re.compile(r"(n|num|total|raw)?(counts?|umis?)(counts?|rna|full|all|raw|total)*|lib(rary)?size")
"""What columns of library sizes are called, in small letters and without what stands between words."""
_PART_OF_GENES = 1.2
"""Ratio of such a column to the sum of a cell's counts above which genes seem to have been removed."""
_MOST_CELLS = 0.99
PART_OF_COUNTED_GENES = 0.25
"""A file with a smaller part of the genes that library sizes are summed over elsewhere has lost expressed ones. Genes
that no cell expresses are often removed, and can be half of them; 2,000 highly variable ones are a tenth."""
LIBRARY_WAY_OUT = "name the column of total counts, or give no --library-size-key if the file has all genes"
"""What to do about library sizes that are none."""
_CELL = np.dtype([("num_entries", "<i4"), ("total", "<f8")])


@dataclass(frozen=True, kw_only=True)
class FileStatistics:
    """What the first pass learned of a file."""

    kind: ValueKind
    num_entries: np.ndarray
    """[cells] int32, expressed genes of each cell."""
    library_size: np.ndarray
    """[cells] float64; 0 for log1p input, where it is not known."""
    moments: GeneMoments
    """Over training cells, all genes of the file, expression before the logarithm."""
    num_below_total: int
    """Cells whose given library size is smaller than the sum of their counts in the file."""
    target_sum: float | None = None
    """What log1p values were scaled to, as far as they show it."""
    num_empty: int = 0
    """Cells of the store without any counts."""
    empty_controls: tuple[str, ...] = ()
    """Cell types whose control cells all are empty."""
    is_whole: bool = True
    """Whether every value is a whole number, as counts mostly are."""
    size_notes: tuple[str, ...] = ()
    """Columns that seem to have the library sizes, where the sums of counts are taken for them; a line each."""


class ScanJournal:
    """What a first pass has learned so far, on disk after every chunk, so that it goes on after a kill.

    Args:
        path: Without ending; ``.cells`` and ``.npz`` are added.
        num_cells: Cells of the file.
        num_genes: Genes of the file.
    """

    def __init__(self, path: Path, num_cells: int, num_genes: int) -> None:
        self._cells_path, self._state_path = path.with_suffix(".cells"), path.with_suffix(".npz")
        self.cells = np.zeros(num_cells, dtype=_CELL)
        self.moments = GeneMoments(num_genes)
        self.evidence = ScaleEvidence(num_cells)
        self.next_cell = 0
        self.kind: ValueKind | None = None
        if self._state_path.exists():
            self._load()

    def add(self, cells: slice) -> None:
        """Keep what was learned up to the end of a chunk."""
        with self._cells_path.open("r+b" if self._cells_path.exists() else "wb") as file:
            # What a killed run has written beyond its last state is written again.
            file.seek(cells.start * _CELL.itemsize)
            file.write(self.cells[cells].tobytes())
            file.flush()
            os.fdatasync(file.fileno())
        self.next_cell = cells.stop
        state = {
            "next_cell": self.next_cell,
            "kind": self.kind or "",
            "num_cells": self.moments.num_cells,
            "total": self.moments.total,
            "total_of_squares": self.moments.total_of_squares,
        }
        write_arrays(self._state_path, {**state, **self.evidence.state()})

    def _load(self) -> None:
        with np.load(self._state_path, allow_pickle=False) as state:
            next_cell = int(state["next_cell"])
            records = np.fromfile(self._cells_path, dtype=_CELL, count=next_cell)
            if len(records) < next_cell:
                return
            self.cells[:next_cell] = records
            self.next_cell = next_cell
            self.kind = cast(ValueKind | None, str(state["kind"]) or None)
            self.evidence.load(state)
            for name in ("num_cells", "total", "total_of_squares"):
                getattr(self.moments, name)[:] = state[name]


def scan(
    source: H5adSource,
    *,
    is_training: np.ndarray,
    library_size: np.ndarray | None,
    target_sum: float,
    hvg_factor: float = 1.0,
    stated: StatedScale,
    progress: Callable[[int], None],
    journal: ScanJournal,
) -> FileStatistics:
    """Read a file once, check every value and add up what normalisation and gene choice need.

    Args:
        source: The open file.
        is_training: [cells] bool, cells that may decide which genes are kept.
        library_size: [cells] given library sizes; ``None`` takes the sum of a cell's counts.
        target_sum: Library size cells are scaled to.
        hvg_factor: What log1p values are multiplied with in the moments.
        stated: What is said of the values.
        progress: Called with the number of cells of each piece.
        journal: What was learned before; goes on from there.

    Raises:
        InputError: A value is NaN, infinite or negative, values are neither counts nor log1p, or do not show what
            they are and nobody says it.
    """
    progress(journal.next_cell)
    for chunk in source.chunks(journal.next_cell) if journal.next_cell < source.num_cells else ():
        check_values(source, chunk)
        journal.evidence.add(chunk.matrix, chunk.first_cell)
        journal.kind = _same_kind(source, chunk, journal.kind, stated=stated.values)
        if journal.kind == "log1p":
            # Known before the rest of a large file is read.
            check_range(journal.evidence, str(source.path), stated)
        cells = slice(chunk.first_cell, chunk.first_cell + chunk.matrix.shape[0])
        linear = _linear(chunk.matrix, journal.kind)
        total = np.asarray(linear.sum(axis=1, dtype=np.float64)).ravel()
        journal.cells["num_entries"][cells] = np.diff(chunk.matrix.indptr)
        journal.cells["total"][cells] = total
        factors = np.ones(len(total))
        if journal.kind == "counts":
            factors = size_factors(total if library_size is None else library_size[cells], target_sum)
        chosen = is_training[cells]
        if not chosen.all():
            linear, factors = linear[chosen], factors[chosen]
        journal.moments.add(*_stretched(linear, factors, hvg_factor))
        journal.add(cells)
        progress(chunk.matrix.shape[0])
    return _finish(journal, library_size, str(source.path), stated=stated)


def _stretched(linear: csr_matrix, factors: np.ndarray, exponent: float) -> tuple[csr_matrix, np.ndarray]:
    """Return what expression would be before the logarithm if its log1p values were ``exponent`` times as large.

    With x the normalised expression this is ``expm1(exponent * log1p(x)) = (1 + x)^exponent - 1``.
    """
    if exponent == 1.0:
        return linear, factors
    scale = np.repeat(factors, np.diff(linear.indptr))
    values = np.expm1(exponent * np.log1p(linear.data.astype(np.float64) * scale))
    return csr_matrix((values, linear.indices, linear.indptr), shape=linear.shape), np.ones(len(factors))


def _finish(
    journal: ScanJournal, library_size: np.ndarray | None, where: str, *, stated: StatedScale
) -> FileStatistics:
    scale = find_scale(journal.evidence, where, stated, library_size=library_size)
    assert journal.kind is not None, "a file without values is refused"
    total = journal.cells["total"]
    is_counts = journal.kind == "counts"
    below = 0
    if library_size is not None and is_counts:
        below = check_library_sizes(library_size, total, f"{where}: --library-size-key", way_out=LIBRARY_WAY_OUT)
    return FileStatistics(
        kind=journal.kind,
        num_entries=journal.cells["num_entries"],
        library_size=(total if library_size is None else library_size) if is_counts else np.zeros(len(total)),
        moments=journal.moments,
        num_below_total=below,
        target_sum=scale.target_sum,
        is_whole=journal.evidence.is_whole,
    )


def size_factors(library_size: np.ndarray, target_sum: float) -> np.ndarray:
    """Return [cells] ``target_sum / library_size``, 0 for cells without counts."""
    known = library_size > 0
    return np.divide(target_sum, library_size, out=np.zeros(len(library_size)), where=known)


def read_library_size(source: H5adSource, key: str) -> np.ndarray:
    """Return a library size column, [cells] float64.

    Raises:
        InputError: The column is missing or a value is not a positive finite number.
    """
    values = source.numbers(key)
    wrong = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
    if len(wrong):
        raise InputError(
            f"{source.path}: library size obs[{key!r}] must be positive, found {values[wrong[0]]} in cell "
            f"{source.cell_names()[wrong[0]]!r} and {len(wrong)} such cells in all"
        )
    return values


def note_library_sizes(source: H5adSource, sums: np.ndarray, chosen: np.ndarray | None = None) -> tuple[str, ...]:
    """Say which columns seem to have the library sizes of a file of counts from which genes were removed.

    Args:
        source: The open file.
        sums: [n] float64, the sum of each cell's counts.
        chosen: [cells] bool, the cells that ``sums`` is of; ``None`` is all.
    """
    found, known = [], sums > 0
    if not known.any():
        return ()
    for key in source.columns():
        if not _SIZE_NAME.fullmatch(re.sub(r"[\W_]", "", key.lower())):
            continue
        try:
            sizes = source.numbers(key)
        except InputError:
            # Nobody asked for this column.
            continue
        ratio = (sizes if chosen is None else sizes[chosen])[known] / sums[known]
        if (ratio >= 1 - 1e-6).mean() < _MOST_CELLS or not np.median(ratio) > _PART_OF_GENES:
            continue
        found.append(
            f"{source.path}: the sum of a cell's counts is taken for its library size, but obs[{key!r}] is "
            f"{np.median(ratio):.3g} times that sum (median); if genes were removed from the file, give "
            f"--library-size-key {key}"
        )
    return tuple(found)


def check_values(source: H5adSource, chunk: CellChunk) -> None:
    """Refuse NaN, infinite and negative values, naming the first one's cell and gene."""
    values = chunk.matrix.data
    # A NaN makes the minimum NaN, so that two reductions cover all three cases without a mask.
    if not len(values) or (values.min() >= 0 and values.max() < np.inf):
        return
    first = int(np.flatnonzero(~((values >= 0) & (values < np.inf)))[0])
    cell = chunk.first_cell + int(np.searchsorted(chunk.matrix.indptr, first, side="right")) - 1
    gene = source.genes[chunk.matrix.indices[first]]
    raise InputError(
        f"{source.path}: expression must be finite and not negative, found {values[first]} in cell "
        f"{source.cell_names()[cell]!r}, gene {gene!r}"
    )


def _same_kind(
    source: H5adSource, chunk: CellChunk, kind: ValueKind | None, *, stated: ValueKind | None
) -> ValueKind | None:
    values = chunk.matrix.data
    if not len(values):
        return kind
    own_kind = kind_of(values, stated)
    if kind not in (None, own_kind):
        raise InputError(
            f"{source.path}: expected one scale in the whole file, found {kind} before cell {chunk.first_cell} and "
            f"{own_kind} after it"
        )
    return own_kind


def kind_of(values: np.ndarray, stated: ValueKind | None) -> ValueKind:
    """Return what some values must be if they are what a store takes: whole numbers are counts."""
    return stated or ("counts" if is_whole(values) else "log1p")


def _linear(matrix: csr_matrix, kind: ValueKind | None) -> csr_matrix:
    """Expression before the logarithm."""
    if kind != "log1p":
        return matrix
    values = np.expm1(matrix.data, dtype=np.float64)
    return csr_matrix((values, matrix.indices, matrix.indptr), shape=matrix.shape)
