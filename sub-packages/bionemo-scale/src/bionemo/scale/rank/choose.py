# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Which conditions to measure next: those whose measurement leaves the least unknown of the whole screen."""

import numpy as np
import pandas as pd

from bionemo.scale.rank.orders import no_sd
from bionemo.scale.rank.screen import Screen
from bionemo.scale.types import InputError


def choose_next(screen: Screen, number: int) -> pd.DataFrame:
    """Choose conditions one after another, the most uncertain first, each given those before it.

    The errors of two conditions i and j are taken to have the covariance ``u_i u_j r_ij``: u the size of the standard
    deviation, r the cosine of their changes once the mean change of the cell type is subtracted. The next condition is
    the one with the largest variance given the chosen ones (pivoted Cholesky decomposition).

    Args:
        screen: With standard deviations.
        number: How many; not more than there are conditions.

    Returns:
        A row for each chosen condition, in order: its labels, ``score``, the standard deviation that was left when it
        was chosen, ``uncertainty``, that before any choice, and ``effect``.

    Raises:
        InputError: The screen has no standard deviations, or fewer conditions.
    """
    if screen.sd is None:
        raise no_sd(screen, "--next")
    if number > len(screen):
        raise InputError(f"--next must be at most {len(screen)}, the conditions of {screen.path}, found {number}")
    uncertainty = np.sqrt((screen.sd**2).mean(axis=1))
    chosen, left = pivots(_directions(screen) * uncertainty[:, None], uncertainty**2, number)
    table = pd.DataFrame({"cell_type": screen.cell_types[chosen], "perturbation": screen.perturbations[chosen]})
    table["score"] = np.sqrt(left)
    table["uncertainty"] = uncertainty[chosen]
    table["effect"] = np.sqrt((screen.change[chosen] ** 2).mean(axis=1))
    table.insert(0, "rank", np.arange(1, number + 1))
    return table


def pivots(factors: np.ndarray, variances: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows that a pivoted Cholesky decomposition takes, and the variance that each had left.

    Args:
        factors: [n, F] float64, whose products are the covariances.
        variances: [n] float64, at least the squares of the factors.
        number: Rows to take.
    """
    left, known = variances.copy(), np.zeros((len(factors), number))
    chosen, at_choice = np.empty(number, dtype=np.int64), np.empty(number)
    is_open = np.ones(len(factors), dtype=bool)
    for step in range(number):
        row = int(np.argmax(np.where(is_open, left, -np.inf)))
        chosen[step], at_choice[step], is_open[row] = row, left[row], False
        if left[row] <= 0:
            continue
        covariance = factors @ factors[row] - known @ known[row]
        known[:, step] = covariance / np.sqrt(left[row])
        left = np.maximum(left - known[:, step] ** 2, 0.0)
        left[row] = 0.0
    return chosen, at_choice


def _directions(screen: Screen) -> np.ndarray:
    """Return [n, G] of length 1: how each change differs from the mean of its cell type."""
    own, codes = screen.change.copy(), pd.factorize(screen.cell_types)[0]
    for cell_type in range(codes.max() + 1):
        own[codes == cell_type] -= own[codes == cell_type].mean(axis=0)
    length = np.linalg.norm(own, axis=1, keepdims=True)
    return np.divide(own, length, out=np.zeros_like(own), where=length > 0)
