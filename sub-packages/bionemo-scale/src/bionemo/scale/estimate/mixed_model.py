# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""A linear mixed model of pseudobulks: the best linear unbiased prediction of a population's mean expression.

The mean expression of gene g in the cells of a group i (data set, cell type, batch, perturbation), in units of the
standard deviation of the gene's cells, is modelled as

    y_ig = m_g + f_ig + e_ig,    cov(f_ig, f_jg) = sum_k s_kg theta_k K_k[i, j],    var(e_ig) = 1 / n_i

with the components K_k of :mod:`bionemo.scale.estimate.covariance` and n_i cells in the group. Genes differ in how
strongly they respond: ``s_kg`` is 1 for components of expression and one of :data:`STRENGTHS` for those of
perturbations, unknown for each gene, with probabilities ``pi``. theta and pi maximise the likelihood of the training
groups (expectation maximisation), where a gene counts by its variance, as it does in a squared error. The prediction
of a group that was not measured is its conditional expectation given those that were: classical BLUP (Henderson 1975;
Robinson 1991).

Known estimators are limits of it. One component "everywhere x label" is the additive effect; with "cell type x
expression" small against it, the perturbation mean; in between, persistence (ANCOVA). Few cells (small n_i) shrink a
control mean towards its cell type and an effect towards zero; agents that occur alone and in pairs give the sum of
singles; similar cell types give nearest neighbours; agents with similar features give kernel ridge regression. Which
of them the data support is what theta says.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from scipy.linalg import solve_triangular
from scipy.sparse import block_diag, csr_array, identity

from bionemo.scale.estimate.bunches import bunches
from bionemo.scale.estimate.covariance import Covariances, Similarity, components, covariances
from bionemo.scale.estimate.features import AgentFeatures
from bionemo.scale.estimate.labels import ALL, Labels, ParseAgents, whole_label
from bionemo.scale.types import Group, GroupMeans


