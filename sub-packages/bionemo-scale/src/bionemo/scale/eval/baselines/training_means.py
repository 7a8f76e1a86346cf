# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What baselines learn: pseudobulks of the training split, pooled the ways their definitions ask for.

A context is a cell type of a dataset, at each value of its covariates if there are any: changes are taken against
controls of the same dataset, and "mean over contexts" counts a context once per dataset that has it.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from bionemo.scale.estimate.features import AgentFeatures
from bionemo.scale.estimate.labels import ParseAgents, whole_label
from bionemo.scale.eval.baselines.by_features import ChangesByFeatures
from bionemo.scale.eval.baselines.persistence import ContextMeans, Persistence, fit_persistence
from bionemo.scale.eval.baselines.ridge import Changes, Ridge, fit_ridge
from bionemo.scale.types import Group, GroupMeans


if TYPE_CHECKING:
    from bionemo.scale.estimate.mixed_model import MixedModel

Label = TypeVar("Label", bound=Hashable)


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Cells pooled under one name."""

    mean: np.ndarray
    """[G] float64, every cell weighing the same."""
    count: int
    """Cells."""


@dataclass(frozen=True, kw_only=True)
class ContextChange:
    """What a perturbation did in one training context."""

    change: np.ndarray
    """[G] float64, its mean minus the context's control mean."""
    control: np.ndarray
    """[G] float64, the context's control mean."""


@dataclass(frozen=True, kw_only=True)
class TrainingMeans:
    """Pseudobulks of the training split; holds nothing of the cells to predict."""

    overall: Pool
    """All perturbed cells."""
    by_cell_type: dict[str, Pool]
    """Perturbed cells of a cell type, all datasets."""
    by_batch: dict[str, Pool]
    """Perturbed cells of a batch."""
    controls: dict[str, Pool]
    """Control cells of a cell type, all datasets."""
    means: dict[str, np.ndarray]
    """Perturbation to the unweighted mean over contexts of its mean expression, [G]."""
    changes: dict[str, np.ndarray]
    """Perturbation to the unweighted mean over contexts of (its mean - the context's control mean), [G]."""
    by_context: dict[str, tuple[ContextChange, ...]]
    """Perturbation to its change in each training context that has controls."""
    context_controls: dict[tuple[str, str], np.ndarray]
    """(dataset, cell type) to the mean of its training controls, [G]."""
    context_changes: Changes
    """(dataset, cell type, perturbation) to its mean minus the context's control mean, [G]."""
    pairs: frozenset[tuple[str, str]]
    """(cell type, perturbation) pairs that the training split has."""
    groups: GroupMeans
    """What everything here was pooled from."""
    control: str
    """Perturbation label of the controls."""
    parse: ParseAgents = whole_label
    """Reads the agents of a perturbation."""
    features: AgentFeatures | None = None
    """Vectors of the agents, where they are given."""

    @cached_property
    def by_features(self) -> ChangesByFeatures | None:
        """What is known of perturbations by their vectors; ``None`` where they are not given."""
        if self.features is None:
            return None
        return ChangesByFeatures.of(self.changes, features=self.features, parse=self.parse)

    @cached_property
    def mixed_model(self) -> "MixedModel | None":
        """The mixed model of :mod:`bionemo.scale.estimate.mixed_model`, fitted when first asked for."""
        # Late: a page of scores needs no torch.
        from bionemo.scale.estimate.mixed_model import fit as fit_mixed_model

        return fit_mixed_model(self.groups, control=self.control, parse=self.parse, features=self.features)

    @cached_property
    def persistence(self) -> Persistence | None:
        """How much of a context's own expression persists; ``None`` when no context has controls too."""
        by_perturbation: dict[str, dict[tuple[str, str], ContextMeans]] = {}
        for (dataset, cell_type, perturbation), change in self.context_changes.items():
            control = self.context_controls[dataset, cell_type]
            means = ContextMeans(perturbed=change + control, control=control)
            by_perturbation.setdefault(perturbation, {})[dataset, cell_type] = means
        return fit_persistence(by_perturbation)

    @cached_property
    def same_type_means(self) -> dict[tuple[str, str], np.ndarray]:
        """(cell type, perturbation) to the mean of its training cells, every cell weighing the same."""
        rows = np.flatnonzero([group.perturbation != self.control for group in self.groups.groups])
        pooled = _pool(self.groups, lambda group: (group.context, group.perturbation), rows)
        return {key: pool.mean for key, pool in pooled.items()}

    @cached_property
    def singles(self) -> dict[str, np.ndarray]:
        """Agent to the mean change of the labels that are this agent alone, [G]; at several doses their mean."""
        collected: dict[str, list[np.ndarray]] = {}
        for label, change in self.changes.items():
            agents = self.parse(label)
            if len(agents) == 1:
                collected.setdefault(agents[0][0], []).append(change)
        return {agent: np.mean(changes, axis=0) for agent, changes in collected.items()}

    def dataset_of(self, cell_type: str) -> str:
        """Return the data set that has a cell type; the first in the training data of several, "" where none has."""
        return next((group.dataset for group in self.groups.groups if group.cell_type == cell_type), "")

    @cached_property
    def ridge(self) -> Ridge | None:
        """Linear model of the changes, fitted when first asked for; ``None`` when no context has controls too."""
        return fit_ridge(self.context_changes) if self.context_changes else None


