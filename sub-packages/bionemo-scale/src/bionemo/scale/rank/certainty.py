# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""From the uncertainty of genes to that of one number made of them."""

import numpy as np


_MOST_CONDITIONS = 1000
"""Conditions that the correlation of genes is taken from."""


class GeneErrors:
    """How the errors of a screen's genes go together: as its predicted changes do.

    A file says how unsure each gene is, not which genes err together; genes of one programme do. The correlation of
    two genes' errors is taken to be that of their changes over the conditions, counted from zero, with one more
    condition in which every gene changes by itself. So a single condition makes its genes err nearly as one,
    the widest interval.

    Args:
        change: [n, G] float64.
    """

    def __init__(self, change: np.ndarray):
        chosen = np.linspace(0, len(change) - 1, min(len(change), _MOST_CONDITIONS)).astype(np.int64)
        shape = change[chosen]
        size = np.sqrt((shape**2).mean(axis=0))
        self._shape = np.divide(shape, size, out=np.zeros_like(shape), where=size > 0)

    def variance(self, weights: np.ndarray) -> np.ndarray:
        """Return [m] variances of sums over genes.

        Args:
            weights: [m, G], derivative of each number by each gene's change, times the gene's standard deviation.
        """
        together = ((weights @ self._shape.T) ** 2).sum(axis=1)
        return (together + (weights**2).sum(axis=1)) / (len(self._shape) + 1)
