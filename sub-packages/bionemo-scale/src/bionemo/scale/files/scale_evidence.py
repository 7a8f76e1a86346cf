# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What expression values show of how they were made, from a sample of a file's cells.

Counts that were scaled to a library size leave two traces that no logarithm removes. Before the logarithm, all cells
have one sum, as long as no gene was taken out; and the values of a cell are whole multiples of one number, what one
count is worth in it, whichever genes are left. So each way to undo a transformation is tried, and the one that leaves
such a trace is the one that was used.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix, vstack


SAMPLE = 512
"""Cells of a file that are looked at closely, at equal distances."""
UNDO: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "linear": lambda values: values,
    "log1p": np.expm1,
    "log2": lambda values: np.exp2(values) - 1,
    "log10": lambda values: np.power(10.0, values) - 1,
    "log1p twice": lambda values: np.expm1(np.expm1(values)),
    "tenth": lambda values: np.expm1(10.0 * values),
    "sqrt": np.square,
}
"""How each transformation is undone."""

SAME_SUM = 0.01
"""Relative distance of two library sizes, or two sums, that are taken for one."""
_MOST = 0.99
_EQUAL = 2e-5
"""Relative distance of sums that only rounding keeps apart."""
_IN_CLUSTER = 0.05
_MIN_CLUSTER = 10
_LARGEST_MULTIPLE = 30
_WHOLE = 0.02
_ON_LATTICE = 0.9
_MIN_ENTRIES = 30
_ENTRIES_FOR_DIVISORS = 6
_HIGHEST = 1e9
"""No gene of a cell has so much expression, whatever counts are scaled to."""
_PIECE = 1 << 15
_MOST_LEFT_OUT = 100
_MOST_WITHOUT = 0.9
_FIELDS = ("sum", "unit", "whole", "residual", "entries")
_FIRST = 2
"""Columns before those of each transformation: position, whole numbers or not."""
_TRACES = _FIRST + len(UNDO) * len(_FIELDS)
_COLUMNS = _TRACES + 2
"""Behind them the smallest value and the share of genes that are expressed, which earlier versions did not note."""
_EXPRESSED_GENES, _MOST_EXPRESSED = 20, 0.75


@dataclass(frozen=True, kw_only=True)
class Trace:
    """Sums of cells, and the value of one count in each, after a transformation is undone."""

    total: np.ndarray
    """[cells] float64, sums of the cells that have expression."""
    unit: np.ndarray
    """[cells] float64, what one count is worth in each."""
    common_sum: float | None
    """The sum that nearly all cells have."""
    spread: float
    """Relative distance from the median sum that 99 % of the cells keep; infinite without a common sum."""
    whole: float
    """Share of entries that are whole multiples of their cell's unit."""
    residual: float
    """Their mean distance from whole multiples."""

    @property
    def on_lattice(self) -> bool:
        """Whether values are multiples of one number in each cell."""
        return self.whole >= _ON_LATTICE

    @property
    def fullest_sum(self) -> float | None:
        """The sum that some cells have exactly and none exceeds. Other cells have lost genes."""
        clusters = self.clusters()
        if len(clusters) != 1 or self.total.max() > clusters[0][0] * (1 + _EQUAL):
            return None
        return clusters[0][0]

    def clusters(self) -> list[tuple[float, float]]:
        """Sums that many cells of different library sizes have exactly, and their share of cells; largest first."""
        if not np.isfinite(self.total).all() or not len(self.total):
            return []
        order = np.argsort(self.total)
        total, unit = self.total[order], self.unit[order]
        edges = np.flatnonzero(np.diff(np.log(total)) > _EQUAL) + 1
        modes = []
        for members in np.split(np.arange(len(total)), edges):
            share = len(members) / len(total)
            sizes = len(np.unique(np.round(np.log(unit[members]), 4)))
            if share > _IN_CLUSTER and sizes >= min(_MIN_CLUSTER, len(total) / 4):
                modes.append((float(np.median(total[members])), share))
        return sorted(modes, key=lambda each: -each[1])


