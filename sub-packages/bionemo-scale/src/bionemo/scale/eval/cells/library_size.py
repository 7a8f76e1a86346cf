# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Counts to score: read with the size of each cell's library, and scaled once."""

import numpy as np
from scipy import sparse

from bionemo.scale.counts.counted import LIBRARY_SIZE
from bionemo.scale.files.anndata.checked_anndata import CheckedAnnData
from bionemo.scale.files.expression_scale import check_library_sizes
from bionemo.scale.types import InputError


HOW_TO = (
    f"counts are scored where obs[{LIBRARY_SIZE!r}] holds the counts of each whole cell, as "
    "bionemo-scale-infer --output counts writes them"
)


def read_library_sizes(file: CheckedAnnData, sums: np.ndarray) -> np.ndarray | None:
    """Return the library size of each cell, [cells] float64; ``None`` where the file does not say.

    Args:
        file: The open file.
        sums: [cells] sums of the counts that it has.

    Raises:
        InputError: A value is no positive number, or values are no numbers of counts.
    """
    if LIBRARY_SIZE not in file.columns("obs"):
        return None
    try:
        sizes = np.asarray(file.column("obs", LIBRARY_SIZE), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{file.path}: obs[{LIBRARY_SIZE!r}] must hold numbers") from error
    wrong = np.flatnonzero(~(np.isfinite(sizes) & (sizes > 0)))
    if wrong.size:
        raise InputError(
            f"{file.path}: obs[{LIBRARY_SIZE!r}] must be positive, found {sizes[wrong[0]]:g} and {wrong.size} such "
            "cells in all"
        )
    check_library_sizes(
        sizes, sums, f"{file.path}: obs[{LIBRARY_SIZE!r}]", way_out="give the counts of each whole cell"
    )
    return sizes


def scaled(counts: np.ndarray | sparse.csr_matrix, unit: np.ndarray) -> np.ndarray | sparse.csr_matrix:
    """Return ``log1p(count * unit)``, float32, in the layout of the counts.

    Args:
        counts: [cells, G].
        unit: [cells] what one count is worth, target sum / library size.
    """
    if isinstance(counts, np.ndarray):
        return np.log1p(counts * unit[:, None]).astype(np.float32)
    rows = counts.astype(np.float64)
    rows.data = np.log1p(rows.data * np.repeat(unit, np.diff(rows.indptr)))
    return rows.astype(np.float32)


def counts_again(expression: np.ndarray, unit: np.ndarray) -> sparse.csr_matrix:
    """Return the counts that :func:`scaled` was given, [cells, G] float32.

    Exact up to about 200,000 counts of a gene, for float32 has no more digits.

    Args:
        expression: [cells, G] float32.
        unit: As there.
    """
    rows = sparse.csr_matrix(expression).astype(np.float64)
    rows.data = np.rint(np.expm1(rows.data) / np.repeat(unit, np.diff(rows.indptr)))
    rows.eliminate_zeros()
    return rows.astype(np.float32)
