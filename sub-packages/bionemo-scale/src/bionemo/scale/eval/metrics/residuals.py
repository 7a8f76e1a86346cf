# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Correlations of what is left of a change when its easy parts are taken away.

Most of a response is often shared by all perturbations of a context (handling, stress) or by all contexts of a
perturbation (what an additive baseline adds). A model that predicts only those has a high PDCorr; here it has none.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from bionemo.scale.eval.metrics.formulas import MIN_EFFECT, pearson_delta


MIN_PERTURBATIONS = 3
"""Perturbations of a context from which on their mean is told from any one of them."""


@dataclass(frozen=True, kw_only=True)
class Residuals:
    """[P] correlations over genes, NaN where a residual is undefined or zero."""

    context: np.ndarray
    """After removing the mean change over the perturbations of the context, from each side its own."""
    perturbation: np.ndarray
    """After removing the perturbation's mean change over training contexts, from both sides the same."""
    both: np.ndarray
    """After removing first the perturbation's, then the context's mean."""


def residual_correlations(
    pred: Float[np.ndarray, "P G"],
    real: Float[np.ndarray, "P G"],
    trained: Float[np.ndarray, "P G"] | None,
) -> Residuals:
    """Correlate residual changes.

    Args:
        pred: Predicted changes of one context.
        real: Real changes.
        trained: Mean change of each perturbation over training contexts, NaN rows for those that have none; ``None``
            without training data.
    """
    nothing = np.full(len(pred), np.nan)
    context = _correlate(_without_mean(pred), _without_mean(real))
    if trained is None:
        return Residuals(context=context, perturbation=nothing, both=nothing)
    own_pred, own_real = pred - trained, real - trained
    return Residuals(
        context=context,
        perturbation=_correlate(own_pred, own_real),
        both=_correlate(_without_mean(own_pred), _without_mean(own_real)),
    )


def _without_mean(changes: np.ndarray) -> np.ndarray:
    known = ~np.isnan(changes).any(axis=1)
    if known.sum() < MIN_PERTURBATIONS:
        return np.full_like(changes, np.nan)
    return changes - changes[known].mean(axis=0)


def _correlate(pred: np.ndarray, real: np.ndarray) -> np.ndarray:
    moved = np.abs(pred).max(axis=1) >= MIN_EFFECT
    return np.where(moved, pearson_delta(pred, real), np.nan)
