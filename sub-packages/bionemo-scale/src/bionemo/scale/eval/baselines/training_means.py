# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What baselines learn: pseudobulks of the training split, pooled the ways their definitions ask for.

A context is a cell type of a dataset: changes are taken against controls of the same dataset, and "mean over
contexts" counts a cell type once per dataset that has it.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass

import numpy as np

from bionemo.scale.types import Group, GroupMeans


_PENALTIES = (0.1, 1.0, 10.0, 100.0)
DEFAULT_PENALTY = 1.0
"""Ridge penalty where a single context leaves nothing to hold out."""


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Cells pooled under one name."""

    mean: np.ndarray
    """[G] float64, every cell weighing the same."""
    count: int
    """Cells."""


@dataclass(frozen=True, kw_only=True)
class Ridge:
    """Linear model of the change of mean expression, ``intercept + effect(perturbation) + effect(cell type)``."""

    intercept: np.ndarray
    """[G] float64."""
    perturbation: dict[str, np.ndarray]
    """Effect of each training perturbation, [G]."""
    cell_type: dict[str, np.ndarray]
    """Effect of each training cell type, [G]."""
    penalty: float


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
    ridge: Ridge | None
    """``None`` when no context has both perturbed and control cells."""
    pairs: frozenset[tuple[str, str]]
    """(cell type, perturbation) pairs that the training split has."""


def fit(groups: GroupMeans, *, control: str) -> TrainingMeans | None:
    """Pool the pseudobulks of a training split.

    Args:
        groups: Pseudobulks with their cell counts, controls included.
        control: Perturbation label of the controls.

    Returns:
        ``None`` when no group is perturbed: there is nothing to learn from.
    """
    perturbed = [group.perturbation != control for group in groups.groups]
    if not any(perturbed):
        return None
    is_perturbed = np.array(perturbed)

    def pool(key: Callable[[Group], Hashable], rows: np.ndarray) -> dict:
        return _pool(groups, key, np.flatnonzero(rows))

    contexts = pool(lambda group: (group.dataset, group.cell_type, group.perturbation), is_perturbed)
    references = pool(lambda group: (group.dataset, group.cell_type), ~is_perturbed)
    changes = {
        key: pooled.mean - references[key[:2]].mean for key, pooled in contexts.items() if key[:2] in references
    }
    return TrainingMeans(
        overall=pool(lambda group: "all", is_perturbed)["all"],
        by_cell_type=pool(lambda group: group.cell_type, is_perturbed),
        by_batch=pool(lambda group: group.batch, is_perturbed),
        controls=pool(lambda group: group.cell_type, ~is_perturbed),
        means=_mean_by_perturbation({key: pooled.mean for key, pooled in contexts.items()}),
        changes=_mean_by_perturbation(changes),
        by_context=_by_context(changes, references),
        ridge=fit_ridge(changes) if changes else None,
        pairs=frozenset((cell_type, perturbation) for _, cell_type, perturbation in contexts),
    )


def fit_ridge(changes: dict[tuple[str, str, str], np.ndarray]) -> Ridge:
    """Fit the change of each (dataset, cell type, perturbation) on one-hot perturbation and one-hot cell type.

    Closed form, features and changes centred, so that the intercept is not penalised and an unseen label has the
    effect 0. The penalty is the one of 0.1, 1, 10, 100 with the smallest squared error when each context (dataset,
    cell type) is left out in turn; :data:`DEFAULT_PENALTY` with a single context.
    """
    keys = list(changes)
    names = list(dict.fromkeys(key[2] for key in keys))
    cell_types = list(dict.fromkeys(key[1] for key in keys))
    features = np.zeros((len(keys), len(names) + len(cell_types)))
    for row, (_, cell_type, perturbation) in enumerate(keys):
        features[row, names.index(perturbation)] = 1
        features[row, len(names) + cell_types.index(cell_type)] = 1
    targets = np.stack([changes[key] for key in keys])
    penalty = _choose_penalty(features, targets, [key[:2] for key in keys])
    solved = _solve(features, targets, (penalty,))[penalty]
    effects = solved[1]
    return Ridge(
        intercept=solved[0],
        perturbation=dict(zip(names, effects[: len(names)], strict=True)),
        cell_type=dict(zip(cell_types, effects[len(names) :], strict=True)),
        penalty=penalty,
    )


def _pool(groups: GroupMeans, key: Callable[[Group], Hashable], rows: np.ndarray) -> dict[Hashable, Pool]:
    members: dict[Hashable, list[int]] = {}
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


def _choose_penalty(features: np.ndarray, targets: np.ndarray, contexts: list[tuple[str, str]]) -> float:
    distinct = list(dict.fromkeys(contexts))
    if len(distinct) < 2:
        return DEFAULT_PENALTY
    errors = dict.fromkeys(_PENALTIES, 0.0)
    for held_out in distinct:
        out = np.array([context == held_out for context in contexts])
        for penalty, (intercept, effects) in _solve(features[~out], targets[~out], _PENALTIES).items():
            errors[penalty] += float(((intercept + features[out] @ effects - targets[out]) ** 2).sum())
    return min(errors, key=errors.__getitem__)


def _solve(
    features: np.ndarray, targets: np.ndarray, penalties: tuple[float, ...]
) -> dict[float, tuple[np.ndarray, np.ndarray]]:
    """Return (intercept, effects) for each penalty from one eigendecomposition."""
    feature_mean, target_mean = features.mean(axis=0), targets.mean(axis=0)
    centred = features - feature_mean
    values, vectors = np.linalg.eigh(centred.T @ centred)
    projected = vectors.T @ (centred.T @ (targets - target_mean))
    solved = {}
    for penalty in penalties:
        effects = vectors @ (projected / (np.maximum(values, 0.0) + penalty)[:, None])
        solved[penalty] = (target_mean - feature_mean @ effects, effects)
    return solved
