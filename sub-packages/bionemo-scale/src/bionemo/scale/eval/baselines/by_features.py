# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Changes of perturbations that were never trained, from those of trained ones with similar vectors.

Three textbook estimators. Each sees the mean change of every trained perturbation and one vector for each agent. How
perturbations are alike follows from their agents: a combination has the sum of its agents' vectors, and the sum of the
kernel over all pairs of agents. Penalties are those with the least squared error when trained perturbations are left
out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bionemo.scale.estimate.features import AgentFeatures
from bionemo.scale.estimate.labels import ParseAgents


PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
RANK = 10
"""Most principal components of changes that the bilinear model knows of."""
_FOLDS = 20


@dataclass(frozen=True, kw_only=True)
class ChangesByFeatures:
    """Trained perturbations whose agents all have vectors."""

    features: AgentFeatures
    parse: ParseAgents
    labels: tuple[str, ...]
    changes: np.ndarray
    """[labels, G] float64, mean change over training contexts."""

    @classmethod
    def of(
        cls, changes: Mapping[str, np.ndarray], *, features: AgentFeatures, parse: ParseAgents
    ) -> "ChangesByFeatures | None":
        """Take the changes of trained perturbations; ``None`` where fewer than two have vectors."""
        labels = tuple(name for name in changes if _is_described(name, features, parse))
        if len(labels) < 2:
            return None
        stacked = np.stack([changes[name] for name in labels])
        return cls(features=features, parse=parse, labels=labels, changes=stacked)

    def describes(self, label: str) -> bool:
        """Whether every agent of a label has a vector."""
        return _is_described(label, self.features, self.parse)

    @property
    def mean(self) -> np.ndarray:
        """[G] mean change of trained perturbations."""
        return self.changes.mean(axis=0)

    def nearest(self, label: str) -> str:
        """Return the trained perturbation whose vector is nearest; of equally near ones the first."""
        return self.features.nearest([label], self.labels, self.parse)[0][0]

    def nearest_neighbour(self, label: str) -> np.ndarray:
        """Return [G] the change of the trained perturbation that is nearest by its vector."""
        return self.changes[self.labels.index(self.nearest(label))]

    def kernel_ridge(self, label: str) -> np.ndarray:
        """Return [G] ``m + k (K + penalty)^-1 (Y - m)``.

        Y are the trained changes, K and k the kernel of :class:`~bionemo.scale.estimate.features.AgentFeatures` among
        trained perturbations and with this one, m an intercept that is not penalised.
        """
        intercept, weights = self._ridge
        return intercept + self._kernel([label])[0] @ weights

    def bilinear(self, label: str) -> np.ndarray:
        """Return [G] ``m + p W g``, with ridge penalties on both sides (Ahlmann-Eltze 2025).

        p is the perturbation's vector (centred, mean squared length 1), g the genes' coordinates on the first
        principal components of the trained changes, at most :data:`RANK`, and m the trained changes' mean.
        """
        model, penalties = self._bilinear
        return model.predict(self._products([label]), penalties)[0]

    @cached_property
    def _ridge(self) -> tuple[np.ndarray, np.ndarray]:
        """Intercept, [G], and weights, [labels, G]."""
        kernel, size = self._kernel(self.labels), len(self.labels)
        solved = [_bordered(kernel, self.changes, penalty) for penalty in PENALTIES]
        # What is wrong with a perturbation that is left out, intercept included, is its weight over the inverse's
        # diagonal.
        errors = [float(((weights[:size] / inverse[:size, None]) ** 2).sum()) for weights, inverse in solved]
        weights, _ = solved[int(np.argmin(errors))]
        return weights[size], weights[:size]

    @cached_property
    def _bilinear(self) -> tuple["_Bilinear", tuple[float, float]]:
        """The model, and its penalties."""
        products, size = self._products(self.labels), len(self.labels)
        fold = np.arange(size) % min(_FOLDS, size)
        pairs = [(first, second) for first in PENALTIES for second in PENALTIES]
        errors = dict.fromkeys(pairs, 0.0)
        for number in range(int(fold.max()) + 1):
            out, kept = fold == number, fold != number
            model = _Bilinear(products[np.ix_(kept, kept)], self.changes[kept])
            for pair in pairs:
                predicted = model.predict(products[np.ix_(out, kept)], pair)
                errors[pair] += float(((predicted - self.changes[out]) ** 2).sum())
        return _Bilinear(products, self.changes), min(pairs, key=lambda pair: errors[pair])

    @cached_property
    def _trained(self) -> np.ndarray:
        """[labels, F] vectors of the trained perturbations."""
        return self.features.of_labels(self.labels, self.parse)

    def _products(self, labels: Sequence[str]) -> np.ndarray:
        """Return [labels, trained] products of vectors, scaled to a mean squared length of trained ones of 1."""
        scale = max(float((self._trained**2).sum(axis=1).mean()), np.finfo(float).tiny)
        return self.features.of_labels(labels, self.parse) @ self._trained.T / scale

    def _kernel(self, labels: Sequence[str]) -> np.ndarray:
        """Return [labels, trained] sums of the kernel over pairs of agents."""
        copies, names = _copies(labels, self.parse)
        trained, others = _copies(self.labels, self.parse)
        return copies @ self.features.kernel(names, others) @ trained.T


def _copies(labels: Sequence[str], parse: ParseAgents) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return [labels, agents] float64 how often each label has each agent, and the agents."""
    agents = [[name for name, _ in parse(label)] for label in labels]
    column = {name: number for number, name in enumerate(dict.fromkeys(name for each in agents for name in each))}
    copies = np.zeros((len(labels), len(column)))
    for row, each in enumerate(agents):
        for name in each:
            copies[row, column[name]] += 1
    return copies, tuple(column)


class _Bilinear:
    """The bilinear model of some trained perturbations, decomposed so that any penalties are quick.

    Args:
        among: [labels, labels] products of their vectors.
        changes: [labels, G].
    """

    def __init__(self, among: np.ndarray, changes: np.ndarray):
        self._mean = changes.mean(axis=0)
        _, values, genes = np.linalg.svd(changes - self._mean, full_matrices=False)
        self._values, self._genes = values[:RANK], genes[:RANK]
        self._lengths, self._axes = np.linalg.eigh(among)
        self._on_axes = self._axes.T @ (changes - self._mean) @ self._genes.T

    def predict(self, cross: np.ndarray, penalties: tuple[float, float]) -> np.ndarray:
        """Return [others, G] changes.

        Args:
            cross: [others, labels] products of vectors with trained ones.
            penalties: Of the perturbations' side, and of the genes' side in units of the mean squared singular value.
        """
        unit = max(float((self._values**2).mean()), float(np.finfo(float).tiny))
        kept = self._values**2 / (self._values**2 + penalties[1] * unit)
        weights = self._on_axes * kept / (np.maximum(self._lengths, 0.0) + penalties[0])[:, None]
        return self._mean + cross @ self._axes @ weights @ self._genes


def _is_described(label: str, features: AgentFeatures, parse: ParseAgents) -> bool:
    return bool((features.rows([name for name, _ in parse(label)]) >= 0).all())


def _bordered(kernel: np.ndarray, changes: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """Solve kernel ridge regression with an intercept.

    Returns:
        [labels + 1, G] weights with the intercept last, and the diagonal of the inverse of the system.
    """
    size = len(kernel)
    system = np.ones((size + 1, size + 1))
    system[:size, :size] = kernel + penalty * np.eye(size)
    system[size, size] = 0.0
    inverse = np.linalg.inv(system)
    return inverse[:, :size] @ changes, np.diag(inverse)