STRENGTHS = (0.0, 1 / 16, 1 / 4, 1.0, 4.0, 16.0, 64.0)
"""How strongly a gene may respond to perturbations, relative to theta."""
MAX_FIT_GROUPS = 400
"""Groups that theta is learned from; of more, whole perturbations are drawn."""
MAX_GIVEN_GROUPS = 800
"""Groups that a prediction is conditioned on; of more, those that have most in common with the predicted ones."""
MAX_TARGETS = 256
"""Populations that are predicted together: the covariances of all pairs are in memory."""
_START = -3.0
_PULL = 1e-4
"""Weight of a pull of log theta to its start, so that what the data do not determine stays finite."""
_ROUNDS = 8
_STEPS = 12


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Predicted populations."""

    mean: np.ndarray
    """[targets, G] float64, mean log1p expression; may be slightly negative for genes near zero."""
    sd: np.ndarray
    """[targets, G] float64, standard deviation of what is not known of that mean, sampling of new cells not
    included."""


@dataclass(frozen=True, kw_only=True)
class MixedModel:
    """A fitted mixed model, with the groups that its predictions are conditioned on."""

    observed: GroupMeans
    control: str
    parse: ParseAgents
    names: tuple[tuple[str, str], ...]
    """Components that the labels can tell apart."""
    theta: np.ndarray
    """[components] float64."""
    strength_of_gene: np.ndarray
    """[strengths, G] float64, posterior probabilities."""
    similarity_scale: float
    features: AgentFeatures | None = None
    """Of the agents, where the model was fitted with features."""

    def predict(self, targets: Sequence[Group], *, controls: GroupMeans | None = None) -> Estimate:
        """Predict the mean expression of populations.

        Args:
            targets: Their labels. Labels that were never trained are predicted by what is known of the others: an
                unknown perturbation has the mean effect of all, or what agents with similar features do.
            controls: Pseudobulks of control cells at hand; they take the place of training groups with the same
                labels.

        Returns:
            One row for each target, in order.
        """
        return Conditional(self, controls).predict(targets)

    def covariances(self, groups: Sequence[Group], similarity: Similarity, *, rows: slice = ALL) -> Covariances:
        """Return [rows, n] covariance of expression and, at strength 1, of responses."""
        labels = Labels.of(groups, control=self.control, parse=self.parse)
        sizes = dict(zip(self.names, self.theta.tolist(), strict=True))
        return covariances(labels, similarity, self.features, sizes=sizes, rows=rows)


class Conditional:
    """A mixed model beside given controls; what all predictions share is computed once."""

    def __init__(self, model: MixedModel, controls: GroupMeans | None = None):
        self._model = model
        self._given = model.observed if controls is None else _replaced(model.observed, controls)
        self._similarity = Similarity.of(self._given, control=model.control, scale=model.similarity_scale)
        self._unit = _unit(model.observed)
        self._centre = np.average(model.observed.means / self._unit, axis=0, weights=model.observed.counts)
        self._whole = self._solved(self._given) if len(self._given.groups) <= MAX_GIVEN_GROUPS else None

    def predict(self, targets: Sequence[Group]) -> Estimate:
        """Predict populations; see :meth:`MixedModel.predict`."""
        return self.predict_averages([{target: 1.0} for target in targets])

    def predict_averages(self, averages: Sequence[Mapping[Group, float]]) -> Estimate:
        """Predict averages of populations, such as a perturbed cell type over its batches.

        Args:
            averages: Each the populations with their weights, for instance their numbers of cells.

        Returns:
            One row for each average, in order. What its populations have in common is counted in its ``sd``.
        """
        shape = (len(averages), self._given.means.shape[1])
        mean, sd = np.empty(shape), np.empty(shape)
        for solved, asked in self._solve(averages):
            rows = list(chain.from_iterable(each.rows for each in asked))
            mean[rows], sd[rows] = self._conditional(solved, asked, [averages[row] for row in rows])
        return Estimate(mean=mean, sd=sd)

    def _solve(self, averages: Sequence[Mapping[Group, float]]) -> Iterator[tuple["_Solved", list["_Asked"]]]:
        """Yield what rows of averages are predicted from: all groups if few, else those nearest to a label."""
        none = np.array([], dtype=np.int64)
        if self._whole is not None:
            for piece in _pieces([[row] for row in range(len(averages))], averages):
                yield self._whole, [_Asked(list(chain.from_iterable(piece)), none)]
            return
        for piece in _pieces(_rows_of_labels(averages), averages):
            for bunch in bunches(self._nearest(piece, averages)):
                asked = [_Asked(piece[number], own) for number, own in zip(bunch.members, bunch.own, strict=True)]
                yield self._solved(_rows(self._given, bunch.core)), asked

    def _nearest(self, piece: list[list[int]], averages: Sequence[Mapping[Group, float]]) -> np.ndarray:
        """Return [sets of rows, given groups] bool, those that have most in common with the populations of a set."""
        shared = self._shared([averages[row] for row in chain.from_iterable(piece)])
        ends = np.cumsum([len(rows) for rows in piece])[:-1]
        chosen = np.zeros((len(piece), shared.shape[1]), dtype=bool)
        for number, own in enumerate(np.split(shared, ends)):
            chosen[number, np.argsort(-own.max(axis=0), kind="stable")[:MAX_GIVEN_GROUPS]] = True
        return chosen

    def _solved(self, given: GroupMeans) -> "_Solved":
        """Factorise the covariance of groups."""
        expression, response = self._model.covariances(given.groups, self._similarity)
        noise = np.diag(1 / given.counts)
        return _Solved(
            groups=given.groups,
            factors=[np.linalg.cholesky(expression + strength * response + noise) for strength in STRENGTHS],
            residual=given.means / self._unit - self._centre,
        )

    def _shared(self, averages: Sequence[Mapping[Group, float]]) -> np.ndarray:
        """Return [averages, given groups] the largest covariance of a group with a population of the average."""
        targets = tuple(chain.from_iterable(averages))
        starts = np.cumsum([0, *(len(members) for members in averages[:-1])])
        pieces = []
        # Some groups beside the targets at a time: the agents of a large screen would not fit in memory.
        for first in range(0, len(self._given.groups), MAX_GIVEN_GROUPS):
            piece = self._given.groups[first : first + MAX_GIVEN_GROUPS]
            own = slice(len(piece), None)
            expression, response = self._model.covariances((*piece, *targets), self._similarity, rows=own)
            pieces.append(np.maximum.reduceat((expression + response)[:, : len(piece)], starts, axis=0))
        return np.concatenate(pieces, axis=1)

    def _conditional(
        self, solved: "_Solved", asked: Sequence["_Asked"], averages: Sequence[Mapping[Group, float]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and sd of the averages that are asked for, [averages, G] each."""
        own = np.concatenate([each.own for each in asked])
        shares = block_diag((csr_array(identity(len(own))), _shares(averages)), format="csr")
        members = [*(self._given.groups[row] for row in own.tolist()), *chain.from_iterable(averages)]
        found = self._model.covariances(
            (*solved.groups, *members), self._similarity, rows=slice(len(solved.groups), None)
        )
        joint = [shares @ each for each in found]
        num = len(solved.groups)
        cross = [each[:, :num] for each in joint]
        among = [each[:, num:] @ shares.T for each in joint]
        noise = np.diag(np.append(1 / self._given.counts[own], np.zeros(len(averages))))
        residual = self._given.means[own] / self._unit - self._centre
        means, variances = [], []
        for strength, factor in zip(STRENGTHS, solved.factors, strict=True):
            beside = _Beside(
                cross=solve_triangular(factor, (cross[0] + strength * cross[1]).T, lower=True),
                among=among[0] + strength * among[1] + noise,
            )
            weights, of_own, variance = _blup(beside, asked)
            weights = solve_triangular(factor, weights, lower=True, trans="T", overwrite_b=True)
            means.append(weights.T @ solved.residual + of_own @ residual)
            variances.append(variance)
        return self._mixed(np.stack(means), np.stack(variances)[:, :, None])

    def _mixed(self, means: np.ndarray, variances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and sd over the strengths that genes may have, [averages, G] each."""
        weights = self._model.strength_of_gene[:, None, :]
        mean = (weights * means).sum(axis=0)
        variance = (weights * (variances + (means - mean) ** 2)).sum(axis=0)
        return (self._centre + mean) * self._unit, np.sqrt(variance) * self._unit


class _Asked(NamedTuple):
    """Averages of one label."""

    rows: list[int]
    """Among all averages."""
    own: np.ndarray
    """[own groups] int64, given groups that they are conditioned on beside those of :class:`_Solved`."""


class _Beside(NamedTuple):
    """What stands beside the solved groups: the own groups of all labels, then their averages, m in all."""

    cross: np.ndarray
    """[n, m], inverse Cholesky factor of the solved groups times their covariance with these."""
    among: np.ndarray
    """[m, m] covariance, with the noise of the own groups."""


def _blup(beside: _Beside, asked: Sequence[_Asked]) -> tuple[np.ndarray, csr_array, np.ndarray]:
    """Condition averages on the own groups of their label too: one more block of the Cholesky factorisation.

    Returns:
        What the inverse transposed factor turns into the weights of the solved groups, [n, averages]; weights of the
        own groups, [averages, own groups]; variances, [averages].
    """
    cross, among = beside
    num_own = sum(len(each.own) for each in asked)
    weights, blocks = cross[:, num_own:].copy(), []
    variances = np.diag(among)[num_own:] - (weights**2).sum(axis=0)
    first = last = 0
    for rows, groups in asked:
        own, here = slice(first, first + len(groups)), slice(last, last + len(rows))
        first, last = own.stop, here.stop
        outer = among[num_own:][here, own] - weights[:, here].T @ cross[:, own]
        of_own = np.linalg.solve(among[own, own] - cross[:, own].T @ cross[:, own], outer.T).T
        variances[here] -= (of_own * outer).sum(axis=1)
        weights[:, here] -= cross[:, own] @ of_own.T
        blocks.append(csr_array(of_own))
    return weights, block_diag(blocks, format="csr"), np.maximum(variances, 0.0)


@dataclass(frozen=True, kw_only=True)
class _Solved:
    """Groups that predictions are conditioned on."""

    groups: tuple[Group, ...]
    factors: list[np.ndarray]
    """Cholesky factor of their covariance at each strength, [n, n]."""
    residual: np.ndarray
    """[n, G] what the groups differ from the centre, in units of the cells' spread."""


def fit(
    groups: GroupMeans, *, control: str, parse: ParseAgents = whole_label, features: AgentFeatures | None = None
) -> MixedModel | None:
    """Learn the sizes of the components from the pseudobulks of a training split.

    Args:
        groups: Pseudobulks with their cell counts and ``cell_sd``, controls included.
        control: Perturbation label of the controls.
        parse: Reads the agents of a label.
        features: Of the agents, so that those that were never trained are predicted by others that are alike.

    Returns:
        ``None`` where there is nothing to learn from: no perturbed group, or no control.
    """
    perturbed = [group.perturbation != control for group in groups.groups]
    if not any(perturbed) or all(perturbed) or groups.cell_sd is None:
        return None
    sample = _sample(groups, control)
    similarity = Similarity.of(groups, control=control)
    matrices = components(Labels.of(sample.groups, control=control, parse=parse), similarity, features)
    names = distinct(matrices)
    learner = _Learner(sample, [matrices[name] for name in names], [effect != "expression" for _, effect in names])
    learner.run()
    model = MixedModel(
        observed=groups,
        control=control,
        parse=parse,
        names=names,
        theta=learner.theta.detach().exp().numpy(),
        strength_of_gene=learner.posterior().numpy(),
        similarity_scale=similarity.scale,
        features=features,
    )
    return model


def distinct(matrices: dict[tuple[str, str], np.ndarray]) -> tuple[tuple[str, str], ...]:
    """Return the names of matrices that are neither zero nor equal to an earlier one."""
    kept: list[tuple[str, str]] = []
    for name, matrix in matrices.items():
        if matrix.any() and not any(np.allclose(matrix, matrices[other]) for other in kept):
            kept.append(name)
    return tuple(kept)


class _Learner:
    """Expectation maximisation of theta and of the genes' strengths."""

    def __init__(self, groups: GroupMeans, matrices: list[np.ndarray], is_response: list[bool]):
        unit = _unit(groups)
        self._matrices = torch.from_numpy(np.stack(matrices))
        self._response = torch.tensor(is_response, dtype=torch.float64)
        self._noise = torch.diag(torch.from_numpy(1.0 / groups.counts))
        scaled = groups.means / unit
        self._residual = torch.from_numpy(scaled - np.average(scaled, axis=0, weights=groups.counts))
        weight = unit**2
        self._weight = torch.from_numpy(weight / weight.sum())
        self._strengths = torch.tensor(STRENGTHS, dtype=torch.float64)[:, None, None]
        self._log_prior = torch.full((len(STRENGTHS),), -float(np.log(len(STRENGTHS))), dtype=torch.float64)
        self.theta = torch.full((len(matrices),), _START, dtype=torch.float64, requires_grad=True)
        """[components], natural logarithm."""

    def run(self) -> None:
        """Alternate the two steps until the likelihood of a group stops growing."""
        last = -np.inf
        for _ in range(_ROUNDS):
            posterior = self.posterior()
            likelihood = float(
                torch.logsumexp(self._log_likelihood() + self._log_prior[:, None], dim=0) @ self._weight
            )
            if likelihood - last < 1e-3 * len(self._residual):
                break
            last = likelihood
            self._maximise(posterior)

    @torch.no_grad()
    def posterior(self) -> torch.Tensor:
        """Return [strengths, G] probabilities of each gene's strength, and keep their mean as the next prior."""
        likelihood = self._log_likelihood()
        posterior = torch.softmax(likelihood + self._log_prior[:, None], dim=0)
        for _ in range(10):
            share = posterior @ self._weight + 1e-6
            self._log_prior = torch.log(share / share.sum())
            posterior = torch.softmax(likelihood + self._log_prior[:, None], dim=0)
        return posterior

    def _factors(self) -> torch.Tensor:
        """Return [strengths, n, n] Cholesky factors of the covariance of what is observed."""
        sizes = self.theta.exp()
        expression = torch.einsum("k,kij->ij", sizes * (1 - self._response), self._matrices)
        response = torch.einsum("k,kij->ij", sizes * self._response, self._matrices)
        return torch.linalg.cholesky(expression + self._noise + self._strengths * response)

    @torch.no_grad()
    def _log_likelihood(self) -> torch.Tensor:
        """Return [strengths, G], less a constant."""
        rows = []
        for factor in self._factors():
            white = torch.linalg.solve_triangular(factor, self._residual, upper=False)
            rows.append(-0.5 * (white**2).sum(dim=0) - torch.log(torch.diagonal(factor)).sum())
        return torch.stack(rows)

    def _maximise(self, posterior: torch.Tensor) -> None:
        """Maximise the expected likelihood, which knows the genes by one [n, n] matrix a strength only."""
        weighted = posterior * self._weight
        scatter = torch.stack([(self._residual * row) @ self._residual.T for row in weighted])
        share = weighted.sum(dim=1)
        num = len(self._residual)
        optimizer = _LBFGS([self.theta], max_iter=_STEPS, line_search_fn="strong_wolfe")

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            factors = self._factors()
            quadratic = 0.5 * (torch.cholesky_inverse(factors) * scatter).sum()
            log_det = (share * torch.log(torch.diagonal(factors, dim1=1, dim2=2)).sum(dim=1)).sum()
            loss = (quadratic + log_det) / num + _PULL * ((self.theta - _START) ** 2).mean()
            loss.backward()
            return loss

        optimizer.step(closure)


class _LBFGS(torch.optim.LBFGS):
    """torch's own, whose methods would import torch's compiler, so as to tell it to stay away: a second for a fit."""

    add_param_group = inspect.unwrap(torch.optim.LBFGS.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.LBFGS.zero_grad)


def _unit(groups: GroupMeans) -> np.ndarray:
    """Return [G] the spread of cells, with a floor for genes that hardly vary."""
    assert groups.cell_sd is not None, "the mixed model needs the spread of cells"
    floor = 1e-3 * groups.cell_sd.max() if groups.cell_sd.max() > 0 else 1.0
    return np.maximum(groups.cell_sd, floor)


def _rows(groups: GroupMeans, rows: np.ndarray) -> GroupMeans:
    return GroupMeans(
        groups=tuple(groups.groups[row] for row in rows.tolist()),
        means=groups.means[rows],
        counts=groups.counts[rows],
        cell_sd=groups.cell_sd,
    )


def _sample(groups: GroupMeans, control: str) -> GroupMeans:
    """Draw whole perturbations and controls until there are :data:`MAX_FIT_GROUPS`, the same ones every time."""
    if len(groups.groups) <= MAX_FIT_GROUPS:
        return groups
    rng = np.random.default_rng(0)
    names = np.array([group.perturbation for group in groups.groups])
    controls = np.flatnonzero(names == control)
    chosen = list(rng.permutation(controls)[: MAX_FIT_GROUPS // 2])
    for name in rng.permutation(sorted(set(names.tolist()) - {control})).tolist():
        members = rng.permutation(np.flatnonzero(names == name))
        room = MAX_FIT_GROUPS - len(chosen)
        if not room:
            break
        chosen += members[:room].tolist()
    return _rows(groups, np.sort(np.array(chosen)))


def _replaced(groups: GroupMeans, controls: GroupMeans) -> GroupMeans:
    """Put control groups in place of those with the same labels."""
    new = set(controls.groups)
    kept = _rows(
        groups, np.array([row for row, group in enumerate(groups.groups) if group not in new], dtype=np.int64)
    )
    return GroupMeans(
        groups=(*kept.groups, *controls.groups),
        means=np.concatenate([kept.means, controls.means]),
        counts=np.concatenate([kept.counts, controls.counts]),
        cell_sd=groups.cell_sd,
    )


def _rows_of_labels(averages: Sequence[Mapping[Group, float]]) -> list[list[int]]:
    """Return the rows of averages of each perturbation label."""
    rows: dict[str, list[int]] = {}
    for row, members in enumerate(averages):
        rows.setdefault(next(iter(members)).perturbation, []).append(row)
    return list(rows.values())


def _pieces(sets: Sequence[list[int]], averages: Sequence[Mapping[Group, float]]) -> Iterator[list[list[int]]]:
    """Yield some sets of rows at a time, with at most :data:`MAX_TARGETS` populations if no single set has more."""
    piece: list[list[int]] = []
    size = 0
    for rows in sets:
        num = sum(len(averages[row]) for row in rows)
        if piece and size + num > MAX_TARGETS:
            yield piece
            piece, size = [], 0
        piece.append(rows)
        size += num
    if piece:
        yield piece


def _shares(averages: Sequence[Mapping[Group, float]]) -> csr_array:
    """Return [averages, all their members] the weight of each member in each average."""
    blocks = [csr_array(np.array([list(members.values())]) / sum(members.values())) for members in averages]
    return block_diag(blocks, format="csr")
