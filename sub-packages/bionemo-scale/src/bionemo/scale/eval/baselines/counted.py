# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Baselines as counts: their means, drawn around the matched control cells as the counts of a prediction are."""

import zlib

import numpy as np

from bionemo.scale.counts.counted import Counted
from bionemo.scale.counts.draw import draw_counts
from bionemo.scale.eval.baselines.estimators import BaselinePrediction, Targets


def as_counts(predicted: BaselinePrediction, targets: Targets, unit: np.ndarray) -> np.ndarray:
    """Return the log1p expression of counts that have a baseline's means, [cells, G] float32.

    Each (perturbation, batch) is one population. Cells keep the library sizes of their control cells.

    Args:
        predicted: Of the baseline, without the sampling of counts.
        targets: What it predicted from.
        unit: [cells] what one count of the matched control cell is worth before log1p.
    """
    drawn = np.empty_like(predicted.expression)
    labels = np.array([targets.perturbation.astype(str), targets.batch.astype(str)])
    names, inverse = np.unique(labels, axis=1, return_inverse=True)
    for number, name in enumerate(names.T.tolist()):
        rows = np.flatnonzero(inverse.reshape(-1) == number)
        each = unit[rows][:, None]
        controls = Counted(
            counts=np.rint(np.expm1(targets.matched_controls(rows)) / each), library_size=1 / unit[rows]
        )
        counts = draw_counts(
            controls,
            predicted.expression[rows].mean(axis=0, dtype=np.float64),
            # Only what a count is worth matters, and that is in the library sizes.
            target_sum=1.0,
            seed=zlib.crc32("\n".join([str(targets.seed), targets.cell_type, *name]).encode()),
        )
        drawn[rows] = np.log1p(counts * each)
    return drawn