def fit(
    groups: GroupMeans, *, control: str, parse: ParseAgents = whole_label, features: AgentFeatures | None = None
) -> TrainingMeans | None:
    """Pool the pseudobulks of a training split.

    Args:
        groups: Pseudobulks with their cell counts, controls included.
        control: Perturbation label of the controls.
        parse: Reads the agents of a perturbation.
        features: Of the agents, for the estimators that use them.

    Returns:
        ``None`` when no group is perturbed: there is nothing to learn from.
    """
    is_perturbed = np.array([group.perturbation != control for group in groups.groups])
    if not is_perturbed.any():
        return None

    def pool(key: Callable[[Group], Label], rows: np.ndarray) -> dict[Label, Pool]:
        return _pool(groups, key, np.flatnonzero(rows))

    contexts, references = _contexts(groups, is_perturbed)
    changes = _changes(contexts, references)
    return TrainingMeans(
        overall=pool(lambda group: "all", is_perturbed)["all"],
        by_cell_type=pool(lambda group: group.context, is_perturbed),
        by_batch=pool(lambda group: group.batch, is_perturbed),
        controls=_controls(groups, is_perturbed),
        means=_mean_by_perturbation({key: pooled.mean for key, pooled in contexts.items()}),
        changes=_mean_by_perturbation(changes),
        by_context=_by_context(changes, references),
        context_controls={key: pool.mean for key, pool in references.items()},
        context_changes=changes,
        pairs=frozenset((cell_type, perturbation) for _, cell_type, perturbation in contexts),
        groups=groups,
        control=control,
        parse=parse,
        features=features,
    )


def mean_changes(groups: GroupMeans, *, control: str) -> dict[str, np.ndarray]:
    """Return :attr:`TrainingMeans.changes` alone; empty where no context has both perturbed and control cells."""
    is_perturbed = np.array([group.perturbation != control for group in groups.groups], dtype=bool)
    return _mean_by_perturbation(_changes(*_contexts(groups, is_perturbed)))


def _contexts(groups: GroupMeans, is_perturbed: np.ndarray) -> tuple[dict, dict]:
    """Return (dataset, context, perturbation) to its perturbed cells, and (dataset, context) to its controls.

    A context without controls has those of its cell type.
    """
    perturbed, controls = np.flatnonzero(is_perturbed), np.flatnonzero(~is_perturbed)
    contexts = _pool(groups, lambda group: (group.dataset, group.context, group.perturbation), perturbed)
    references: dict = _pool(groups, lambda group: (group.dataset, group.context), controls)
    of_types = _pool(groups, lambda group: (group.dataset, group.cell_type), controls)
    for row in perturbed.tolist():
        group = groups.groups[row]
        key, shared = (group.dataset, group.context), of_types.get((group.dataset, group.cell_type))
        if key not in references and shared is not None:
            references[key] = shared
    return contexts, references


def _controls(groups: GroupMeans, is_perturbed: np.ndarray) -> dict[str, Pool]:
    """Return context to its controls of all datasets; a context without any has those of its cell type."""
    controls = np.flatnonzero(~is_perturbed)
    found: dict[str, Pool] = _pool(groups, lambda group: group.context, controls)
    of_types: dict[str, Pool] = _pool(groups, lambda group: group.cell_type, controls)
    for group in (groups.groups[row] for row in np.flatnonzero(is_perturbed).tolist()):
        if group.context not in found and group.cell_type in of_types:
            found[group.context] = of_types[group.cell_type]
    return found


def _changes(contexts: dict[tuple, Pool], references: dict[tuple, Pool]) -> Changes:
    return {key: pool.mean - references[key[:2]].mean for key, pool in contexts.items() if key[:2] in references}


def _pool(groups: GroupMeans, key: Callable[[Group], Label], rows: np.ndarray) -> dict[Label, Pool]:
    members: dict[Label, list[int]] = {}
    for row in rows.tolist():
        members.setdefault(key(groups.groups[row]), []).append(row)
    return {
        name: Pool(
            mean=np.average(groups.means[indices], axis=0, weights=groups.counts[indices]),
            count=int(groups.counts[indices].sum()),
        )
        for name, indices in members.items()
    }


def _mean_by_perturbation(values: dict[tuple[str, str, str], np.ndarray]) -> dict[str, np.ndarray]:
    collected: dict[str, list[np.ndarray]] = {}
    for (_, _, perturbation), value in values.items():
        collected.setdefault(perturbation, []).append(value)
    return {name: np.mean(stack, axis=0) for name, stack in collected.items()}


def _by_context(changes: dict[tuple, np.ndarray], references: dict[tuple, Pool]) -> dict[str, tuple]:
    collected: dict[str, list[ContextChange]] = {}
    for key, change in changes.items():
        collected.setdefault(key[2], []).append(ContextChange(change=change, control=references[key[:2]].mean))
    return {name: tuple(found) for name, found in collected.items()}
