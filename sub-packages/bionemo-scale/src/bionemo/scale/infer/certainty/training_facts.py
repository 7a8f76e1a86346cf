# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a run was trained on, as far as it tells how near a prediction is to it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bionemo.scale.estimate.covariance import MeansOfCells, squared_distances
from bionemo.scale.estimate.features import AgentFeatures
from bionemo.scale.estimate.labels import ParseAgents
from bionemo.scale.estimate.mixed_model import MixedModel
from bionemo.scale.eval.baselines.training_means import fit


@dataclass(frozen=True, kw_only=True)
class Nearest:
    """For each of n things the nearest of training."""

    name: list[str]
    """Empty where there is none."""
    distance: np.ndarray
    """[n] float64, NaN where there is none."""


@dataclass(frozen=True, kw_only=True)
class TrainingFacts:
    """Contexts (cell types) with perturbed training cells, and what perturbations did in them."""

    contexts: tuple[str, ...]
    """Those that have controls too."""
    controls: MeansOfCells
    """Of each context."""
    typical_distance: float
    """Median distance of two contexts; NaN where there is only one."""
    perturbations: tuple[str, ...]
    effects: np.ndarray
    """[perturbations, G] float64, mean change over contexts."""
    num_contexts: dict[str, int]
    """Perturbation to the number of contexts that it was trained in."""
    cell_sd: np.ndarray
    """[G] float64."""
    parse: ParseAgents
    features: AgentFeatures | None = None
    """Vectors of agents, where the estimate was fitted with them."""

    def nearest_context(self, control: MeansOfCells) -> Nearest:
        """Return the training context whose control mean is nearest to each of n others.

        Distances are Euclidean over genes, in standard deviations of cells, less what the sampling of cells adds.
        """
        if not self.contexts:
            return Nearest(name=[""] * len(control.means), distance=np.full(len(control.means), np.nan))
        return _nearest(np.sqrt(squared_distances(control, self.controls, cell_sd=self.cell_sd)), self.contexts)

    def nearest_effect(self, changes: np.ndarray) -> Nearest:
        """Return the trained perturbation whose mean effect is nearest to each change, [n, G], in the same units."""
        if not self.perturbations:
            return Nearest(name=[""] * len(changes), distance=np.full(len(changes), np.nan))
        sure = np.full(len(self.effects), np.inf)
        squares = squared_distances(
            MeansOfCells(changes, np.full(len(changes), np.inf)),
            MeansOfCells(self.effects, sure),
            cell_sd=self.cell_sd,
        )
        return _nearest(np.sqrt(squares), self.perturbations)

    def nearest_label(self, names: Sequence[str]) -> Nearest:
        """Return the trained perturbation that shares most agents with each label.

        The distance is the share of the agents of both that only one has; 0 is the label itself, or another dose of
        it.
        """
        known = {name: frozenset(agent for agent, _ in self.parse(name)) for name in self.perturbations}
        found = [_nearest_agents(name, frozenset(agent for agent, _ in self.parse(name)), known) for name in names]
        return _listed(found)

    def nearest_features(self, names: Sequence[str]) -> Nearest | None:
        """Return the trained perturbation whose vector is nearest to that of each label; ``None`` without vectors.

        The distance is Euclidean, in units of the median distance of two trained agents.
        """
        if self.features is None:
            return None
        return _listed(self.features.nearest(names, self.perturbations, self.parse))


def training_facts(model: MixedModel) -> TrainingFacts | None:
    """Return what the groups say that an estimate was fitted on; ``None`` where none is perturbed."""
    learnt = fit(model.observed, control=model.control, parse=model.parse)
    if learnt is None:
        return None
    assert model.observed.cell_sd is not None, "the mixed model needs the spread of cells"
    contexts = tuple(sorted(set(learnt.by_cell_type) & set(learnt.controls)))
    num_genes = model.observed.means.shape[1]
    means = np.array([learnt.controls[name].mean for name in contexts]).reshape(len(contexts), num_genes)
    counts = np.array([learnt.controls[name].count for name in contexts], dtype=np.float64)
    controls = MeansOfCells(means, counts)
    apart = np.sqrt(squared_distances(controls, controls, cell_sd=model.observed.cell_sd))
    between = apart[np.triu_indices(len(contexts), 1)]
    effects = [learnt.changes[name] for name in learnt.changes]
    return TrainingFacts(
        contexts=contexts,
        controls=controls,
        typical_distance=float(np.median(between)) if between.size else float("nan"),
        perturbations=tuple(learnt.changes),
        effects=np.array(effects).reshape(len(effects), num_genes),
        num_contexts=dict(Counter(perturbation for _, perturbation in learnt.pairs)),
        cell_sd=model.observed.cell_sd,
        parse=model.parse,
        features=model.features,
    )


def _listed(found: Sequence[tuple[str, float]]) -> Nearest:
    return Nearest(name=[name for name, _ in found], distance=np.array([distance for _, distance in found]))


def _nearest(distances: np.ndarray, names: Sequence[str]) -> Nearest:
    best = distances.argmin(axis=1)
    return Nearest(name=[names[column] for column in best.tolist()], distance=distances[np.arange(len(best)), best])


def _nearest_agents(name: str, agents: frozenset[str], known: dict[str, frozenset[str]]) -> tuple[str, float]:
    if name in known:
        return name, 0.0
    best, least = "", float("nan")
    for other, theirs in known.items():
        shared = len(agents & theirs)
        distance = 1 - shared / len(agents | theirs)
        if shared and not distance >= least:
            best, least = other, distance
    return best, least
