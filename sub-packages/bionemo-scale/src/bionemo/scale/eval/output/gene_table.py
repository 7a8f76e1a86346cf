# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The table of every gene, pair and model, written part by part: all of a large screen would take gigabytes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bionemo.scale.eval.scores.scoring import Shift


_ROWS_AT_ONCE = 1 << 18
_LABELS = ("model", "context", "perturbation")
# float32 has no room for the p-values of large populations.
_SCHEMA = pa.schema(
    [
        *((name, pa.large_string()) for name in (*_LABELS, "gene")),
        *((name, pa.float32()) for name in ("pred", "real")),
        *((name, pa.float64()) for name in ("fdr_pred", "fdr_real")),
        *((name, pa.float32()) for name in ("sd_pred", "error_real")),
    ]
)


class GeneTable:
    """A parquet file that grows by the shifts of one context after the other."""

    def __init__(self, path: Path):
        self._file = path.open("wb")
        # A dictionary of numbers would only take time and room.
        texts = [field.name for field in _SCHEMA if pa.types.is_large_string(field.type)]
        self._writer = pq.ParquetWriter(self._file, _SCHEMA, compression="zstd", use_dictionary=texts)

    def add(self, shifts: Sequence[Shift]) -> None:
        """Write the genes of shifts, which have the same genes.

        Raises:
            OSError: The disk is full, or similar.
        """
        step = max(1, _ROWS_AT_ONCE // len(shifts[0].genes)) if shifts else 1
        for first in range(0, len(shifts), step):
            self._writer.write_table(_table(shifts[first : first + step]))

    def close(self) -> None:
        """Write the end of the file.

        Raises:
            OSError: The disk is full, or similar.
        """
        try:
            self._writer.close()
        finally:
            # Or it would try again when it is let go, and complain on the screen.
            self._writer.is_open = False
            self._file.close()


def _table(shifts: Sequence[Shift]) -> pa.Table:
    """Return one row for each shift and gene."""
    genes = shifts[0].genes
    of_shift, of_gene = np.repeat(np.arange(len(shifts)), len(genes)), np.tile(np.arange(len(genes)), len(shifts))
    columns = {
        name: pa.array([getattr(shift, name) for shift in shifts], pa.large_string()).take(pa.array(of_shift))
        for name in _LABELS
    }
    columns["gene"] = pa.array(genes, pa.large_string()).take(pa.array(of_gene))
    nothing = np.full(len(genes), np.nan)
    for field in _SCHEMA:
        if field.name not in columns:
            values = (getattr(shift, field.name) for shift in shifts)
            whole = np.concatenate([nothing if value is None else value for value in values])
            columns[field.name] = pa.array(whole.astype(field.type.to_pandas_dtype()))
    return pa.table(columns, schema=_SCHEMA)