class ScaleEvidence:
    """Collects whether values are whole and which is largest from all cells, and traces of scaling from a sample.

    Args:
        num_cells: Cells of the file.
    """

    def __init__(self, num_cells: int) -> None:
        self._cells = np.unique(np.linspace(0, max(num_cells - 1, 0), SAMPLE).astype(np.int64))
        self._sample: list[csr_matrix] = []
        self._rows = np.zeros((0, _COLUMNS))
        self.highest = 0.0
        """Largest value of the file."""
        self.is_whole = True
        """Whether every value of the file is a whole number."""

    def add(self, matrix: csr_matrix, first_cell: int) -> None:
        """Look at consecutive cells: [cells, genes], finite and not negative, without stored zeros."""
        values = matrix.data
        if not len(values):
            return
        self.highest = max(self.highest, float(values.max()))
        self.is_whole = self.is_whole and is_whole(values)
        inside = self._cells[(self._cells >= first_cell) & (self._cells < first_cell + matrix.shape[0])]
        if len(inside):
            chosen = matrix[inside - first_cell]
            self._sample.append(chosen)
            self._rows = np.concatenate([self._rows, _look(chosen, inside)])

    @property
    def cells(self) -> np.ndarray:
        """[cells] int64, positions in the file of the cells of the sample that have expression."""
        return self._rows[:, 0].astype(np.int64)

    @property
    def whole_cells(self) -> float:
        """Share of the sample's cells that hold whole numbers only."""
        return float(self._rows[:, 1].mean()) if len(self._rows) else 0.0

    @property
    def ones_missing(self) -> float:
        """Share of cells in which no gene has the value 1, of cells with some genes expressed and some not."""
        smallest, share = self._rows[:, _TRACES:].T
        # Dense panels, such as of proteins, may count two or more of everything.
        known = (share > 0) & (share < _MOST_EXPRESSED)
        return float((smallest[known] > 1).mean()) if known.any() else 0.0

    def trace(self, name: str) -> Trace:
        """Return what the sample shows once a transformation of :data:`UNDO` is undone."""
        start = _FIRST + list(UNDO).index(name) * len(_FIELDS)
        total, unit, whole, residual, counted = self._rows[:, start : start + len(_FIELDS)].T
        entries = float(counted.sum())
        with np.errstate(over="ignore"):
            is_possible = name in ("linear", "sqrt") or bool(UNDO[name](np.asarray(self.highest)) < _HIGHEST)
        is_known = is_possible and bool(len(total)) and bool(np.isfinite(total).all())
        middle = float(np.median(total)) if is_known else 1.0
        distance = np.abs(total / middle - 1) if is_known else np.array([np.inf])
        is_common = is_known and bool((distance < SAME_SUM).mean() > _MOST)
        enough = is_known and entries >= _MIN_ENTRIES
        return Trace(
            total=total,
            unit=unit,
            common_sum=middle if is_common else None,
            spread=float(np.quantile(distance, _MOST)) if is_common else np.inf,
            whole=float(whole.sum()) / entries if enough else 0.0,
            residual=float(residual.sum()) / entries if enough else np.inf,
        )

    def sum_without_some_genes(self) -> tuple[float, int] | None:
        """Look for genes without which nearly all cells have one sum before the logarithm.

        Returns:
            The sum, and how many genes were not counted in it; ``None`` where there are no such genes, or where the
            sample was looked at by another process.
        """
        if not self._sample or sum(part.shape[0] for part in self._sample) < _MIN_ENTRIES:
            return None
        return _leave_out(vstack(self._sample, format="csr"))

    def state(self) -> dict[str, np.ndarray]:
        """Return what was found, as arrays."""
        return {"sample": self._rows, "highest": np.array(self.highest), "is_whole": np.array(self.is_whole)}

    def load(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from what :meth:`state` returned."""
        found = np.asarray(state["sample"])
        self._rows = np.zeros((len(found), _COLUMNS))
        self._rows[:, : found.shape[1]] = found
        self.highest, self.is_whole = float(state["highest"]), bool(state["is_whole"])


def is_whole(values: np.ndarray) -> bool:
    """Return whether all values are whole numbers, whatever their type."""
    if values.dtype.kind in "iu":
        return True
    # Piece by piece, so that what is computed on stays in the processor's cache.
    pieces = (values[first : first + _PIECE] for first in range(0, len(values), _PIECE))
    return all(bool((piece == np.rint(piece)).all()) for piece in pieces)


def _leave_out(matrix: csr_matrix) -> tuple[float, int] | None:
    """Take away, one after the other, the gene whose absence makes the sums of cells most alike."""
    with np.errstate(over="ignore"):
        linear = csr_matrix((np.expm1(matrix.data.astype(np.float64)), matrix.indices, matrix.indptr), matrix.shape)
    linear = linear[np.diff(linear.indptr) > 0]
    num_cells, total = linear.shape[0], np.asarray(linear.sum(axis=1)).ravel()
    mean = np.asarray(linear.mean(axis=0)).ravel()
    variance = np.asarray(linear.multiply(linear).mean(axis=0)).ravel() - mean**2
    for number in range(1, min(_MOST_LEFT_OUT, linear.shape[1] - 1) + 1):
        gain = 2 * (linear.T @ (total - total.mean())) / num_cells - variance
        gene = int(np.argmax(gain))
        if not gain[gene] > 0:
            return None
        total = total - linear[:, [gene]].toarray().ravel()
        middle = float(np.median(total))
        if middle <= 0:
            return None
        if (np.abs(total / middle - 1) < _EQUAL).mean() > _MOST_WITHOUT:
            return middle, number
    return None


def _look(matrix: csr_matrix, cells: np.ndarray) -> np.ndarray:
    """One row for each cell with expression."""
    lengths = np.diff(matrix.indptr)
    expressed = lengths > 0
    lengths, starts = lengths[expressed], matrix.indptr[:-1][expressed]
    if not len(lengths):
        return np.zeros((0, _COLUMNS))
    values = matrix.data.astype(np.float64)
    fractional = np.add.reduceat((values != np.rint(values)).astype(np.float64), starts)
    columns = [cells[expressed], fractional == 0]
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        traces = [_trace(undo(values), starts, lengths) for undo in UNDO.values()]
    columns += [column for trace in traces for column in trace]
    # A few genes may all have two counts or more by chance.
    columns += [np.minimum.reduceat(values, starts), (lengths >= _EXPRESSED_GENES) * lengths / matrix.shape[1]]
    return np.stack(columns, axis=1).astype(np.float64)


def _trace(values: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, ...]:
    """:data:`_FIELDS` of each cell."""
    total = np.add.reduceat(values, starts)
    smallest = np.minimum.reduceat(values, starts)
    ratio = values / np.repeat(smallest, lengths)
    best: np.ndarray
    for divisor in (1, 2, 3):
        # A cell's smallest value may be two or three counts.
        multiple = ratio * divisor
        counted = (ratio > 1 + _WHOLE) & (multiple < _LARGEST_MULTIPLE)
        distance = np.where(counted, np.abs(multiple - np.rint(multiple)), 0.0)
        entries = np.add.reduceat(counted.astype(np.float64), starts)
        whole = np.add.reduceat((counted & (distance < _WHOLE)).astype(np.float64), starts)
        columns = np.stack([total, smallest / divisor, whole, np.add.reduceat(distance, starts), entries])
        if divisor == 1:
            best = columns
            continue
        share, others = (each[2] / np.maximum(each[4], 1) for each in (columns, best))
        better = (share > others + 0.2) & (entries >= _ENTRIES_FOR_DIVISORS)
        best[:, better] = columns[:, better]
    return tuple(best)
