# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Reads the cells of an h5ad file or zarr store for scoring: log1p expression or counts, with labels."""

import difflib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from bionemo.scale.counts.counted import LIBRARY_SIZE
from bionemo.scale.eval.cells.library_size import read_library_sizes, scaled
from bionemo.scale.eval.cells.population_file import PopulationFile
from bionemo.scale.eval.cells.populations import Expression, Population
from bionemo.scale.eval.cells.predicted_sd import read_predicted_sd
from bionemo.scale.eval.cells.stored import BLOCK_VALUES, StoredMatrix
from bionemo.scale.eval.cells.value_check import ValueCheck
from bionemo.scale.files.anndata.checked_anndata import CheckedAnnData
from bionemo.scale.files.anndata.label_column import (
    ALL_CELLS,
    Labels,
    has_labels,
    joined,
    look_alikes,
    read_label_columns,
    same_label,
)
from bionemo.scale.files.anndata.matrix_on_disk import MatrixOnDisk
from bionemo.scale.files.expression_scale import read_base
from bionemo.scale.files.provenance import hash_file
from bionemo.scale.files.suggest import some
from bionemo.scale.types import DataCard, FileLabels, InputError, ObsKeys


IN_MEMORY = 1 << 28
"""Files whose dense X would have up to this many bytes are read at once; larger ones context by context."""
_ALMOST = 0.7
"""Likeness of names that are meant to be the same: "celltype" and "cell_type", not "cell_line"."""
ONE_CELL_TYPE = ALL_CELLS
"""Cell type of files that name none."""
ONE_BATCH = "one batch"
"""Batch of files that name none."""


def read_population(
    path: Path,
    *,
    labels: FileLabels | None = None,
    replicate_key: str | None = None,
    in_memory: int = IN_MEMORY,
) -> PopulationFile:
    """Read an h5ad file or zarr store; what is large stays in the file until it is needed.

    X is log1p expression, or counts beside ``obs["library_size"]``, which are scaled and become log1p expression.

    Args:
        path: The file. ``uns["bionemo_scale"]["card"]``, where present, names the obs columns and the control label.
        labels: Columns, control label and scale of files without a card; ``None`` takes the defaults.
        replicate_key: obs column with the replicate of a cell; ``None`` reads none.
        in_memory: Bytes of dense float32 up to which X is read now.

    Raises:
        InputError: The file is no AnnData or damaged, has no cells or genes, lacks a column, or holds no log1p
            expression; or it holds counts and nobody says to which library size they are to be scaled.
    """
    with CheckedAnnData(path) as file:
        own = file.facts("uns/bionemo_scale")
        card = read_card(own, path)
        used, notes = labels_to_use(path, card, labels)
        matrix = file.matrix("X")
        genes = _gene_names(file)
        predicted_sd = read_predicted_sd(file, genes)
        has_sizes = LIBRARY_SIZE in file.columns("obs")
        base = read_base(file.element("uns/log1p/base"))
        check = ValueCheck(matrix.shape[0], path, base, has_library_size=has_sizes)
        expression = _read_expression(matrix, check, in_memory)
        # Of log1p values nobody asks for them, and the column may hold anything.
        sizes = read_library_sizes(file, check.sums) if check.are_counts else None
        unit = None if sizes is None else _unit(sizes, _target_sum(card, used), path)
        expression = expression if unit is None else _scaled(expression, unit)
        batch, batch_notes = _batches(file, used.keys.batch, required=used.keys.batch != ObsKeys().batch)
        replicate = None if replicate_key is None else read_label_columns(file, replicate_key)
        has_cell_types = card is not None or _names_cell_types(file, used.keys.cell_type)
        perturbation = read_label_columns(file, used.keys.perturbation, named=(used.control,))
        cell_type = read_label_columns(file, used.keys.cell_type) if has_cell_types else same_label(file.num_cells)
        covariates = [read_label_columns(file, key) for key in used.keys.covariates]
        context = joined([cell_type, *covariates], where=f"{path}: cell types with covariates")
    notes += batch_notes
    if not has_cell_types:
        notes.append(f"{path.name} has no obs column {used.keys.cell_type!r}: taken as one cell type")
    for what, column in (("perturbations", perturbation), ("cell types", context), ("batches", batch)):
        notes += (*column.notes, *look_alikes(column.names, what=f"{path.name}: {what}"))
    return PopulationFile(
        path=path,
        population=Population(
            expression=expression,
            genes=genes,
            perturbation=perturbation.of_cells(),
            cell_type=context.of_cells(),
            batch=batch.of_cells(),
            unit=unit,
            replicate=None if replicate is None else replicate.of_cells(),
        ),
        labels=used,
        card=card,
        store=_text(own.get("store")),
        sha256=hash_file(path),
        row_sums=check.sums if unit is None else _row_sums(expression),
        evidence=check.evidence if unit is None else None,
        predicted_sd=predicted_sd,
        has_cell_types=has_cell_types,
        covariates=_of_contexts(context, covariates),
        origin=_text(own.get("checkpoint", own.get("baseline"))),
        notes=tuple(notes),
    )


