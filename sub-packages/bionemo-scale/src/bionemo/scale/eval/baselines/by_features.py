# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Changes of perturbations that were never trained, from those of trained ones with similar vectors.

Three textbook estimators. Each sees the mean change of every trained perturbation and one vector for each agent. How
perturbations are alike follows from their agents: a combination has the sum of its agents' vectors, and the sum of the kernel
over all pairs of agents. Penalties are those with the least squared error when trained perturbations are left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bionemo.scale.estimate.features import AgentFeatures, squared_distances
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
        vectors = self._vectors([label, *self.labels])
        return self.labels[int(squared_distances(vectors[:1], vectors[1:])[0].argmin())]

    def nearest_neighbour(self, label: str) -> np.ndarray:
        """Return [G] the change of the trained perturbation that is nearest by its vector."""
        return self.changes[self.labels.index(self.nearest(label))]

    def kernel_ridge(self, label: str) -> np.ndarray:
        """Return [G] ``m + k (K + penalty)^-1 (Y - m)``.

        Y are the trained changes, K and k the kernel of :class:`~bionemo.scale.estimate.features.AgentFeatures` among trained
        perturbations and with this one, m an intercept that is not penalised.
        """
        intercept, weights = self._ridge
        return intercept + self._kernel([label], self.labels)[0] @ weights

    def bilinear(self, label: str) -> np.ndarray:
        """Return [G] ``m + p W g``, with ridge penalties on both sides (Ahlmann-Eltze 2025).

        p is the perturbation's vector (centred, mean squared length 1), g the genes' coordinates on the first principal
        components of the trained changes, at most :data:`RANK`, and m the trained changes' mean.
        """
        changes, (penalty, gene_penalty) = self.changes, self._bilinear_penalties
        products = self._products([label], self.labels)
        return _bilinear(self._products(self.labels, self.labels), products, changes, (penalty, gene_penalty))[0]

    @cached_property
    def _ridge(self) -> tuple[np.ndarray, np.ndarray]:
        """Intercept, [G], and weights, [labels, G]."""
        kernel, size = self._kernel(self.labels, self.labels), len(self.labels)
        solved = [_bordered(kernel, self.changes, penalty) for penalty in PENALTIES]
        # The residual of a perturbation that is left out, intercept included, is its weight over the inverse's diagonal.
        errors = [float(((weights[:size] / inverse[:size, None]) ** 2).sum()) for weights, inverse in solved]
        weights, _ = solved[int(np.argmin(errors))]
        return weights[size], weights[:size]

    @cached_property
    def _bilinear_penalties(self) -> tuple[float, float]:
        products, size = self._products(self.labels, self.labels), len(self.labels)
        fold = np.arange(size) % min(_FOLDS, size)
        pairs = [(first, second) for first in PENALTIES for second in PENALTIES]
        errors = dict.fromkeys(pairs, 0.0)
        for number in range(int(fold.max()) + 1):
            out, kept = fold == number, fold != number
            among, cross = products[np.ix_(kept, kept)], products[np.ix_(out, kept)]
            for pair in pairs:
                predicted = _bilinear(among, cross, self.changes[kept], pair)
                errors[pair] += float(((predicted - self.changes[out]) ** 2).sum())
        return min(pairs, key=lambda pair: errors[pair])

    def _vectors(self, labels: Sequence[str]) -> np.ndarray:
        """Return [labels, F] sums of the centred vectors of agents."""
        return np.stack([self._agents(label).sum(axis=0) for label in labels])

    def _agents(self, label: str) -> np.ndarray:
        rows = self.features.rows([name for name, _ in self.parse(label)])
        return self.features.vectors[rows] - self.features.centre

    def _products(self, labels: Sequence[str], others: Sequence[str]) -> np.ndarray:
        """Return [labels, others] products of vectors, scaled so that trained ones have a mean squared length of 1."""
        scale = (self._vectors(self.labels) ** 2).sum(axis=1).mean()
        return self._vectors(labels) @ self._vectors(others).T / max(float(scale), np.finfo(float).tiny)

    def _kernel(self, labels: Sequence[str], others: Sequence[str]) -> np.ndarray:
        agents = [[name for name, _ in self.parse(label)] for label in (*labels, *others)]
        names = sorted({name for each in agents for name in each})
        copies = np.array([[each.count(name) for name in names] for each in agents], dtype=np.float64)
        return copies[: len(labels)] @ self.features.kernel(names) @ copies[len(labels) :].T


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


def _bilinear(among: np.ndarray, cross: np.ndarray, changes: np.ndarray, penalties: tuple[float, float]) -> np.ndarray:
    """Return [others, G] predictions of the bilinear model.

    Args:
        among: [labels, labels] products of trained vectors.
        cross: [others, labels] products of vectors with trained ones.
        changes: [labels, G].
        penalties: Of the perturbations' side, and of the genes' side in units of the mean squared singular value.
    """
    mean = changes.mean(axis=0)
    _, values, genes = np.linalg.svd(changes - mean, full_matrices=False)
    values, genes = values[:RANK], genes[:RANK]
    kept = values**2 / (values**2 + penalties[1] * max(float((values**2).mean()), np.finfo(float).tiny))
    weights = np.linalg.solve(among + penalties[0] * np.eye(len(among)), (changes - mean) @ genes.T * kept)
    return mean + cross @ weights @ genes
