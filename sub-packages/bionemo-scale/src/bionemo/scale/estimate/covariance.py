# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""How much two groups of cells are expected to have in common: the covariance components of the mixed model.

A component is a product of two factors: a *place* (the same cell type, batch or covariates, similar cell types ...)
and an *effect* (expression itself, any perturbation, the same agent, agents with similar features, the same label
...). "Same cell type x any perturbation" is how a cell type responds to being perturbed at all; "everywhere x same
label" is what a perturbation does in every context, the additive effect; "same cell type x expression" is what
distinguishes the cell type, perturbed or not; "same covariates x same label" is what a perturbation does at a time.
The mixed model learns how large each is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array

from bionemo.scale.estimate.features import AgentFeatures
from bionemo.scale.estimate.labels import ALL, Labels, codes_of
from bionemo.scale.types import Group, GroupMeans


COMPONENTS = (
    ("everywhere", "expression"),
    ("dataset", "expression"),
    ("cell_type", "expression"),
    ("batch", "expression"),
    ("cell_type_batch", "expression"),
    ("similar", "expression"),
    ("everywhere", "perturbed"),
    ("dataset", "perturbed"),
    ("cell_type", "perturbed"),
    ("batch", "perturbed"),
    ("cell_type_batch", "perturbed"),
    ("similar", "perturbed"),
    ("everywhere", "agent"),
    ("cell_type", "agent"),
    ("everywhere", "dose"),
    ("cell_type", "dose"),
    ("everywhere", "features"),
    ("cell_type", "features"),
    ("everywhere", "label"),
    ("cell_type", "label"),
    ("batch", "label"),
    ("cell_type_batch", "label"),
    ("similar", "label"),
    ("covariates", "expression"),
    ("covariates", "perturbed"),
    ("covariates", "agent"),
    ("covariates", "label"),
    ("all_covariates", "expression"),
    ("all_covariates", "perturbed"),
    ("all_covariates", "label"),
    ("context", "expression"),
    ("context", "perturbed"),
    ("context", "label"),
)
"""(place, effect) of every component. Those that the labels cannot tell apart are fitted as one."""


class MeansOfCells(NamedTuple):
    """Mean expression of some groups of cells."""

    means: np.ndarray
    """[n, G] float64."""
    counts: np.ndarray
    """[n] float64, cells of each group."""


def squared_distances(first: MeansOfCells, second: MeansOfCells, *, cell_sd: np.ndarray) -> np.ndarray:
    """Return [n, m] squared distances of means in units of the cells' variance, less what the sampling of cells adds.

    Args:
        first: n groups.
        second: m groups.
        cell_sd: [G] standard deviation of a cell around the mean of its group.
    """
    sizes = [(side.means**2).sum(axis=1) for side in (first, second)]
    squares = sizes[0][:, None] + sizes[1][None, :] - 2 * first.means @ second.means.T
    squares = squares / max(float((cell_sd**2).sum()), np.finfo(float).tiny)
    return np.maximum(squares - 1 / first.counts[:, None] - 1 / second.counts[None, :], 0.0)


@dataclass(frozen=True, kw_only=True)
class Similarity:
    """Which cell types are alike, by the mean expression of their controls.

    ``exp(-d / scale)``, d the squared distance of two cell types' control means in units of the cells' variance, less
    what the sampling of cells adds to it.
    """

    cell_types: tuple[str, ...]
    distances: np.ndarray
    """[types, types] float64."""
    scale: float
    """Median distance of two different cell types of the training data."""

    @classmethod
    def of(cls, observed: GroupMeans, *, control: str, scale: float | None = None) -> "Similarity":
        """Compare the controls of every cell type.

        Args:
            observed: Pseudobulks with ``cell_sd``.
            control: Perturbation label of controls.
            scale: From an earlier comparison; by default the median distance.
        """
        assert observed.cell_sd is not None, "the mixed model needs the spread of cells"
        rows: dict[str, list[int]] = {}
        for row, group in enumerate(observed.groups):
            if group.perturbation == control:
                rows.setdefault(group.cell_type, []).append(row)
        counts = np.array([observed.counts[members].sum() for members in rows.values()], dtype=np.float64)
        means = [np.average(observed.means[m], axis=0, weights=observed.counts[m]) for m in rows.values()]
        stacked = np.array(means).reshape(len(rows), observed.means.shape[1])
        distances = squared_distances(
            MeansOfCells(stacked, counts), MeansOfCells(stacked, counts), cell_sd=observed.cell_sd
        )
        np.fill_diagonal(distances, 0.0)
        between = distances[~np.eye(len(rows), dtype=bool)]
        if scale is None:
            scale = float(np.median(between)) if between.size and np.median(between) > 0 else 1.0
        return cls(cell_types=tuple(rows), distances=distances, scale=scale)

    def matrix(self, groups: tuple[Group, ...], rows: slice = ALL) -> np.ndarray:
        """Return [rows, n] similarity of the groups' cell types; a cell type without controls is like no other."""
        position = {name: number for number, name in enumerate(self.cell_types)}
        place = np.array([position.get(group.cell_type, -1) for group in groups])
        alike = _nearest_correlation(np.exp(-self.distances / self.scale))
        known = (place[rows, None] >= 0) & (place[None, :] >= 0)
        found = np.where(known, alike[np.ix_(place[rows], place)] if len(alike) else 0, 0)
        same = np.array([group.cell_type for group in groups])
        return np.where(same[rows, None] == same[None, :], 1.0, found)


