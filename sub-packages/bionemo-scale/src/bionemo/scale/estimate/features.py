# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Vectors of agents (genes, drugs), and how alike they make perturbations."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bionemo.scale.estimate.labels import ParseAgents


@dataclass(frozen=True, kw_only=True)
class AgentFeatures:
    """One vector for each agent."""

    names: tuple[str, ...]
    vectors: np.ndarray
    """[agents, F] float64, as they are in the user's file."""
    centre: np.ndarray
    """[F] float64, mean of the vectors that a model was fitted with."""
    width: float
    """Median distance of two different vectors that a model was fitted with."""

    @classmethod
    def of(cls, names: Sequence[str], vectors: np.ndarray) -> "AgentFeatures":
        """Take the vectors of the agents that a model is fitted with.

        Args:
            names: Agents.
            vectors: [agents, F].
        """
        vectors = np.asarray(vectors, dtype=np.float64)
        return cls(names=tuple(names), vectors=vectors, **_spread(vectors))

    def fitted_to(self, trained: Collection[str]) -> "AgentFeatures":
        """Return the same vectors with the centre and width of trained agents; as they are where none has a vector."""
        rows = [row for row, name in enumerate(self.names) if name in trained]
        if not rows:
            return self
        return replace(self, **_spread(self.vectors[rows]))

    def with_others(self, names: Sequence[str], vectors: np.ndarray) -> "AgentFeatures":
        """Return features that also describe agents that are not there yet; centre and width stay."""
        new = [row for row, name in enumerate(names) if name not in self.names]
        stacked = np.concatenate([self.vectors, np.asarray(vectors, dtype=np.float64)[new]])
        return replace(self, names=(*self.names, *(names[row] for row in new)), vectors=stacked)

    def rows(self, names: Sequence[str]) -> np.ndarray:
        """Return [names] int64 rows of agents, -1 where one has no vector."""
        position = {name: row for row, name in enumerate(self.names)}
        return np.array([position.get(name, -1) for name in names], dtype=np.int64)

    def of_labels(self, labels: Sequence[str], parse: ParseAgents) -> np.ndarray:
        """Return [labels, F] sums of the centred vectors of their agents, NaN where one has no vector."""
        found = np.zeros((len(labels), self.vectors.shape[1]))
        for number, label in enumerate(labels):
            rows = self.rows([name for name, _ in parse(label)])
            found[number] = np.nan if (rows < 0).any() else (self.vectors[rows] - self.centre).sum(axis=0)
        return found

    def nearest(self, labels: Sequence[str], trained: Sequence[str], parse: ParseAgents) -> list[tuple[str, float]]:
        """Return for each label the trained one whose vector is nearest, and their distance.

        Args:
            labels: Perturbations.
            trained: Perturbations to choose from; those without a vector are never the nearest.
            parse: Reads their agents.

        Returns:
            Name and Euclidean distance in units of the median distance of two trained agents: 0 is the label itself or
            one with the same vector, 1 as far as two trained agents are apart. "" and NaN where there is no vector.
        """
        apart = np.sqrt(squared_distances(self.of_labels(labels, parse), self.of_labels(trained, parse)))
        found: list[tuple[str, float]] = []
        for label, row in zip(labels, apart / self.width, strict=True):
            if label in trained and not np.isnan(row).all():
                found.append((label, 0.0))
            elif np.isnan(row).all():
                found.append(("", float("nan")))
            else:
                best = int(np.nanargmin(row))
                found.append((trained[best], float(row[best])))
        return found

    def kernel(self, names: Sequence[str], others: Sequence[str] | None = None) -> np.ndarray:
        """Return [names, others] float64, how alike agents are: ``exp(-d / width)`` with their distance d.

        An agent is 1 with itself; one without a vector is 0 with all.
        """
        rows = self.rows(names)
        columns = rows if others is None else self.rows(others)
        apart = np.sqrt(squared_distances(self.vectors[rows], self.vectors[columns]))
        # Rounding keeps an agent from itself.
        apart[rows[:, None] == columns[None, :]] = 0.0
        alike = np.exp(-apart / self.width)
        return alike * np.outer(rows >= 0, columns >= 0)


def squared_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return [n, m] squared Euclidean distances of [n, F] and [m, F] vectors."""
    products = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1)[None, :] - 2 * first @ second.T
    return np.maximum(products, 0.0)


def _spread(vectors: np.ndarray) -> dict[str, Any]:
    return {"centre": vectors.mean(axis=0), "width": _median_distance(vectors)}


def _median_distance(vectors: np.ndarray) -> float:
    distances = np.sqrt(squared_distances(vectors, vectors)[np.triu_indices(len(vectors), k=1)])
    apart = distances[distances > 0]
    return float(np.median(apart)) if apart.size else 1.0
