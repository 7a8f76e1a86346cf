# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Predicted counts checked against the rules of a challenge, and written as one submission."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from bionemo.scale.files.anndata.anndata_file import H5adSource
from bionemo.scale.files.suggest import some
from bionemo.scale.files.writing.h5ad_writer import H5adWriter
from bionemo.scale.options.outputs import new_file
from bionemo.scale.submit.chosen import ChosenCells, choose_cells
from bionemo.scale.submit.panel import CONTEXT, PERTURBATION, Panel, read_panel
from bionemo.scale.submit.settings import SubmitSettings
from bionemo.scale.types import InputError


_WHOLE = 1e-6
"""How near to a whole number a count must be, as cell-eval2 has it."""


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What was written."""

    out: Path
    num_cells: int
    num_genes: int
    num_values: int
    """Counts above 0."""
    num_conditions: int
    contexts: tuple[str, ...]
    notes: tuple[str, ...] = ()
    """What was left out or put in order, a line each."""

    @property
    def line(self) -> str:
        """One line that says what was written."""
        return (
            f"wrote {self.out}: {self.num_cells:,} cells of {self.num_conditions:,} conditions in "
            f"{len(self.contexts)} contexts, {self.num_genes:,} genes, {self.num_values:,} counts above 0"
        )


def submit(settings: SubmitSettings) -> Submission:
    """Check predicted counts and write the submission, a block of cells at a time.

    Raises:
        InputError: A rule is broken that cannot be mended; nothing is written.
    """
    lists = [settings.genes, settings.perturbations]
    with new_file(settings.out, [*settings.inputs, *lists], overwrite=settings.overwrite):
        panel = read_panel(settings)
        chosen, notes = choose_cells(settings, panel)
        condition = np.concatenate([each.condition for each in chosen])
        total, num_values = np.zeros(len(panel.num_cells)), 0
        with H5adWriter(settings.out, obs=_obs(panel, condition), genes=panel.genes, uns={}, dense=False) as writer:
            for where, counts in _blocks(chosen, panel, settings):
                num_values += counts.nnz
                if num_values > settings.max_values:
                    genes = num_values / (writer.num_written + len(where))
                    raise InputError(
                        f"--max-values: expected at most {settings.max_values:,} counts above 0, found more, "
                        f"{genes:,.0f} genes of a cell on average; predict with a smaller --library-size"
                    )
                np.add.at(total, where, np.asarray(counts.sum(axis=1)).reshape(-1))
                writer.append(counts)
            _refuse_empty(panel, total)
    return Submission(
        out=settings.out,
        num_cells=len(condition),
        num_genes=len(panel.genes),
        num_values=num_values,
        num_conditions=len(panel.num_cells),
        contexts=panel.contexts,
        notes=tuple(notes),
    )


def _obs(panel: Panel, condition: np.ndarray) -> pd.DataFrame:
    pairs = list(panel.num_cells)
    columns = {PERTURBATION: [name for _, name in pairs], CONTEXT: [where for where, _ in pairs]}
    obs = pd.DataFrame(
        {name: pd.Categorical(np.array(labels, dtype=object)[condition]) for name, labels in columns.items()}
    )
    obs.index = obs.index.astype(str)
    return obs


def _blocks(
    chosen: list[ChosenCells], panel: Panel, settings: SubmitSettings
) -> Iterator[tuple[np.ndarray, csr_matrix]]:
    """Yield the condition of some cells and their [cells, G] counts, in the order of the files."""
    for each in chosen:
        with H5adSource(each.path) as source:
            for chunk in source.chunks():
                first, last = np.searchsorted(each.rows, [chunk.first_cell, chunk.first_cell + chunk.matrix.shape[0]])
                if last > first:
                    rows = each.rows[first:last]
                    counts = _of_genes(chunk.matrix[rows - chunk.first_cell], each.column, len(panel.genes))
                    _check(counts, rows, each.path, most=settings.max_counts)
                    yield each.condition[first:last], counts


def _of_genes(matrix: csr_matrix, column: np.ndarray, num_genes: int) -> csr_matrix:
    """Return the columns of the panel's genes, in their order."""
    place = column[matrix.indices]
    row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    is_asked = place >= 0
    shape = (matrix.shape[0], num_genes)
    return csr_matrix((matrix.data[is_asked], (row[is_asked], place[is_asked])), shape=shape)


def _check(counts: csr_matrix, rows: np.ndarray, path: Path, *, most: int) -> None:
    """Refuse what are no counts, and make them exact.

    Args:
        counts: [cells, G].
        rows: [cells] of the file.
        path: The file.
        most: Counts that a cell may have.
    """
    values = counts.data.astype(np.float64)
    is_whole = np.isfinite(values) & (values >= 0)
    is_whole[is_whole] = np.abs(values[is_whole] - np.rint(values[is_whole])) <= _WHOLE
    if not is_whole.all():
        raise InputError(
            f"{path}: X must hold whole counts, found {values[~is_whole][0]:.6g}; predict with bionemo-scale-infer "
            "--output counts"
        )
    counts.data = np.rint(values)
    counts.eliminate_zeros()
    size = np.asarray(counts.sum(axis=1)).reshape(-1)
    if size.max(initial=0) > most:
        raise InputError(
            f"{path}: expected at most {most:,} counts of a cell, found {size.max():,.0f} in cell "
            f"{rows[size.argmax()]} and too many in {int((size > most).sum())} cells; predict with --library-size"
        )


def _refuse_empty(panel: Panel, total: np.ndarray) -> None:
    empty = [f"{name} in {where}" for (where, name), sum_ in zip(panel.num_cells, total, strict=True) if not sum_]
    if empty:
        raise InputError(f"expected counts of every perturbation, found only zeros of {some(empty)}")