def _nearest_correlation(alike: np.ndarray) -> np.ndarray:
    """Return a positive semi-definite matrix with ones on the diagonal: the matrix itself where it is one.

    Of exact squared distances it always is. Those of sampled means have their sampling error taken out, after which
    two cell types can be alike and yet unequally far from a third.
    """
    if not len(alike):
        return alike
    values, vectors = np.linalg.eigh(alike)
    if values[0] > -1e-9:
        return alike
    positive = (vectors * np.maximum(values, 0.0)) @ vectors.T
    scale = np.sqrt(np.diag(positive))
    return positive / np.outer(scale, scale)


def components(
    labels: Labels, similarity: Similarity, features: AgentFeatures | None = None, *, rows: slice = ALL
) -> dict[tuple[str, str], np.ndarray]:
    """Return [rows, n] float64 for each of :data:`COMPONENTS`, before their sizes are known.

    Args:
        labels: Of n groups.
        similarity: Of their cell types.
        features: Of their agents; without them all components of "features" are 0.
        rows: Groups that are compared with all.
    """
    places, effects = _places(labels, similarity, rows), _effects(labels, features, rows)
    return {(place, effect): places[place] * effects[effect] for place, effect in COMPONENTS if place in places}


class Covariances(NamedTuple):
    """What groups have in common, [rows, n] float64 each."""

    expression: np.ndarray
    response: np.ndarray
    """To perturbations, at strength 1."""


def covariances(
    labels: Labels,
    similarity: Similarity,
    features: AgentFeatures | None = None,
    *,
    sizes: Mapping[tuple[str, str], float],
    rows: slice = ALL,
) -> Covariances:
    """Return the sums of :func:`components` with their sizes; the others are 0."""
    places, effects = _places(labels, similarity, rows), _effects(labels, features, rows)
    found = Covariances(np.zeros_like(effects["expression"]), np.zeros_like(effects["expression"]))
    for place, where in places.items():
        found.expression[:] += sizes.get((place, "expression"), 0.0) * where
        here = {effect: size for (name, effect), size in sizes.items() if name == place and effect != "expression"}
        # A component at a time would take twice as long, for as many matrices.
        if here:
            found.response[:] += where * sum(size * effects[effect] for effect, size in here.items())
    return found


def _places(labels: Labels, similarity: Similarity, rows: slice) -> dict[str, np.ndarray]:
    cell_type = labels.same(lambda group: (group.dataset, group.cell_type), rows)
    batch = labels.same(lambda group: (group.dataset, group.batch), rows)
    return {
        "everywhere": np.ones_like(batch),
        "dataset": labels.same(lambda group: group.dataset, rows),
        "cell_type": cell_type,
        "batch": batch,
        "cell_type_batch": cell_type * batch,
        "similar": similarity.matrix(labels.groups, rows),
        **_covariate_places(labels, cell_type, rows),
    }


def _covariate_places(labels: Labels, cell_type: np.ndarray, rows: slice) -> dict[str, np.ndarray]:
    """Return which groups share covariates: the share of them that they do, all of them, all and the cell type."""
    num = max((len(group.covariates) for group in labels.groups), default=0)
    if not num:
        return {}
    values = [[group.covariates[column] for group in labels.groups] for column in range(num)]
    each = [(codes[rows, None] == codes[None, :]).astype(np.float64) for codes in map(codes_of, values)]
    together = np.prod(each, axis=0)
    return {
        "covariates": np.mean(each, axis=0),
        "all_covariates": together,
        "context": cell_type * together,
    }


def _effects(labels: Labels, features: AgentFeatures | None, rows: slice) -> dict[str, np.ndarray]:
    names, copies, log_doses = labels.agent_doses()
    perturbed = np.outer(~labels.is_control[rows], ~labels.is_control).astype(np.float64)
    agent, dose = _agents_in_common(copies, log_doses, rows)
    return {
        "expression": np.ones_like(perturbed),
        "perturbed": perturbed,
        "agent": agent,
        "dose": dose,
        "features": np.zeros_like(agent) if features is None else copies[rows] @ features.kernel(names) @ copies.T,
        "label": labels.same(lambda group: group.perturbation, rows) * perturbed,
    }


def _agents_in_common(copies: np.ndarray, log_doses: np.ndarray, rows: slice) -> tuple[np.ndarray, np.ndarray]:
    """Return [rows, n] how many agents two groups share, and the same with agents of unlike doses counted less."""
    # Of a large screen nearly all pairs share none.
    sparse = csr_array(copies)
    agent = (sparse[rows] @ sparse.T).toarray()
    if not log_doses.any():
        return agent, agent
    own_copies, own_doses = copies[rows], log_doses[rows]
    dose = np.zeros_like(agent)
    for column in np.flatnonzero(own_copies.any(axis=0)):
        own, others = np.flatnonzero(own_copies[:, column]), np.flatnonzero(copies[:, column])
        shared = np.outer(own_copies[own, column], copies[others, column])
        apart = own_doses[own, column][:, None] - log_doses[others, column][None, :]
        dose[np.ix_(own, others)] += shared * np.exp(-0.5 * apart**2)
    return agent, dose
