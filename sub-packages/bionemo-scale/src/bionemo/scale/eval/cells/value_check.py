# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Tells counts from log1p of scaled counts, and refuses values that plainly are neither."""

from pathlib import Path

import numpy as np
from scipy import sparse

from bionemo.scale.eval.cells.library_size import HOW_TO
from bionemo.scale.eval.cells.stored import value_blocks
from bionemo.scale.files.anndata.matrix_on_disk import MatrixOnDisk
from bionemo.scale.files.expression_scale import StatedScale, base_refusal, check_range, check_transformation
from bionemo.scale.files.scale_evidence import ScaleEvidence
from bionemo.scale.types import InputError


_MIN_FRACTION = 1e-3
"""What cell-eval takes for more than the rounding of a whole number."""


class ValueCheck:
    """One pass over all values of a file; it also collects the sums of cells and evidence of the scale."""

    def __init__(self, num_cells: int, path: Path, base: float | None, *, has_library_size: bool = False) -> None:
        self.sums = np.zeros(num_cells)
        """[cells] float64, the sum of each cell's values."""
        self.are_counts = False
        """Whether all values are whole numbers, in a file that says how large each cell's library is."""
        self._has_library_size = has_library_size
        self.evidence = ScaleEvidence(num_cells)
        self.path, self._where, self._base = path, str(path), base

    def run(self, x: np.ndarray | sparse.csr_matrix | MatrixOnDisk) -> None:
        """Check every value.

        Raises:
            InputError: NaN or infinite, negative, too large, whole numbers only without library sizes, or another
                transformation.
        """
        lowest, bad, fractions = np.inf, 0, False
        for block in value_blocks(x, x.shape[1]):
            values = block.values
            if not np.issubdtype(values.dtype, np.number):
                raise InputError(f"{self._where}: X must be numeric, found {values.dtype}")
            if not values.size:
                continue
            bad += int(values.size - np.isfinite(values).sum())
            lowest = min(lowest, float(values.min()))
            if not bad and lowest >= 0:
                fractions = fractions or bool((np.modf(values)[0] > _MIN_FRACTION).any())
                self.sums[block.rows] = block.row_sums()
                self.evidence.add(block.expressed(x.shape[1]), block.rows.start)
        expected = f"{self._where}: X must hold log1p of normalised counts"
        if bad:
            raise InputError(f"{expected}, found {bad} NaN or infinite values")
        if lowest < 0:
            raise InputError(f"{expected}, found negative values down to {lowest:.4g}")
        self._check(expected, fractions)

    def _check(self, expected: str, fractions: bool) -> None:
        if self.evidence.highest == 0:
            raise InputError(f"{expected}, every value is 0")
        if not fractions and self._has_library_size:
            self.are_counts = True
            return
        if not fractions:
            raise InputError(
                f"{expected}, found whole numbers only (up to {self.evidence.highest:g}): raw counts; {HOW_TO}"
            )
        stated = StatedScale(takes_counts=False, base=self._base)
        check_range(self.evidence, self._where, stated)
        if self._base is not None:
            raise base_refusal(self._where, stated)
        check_transformation(self.evidence, self._where, stated)