def _of_contexts(context: Labels, covariates: Sequence[Labels]) -> dict[str, tuple[str, ...]]:
    """Return the covariates of each context; nothing where there are none."""
    if not covariates:
        return {}
    codes, first = np.unique(context.codes, return_index=True)
    return {
        context.names[code]: tuple(each.names[each.codes[cell]] for each in covariates)
        for code, cell in zip(codes.tolist(), first.tolist(), strict=True)
    }


def labels_to_use(path: Path, card: DataCard | None, given: FileLabels | None) -> tuple[FileLabels, list[str]]:
    """Return how the cells of a file are labelled, which a card knows better than the user, and notes."""
    used, notes = given or FileLabels(), []
    if card is not None:
        if given is not None and (given.keys, given.control) != (card.keys, card.control):
            notes.append(f"{path.name} says itself how its cells are labelled; label options are not used for it")
        used = FileLabels(keys=card.keys, control=card.control)
    return replace(used, control=used.control.strip()), notes


def _read_expression(matrix: MatrixOnDisk, check: ValueCheck, in_memory: int) -> Expression:
    """Return X, in memory where it is small, after a check of every value."""
    num_cells, num_genes = matrix.shape
    if num_cells * num_genes * 4 > in_memory and matrix.layout != "csc":
        check.run(matrix)
        rows = np.arange(num_cells, dtype=np.int64)
        return StoredMatrix(path=check.path, num_stored=num_cells, num_columns=num_genes, rows=rows)
    whole = matrix.whole()
    if sparse.issparse(whole):
        _refuse_repeats(whole, check.path)
    check.run(whole)
    return whole.astype(np.float32) if sparse.issparse(whole) else np.ascontiguousarray(whole, dtype=np.float32)


def _refuse_repeats(matrix: sparse.spmatrix, path: Path) -> None:
    """Refuse entries of a cell for the same gene: there is no sum of logarithms to take for them."""
    stored = matrix.nnz
    matrix.sum_duplicates()
    if matrix.nnz != stored:
        raise InputError(
            f"{path}: X must have each gene of a cell once, found {stored - matrix.nnz} entries of genes that their "
            "cells have already"
        )


def _target_sum(card: DataCard | None, labels: FileLabels) -> float | None:
    return labels.target_sum if card is None else card.scale.target_sum


def _unit(sizes: np.ndarray, target_sum: float | None, path: Path) -> np.ndarray:
    """Return what one count is worth in each cell, before the logarithm."""
    if target_sum is None:
        raise InputError(
            f"{path}: found counts; expected --target-sum, such as --target-sum 10000, the library size that they are "
            "to be scaled to before log1p"
        )
    return target_sum / sizes


def _scaled(counts: Expression, unit: np.ndarray) -> Expression:
    return replace(counts, unit=unit) if isinstance(counts, StoredMatrix) else scaled(counts, unit)


def _row_sums(expression: Expression) -> np.ndarray:
    """Return the sum of each cell, [cells] float64."""
    if not isinstance(expression, StoredMatrix):
        return np.asarray(expression.sum(axis=1, dtype=np.float64)).reshape(-1)
    num, step = expression.shape[0], max(1, BLOCK_VALUES // max(1, expression.shape[1]))
    sums = np.empty(num)
    for start in range(0, num, step):
        rows = np.arange(start, min(start + step, num))
        block = np.empty((len(rows), expression.shape[1]), dtype=np.float32)
        expression.select(rows).copy_to(block)
        sums[rows] = block.sum(axis=1, dtype=np.float64)
    return sums


def read_card(own: dict, path: Path) -> DataCard | None:
    """Return the data card of a file; ``None`` where it has none.

    Args:
        own: ``uns["bionemo_scale"]``.
        path: The file, for the message.

    Raises:
        InputError: It is no data card.
    """
    if "card" not in own:
        return None
    try:
        return DataCard.from_json(str(own["card"]))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: uns['bionemo_scale']['card'] is no data card ({error!r})") from error


def _gene_names(file: CheckedAnnData) -> tuple[str, ...]:
    names = pd.Index(file.index("var")).astype(str)
    twice = names[names.duplicated()].unique().tolist()
    if twice:
        raise InputError(f"{file.path}: gene names must be unique, found {some(twice)} more than once")
    return tuple(names)


def _batches(file: CheckedAnnData, key: str, *, required: bool) -> tuple[Labels, list[str]]:
    if required or has_labels(file, key):
        return read_label_columns(file, key), []
    return same_label(file.num_cells, ONE_BATCH), [f"{file.path.name} has no obs column {key!r}: taken as one batch"]


def _names_cell_types(file: CheckedAnnData, key: str) -> bool:
    """Whether there is the column, or must be: it was asked for, or one with almost its name is there."""
    columns = file.columns("obs")
    if key in columns or key != ObsKeys().cell_type:
        return True
    return bool(difflib.get_close_matches(key, [name.lower() for name in columns], cutoff=_ALMOST))


def _text(value: object) -> str | None:
    return None if value is None else str(value)
