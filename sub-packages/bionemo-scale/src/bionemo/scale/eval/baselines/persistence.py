# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Persistence: how much of what distinguishes a context's controls is still there after the perturbation.

Trial statisticians prefer this (analysis of covariance) to change scores. With x the control mean of the context to
predict, m0 and m1 the control and perturbed means of the training contexts,

    predicted mean = m1 + rho (x - m0)

rho = 1 is the additive effect, rho = 0 the perturbation mean.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


SHRINKAGE = (1.0, 10.0, 100.0, 1000.0)
"""How strongly a gene's rho is drawn to the pooled one: in units of the pooled sum of squares of a gene."""


@dataclass(frozen=True, kw_only=True)
class ContextMeans:
    """A perturbation in one training context."""

    perturbed: np.ndarray
    """[G] float64, mean expression of its perturbed cells."""
    control: np.ndarray
    """[G] float64, mean expression of its control cells."""


@dataclass(frozen=True, kw_only=True)
class Persistence:
    """Fitted by least squares to what each training context shows when it is left out."""

    rho: float
    """One for all genes."""
    rho_of_gene: np.ndarray
    """[G], drawn to ``rho`` as strongly as predicts left-out contexts best."""
    means: dict[str, ContextMeans]
    """Perturbation to its means over training contexts, with equal weight."""

    def predict(self, perturbation: str, control: np.ndarray, *, by_gene: bool) -> np.ndarray | None:
        """Return [G] the mean of a perturbation beside given controls, ``None`` for an untrained perturbation."""
        if perturbation not in self.means:
            return None
        means = self.means[perturbation]
        return means.perturbed + (self.rho_of_gene if by_gene else self.rho) * (control - means.control)


def fit_persistence(by_context: Mapping[str, Mapping[tuple[str, str], ContextMeans]]) -> Persistence | None:
    """Fit rho by leaving training contexts out one at a time.

    Args:
        by_context: Perturbation to (dataset, cell type) to its means there.

    Returns:
        ``None`` where no context has both perturbed and control cells. Where every perturbation is in one context
        only, nothing can be left out and rho is 1, the additive effect.
    """
    if not by_context:
        return None
    means = {name: _average(list(contexts.values())) for name, contexts in by_context.items()}
    num_genes = next(iter(means.values())).control.size
    products = _products(by_context)
    if not products:
        return Persistence(rho=1.0, rho_of_gene=np.ones(num_genes), means=means)
    cross, square = (np.sum(values, axis=0) for values in zip(*products.values(), strict=True))
    rho = _ratio(cross.sum(), square.sum())
    strength = min(SHRINKAGE, key=lambda value: _left_out_error(products, value))
    return Persistence(rho=rho, rho_of_gene=_shrunk(cross, square, strength), means=means)


def _average(contexts: list[ContextMeans]) -> ContextMeans:
    return ContextMeans(
        perturbed=np.mean([context.perturbed for context in contexts], axis=0),
        control=np.mean([context.control for context in contexts], axis=0),
    )


def _products(by_context: Mapping) -> dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]:
    """Return for each left-out context the sums over perturbations, [G] each, of what a regression through 0 needs.

    The response is the context's perturbed mean less that of the others, the predictor the same of the controls.
    """
    products: dict[tuple[str, str], tuple[np.ndarray, np.ndarray]] = {}
    for contexts in by_context.values():
        for name, left_out in contexts.items():
            others = [context for other, context in contexts.items() if other != name]
            if not others:
                continue
            rest = _average(others)
            predictor, response = left_out.control - rest.control, left_out.perturbed - rest.perturbed
            cross, square = products.get(name, (0.0, 0.0))
            products[name] = (cross + predictor * response, square + predictor**2)
    return products


def _ratio(cross: float, square: float) -> float:
    return float(cross / square) if square > 0 else 1.0


def _shrunk(cross: np.ndarray, square: np.ndarray, strength: float) -> np.ndarray:
    prior = strength * square.mean()
    pooled = _ratio(cross.sum(), square.sum())
    return (cross + prior * pooled) / np.maximum(square + prior, np.finfo(float).tiny)


def _left_out_error(products: dict, strength: float) -> float:
    """Return the squared error of left-out contexts, less a constant, with the slopes of the others."""
    error = 0.0
    for name, (cross, square) in products.items():
        others = [values for other, values in products.items() if other != name]
        if not others:
            continue
        rho = _shrunk(sum(values[0] for values in others), sum(values[1] for values in others), strength)
        error += float((rho**2 * square - 2 * rho * cross).sum())
    return error
