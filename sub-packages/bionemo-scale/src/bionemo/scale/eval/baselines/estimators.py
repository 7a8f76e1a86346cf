# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Predictors without a network; a model that does not beat them has learnt nothing about cells.

Each is one function whose docstring is its definition. It sees the labels of the cells to predict, real control
cells of their cell type (what a model starts from) and pseudobulks of the training split. It never sees the cells.
"""

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bionemo.scale.eval.baselines.by_features import ChangesByFeatures
from bionemo.scale.eval.baselines.training_means import TrainingMeans
from bionemo.scale.eval.cells.populations import rows_by_label
from bionemo.scale.files.label_list import settle_labels
from bionemo.scale.types import Group, GroupMeans, InputError, cell_type_of


_CELLS_AT_ONCE = 512
"""Most cells of a population that are moved together, as where a network predicts."""


@dataclass(frozen=True, kw_only=True)
class Targets:
    """The cells of one context that are to be predicted, and what there is to predict them from."""

    cell_type: str
    """The context: the cell type with its covariates, where there are any."""
    perturbation: np.ndarray
    """[cells] str."""
    batch: np.ndarray
    """[cells] str."""
    control_cells: np.ndarray
    """[controls, G] float32, real control cells of the cell type."""
    context_control: np.ndarray
    """[G] float64, mean of all real control cells of the cell type."""
    batch_control: dict[str, np.ndarray]
    """Batch to the mean of the real control cells that those of its cells were drawn from, [G] float64."""
    training: TrainingMeans | None
    """``None`` when no training data is at hand; only ``control`` works then."""
    control_groups: GroupMeans | None = None
    """Pseudobulks of the real control cells of the cell type, by batch and by the covariates that they were measured
    at; data sets are not named."""
    seed: int = 0
    """Places the zeros of counts."""
    covariates: tuple[str, ...] = ()
    """Of the context."""
    matched: np.ndarray | None = None
    """[cells] int64, row in ``control_cells`` of the one that each cell is matched with; ``None`` for one after the
    other."""

    @property
    def controls(self) -> np.ndarray:
        """[cells, G] float32, one matched real control cell for each cell; a copy for each call."""
        return self.matched_controls()

    def matched_controls(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Return the matched control of each cell, or of some, [cells, G] float32."""
        chosen = np.arange(len(self.perturbation)) if rows is None else rows
        return self.control_cells[chosen if self.matched is None else self.matched[chosen]]


@dataclass(frozen=True, kw_only=True)
class BaselinePrediction:
    """Predicted cells."""

    expression: np.ndarray
    """[cells, G] float32."""
    fallbacks: int = 0
    """Cells for which the definition's fallback was used."""


@dataclass(frozen=True, kw_only=True)
class Matches:
    """A control cell for each cell."""

    rows: np.ndarray
    """[cells] int64, row among the controls of the cell type."""
    pools: dict[str, np.ndarray]
    """Batch to the rows that its cells' were drawn from."""
    control_batch: np.ndarray
    """[controls] str, batch of each control of the cell type."""
    fallbacks: int
    """Cells whose batch has no controls."""
    control_context: np.ndarray | None = None
    """[controls] str, the context that each control was measured in; ``None`` where it is that of the cells."""


def match_controls(batch: np.ndarray, control_batch: np.ndarray, rng: np.random.Generator) -> Matches:
    """Draw for each cell a control cell of its batch, or of any batch where its own has none.

    Args:
        batch: [cells] batch of the cells, all of one cell type.
        control_batch: [controls] batch of the control cells of that cell type.
        rng: Draws with replacement.
    """
    rows = np.empty(len(batch), dtype=np.int64)
    fallbacks, pools = 0, {}
    for name in dict.fromkeys(batch.tolist()):
        members = np.flatnonzero(batch == name)
        pool = np.flatnonzero(control_batch == name)
        if not pool.size:
            pool = np.arange(len(control_batch))
            fallbacks += members.size
        rows[members] = rng.choice(pool, size=members.size)
        pools[name] = pool
    return Matches(rows=rows, pools=pools, control_batch=control_batch, fallbacks=fallbacks)


def named_rng(seed: int, *names: str) -> np.random.Generator:
    """Seed by name, so that what else is in the file does not change the draws."""
    return np.random.default_rng([seed, *(zlib.crc32(name.encode()) for name in names)])


def control(targets: Targets) -> BaselinePrediction:
    """Predict the matched control cell itself: no effect."""
    return BaselinePrediction(expression=targets.matched_controls())


def perturbation_mean(targets: Targets) -> BaselinePrediction:
    """Predict the perturbation's mean expression, averaged over training contexts with equal weight.

    Constant cells. An unseen perturbation gets the mean of all perturbed training cells (fallback).
    """
    training = _training(targets)
    return _constant(targets.perturbation, training.means, training.overall.mean)


def context_mean(targets: Targets) -> BaselinePrediction:
    """Predict the mean of all perturbed training cells of the cell type, whatever the perturbation.

    Constant cells, every training cell weighing the same. A cell type without perturbed training cells gets the mean
    of its training controls, or of the real controls at hand where there are none either (fallback).
    """
    training = _training(targets)
    seen = training.by_cell_type.get(targets.cell_type)
    controls = training.controls.get(targets.cell_type)
    mean = seen.mean if seen else controls.mean if controls else targets.context_control
    num = len(targets.perturbation)
    return BaselinePrediction(expression=_repeat(mean, num), fallbacks=0 if seen else num)


def additive(targets: Targets) -> BaselinePrediction:
    """Predict the matched control cells, moved by the perturbation's mean change (see :func:`_moved`).

    The change is perturbed mean minus control mean, averaged over training contexts with equal weight. An unseen
    perturbation has change 0 (fallback).
    """
    return _moved(targets, _training(targets).changes)


def overall_mean(targets: Targets) -> BaselinePrediction:
    """Predict the mean of all perturbed training cells, every cell weighing the same. Constant cells."""
    return BaselinePrediction(expression=_repeat(_training(targets).overall.mean, len(targets.perturbation)))


def batch_mean(targets: Targets) -> BaselinePrediction:
    """Predict the mean of all perturbed training cells of the cell's batch, every cell weighing the same.

    An unseen batch gets the mean of all perturbed training cells (fallback).
    """
    training = _training(targets)
    means = {name: pool.mean for name, pool in training.by_batch.items()}
    return _constant(targets.batch, means, training.overall.mean)


def ridge(targets: Targets) -> BaselinePrediction:
    """Predict the matched control cells, moved by a change linear in perturbation and cell type (see :func:`_moved`).

    The change is fitted by ridge regression to training pseudobulk changes (see
    :func:`bionemo.scale.eval.baselines.ridge.fit_ridge`). An unseen perturbation has effect 0 (fallback), an unseen
    cell type too.
    """
    model = _training(targets).ridge
    if model is None:
        return _moved(targets, {})
    return _moved(targets, model.perturbation, model.intercept + model.cell_type.get(targets.cell_type, 0.0))


def nearest_context(targets: Targets) -> BaselinePrediction:
    """Predict the matched control cells, moved by the change in the most similar training context (:func:`_moved`).

    Of the contexts that show the perturbation and have training controls, the one whose mean control expression is
    nearest (Euclidean over genes) to that of the controls at hand. An unseen perturbation has change 0 (fallback).
    """
    training = _training(targets)
    near = {
        name: min(seen, key=lambda change: float(np.linalg.norm(change.control - targets.context_control))).change
        for name, seen in training.by_context.items()
    }
    return _moved(targets, near)


def same_type_mean(targets: Targets) -> BaselinePrediction:
    """Predict the perturbation's mean expression in the same cell type of other batches, every cell weighing the same.

    Constant cells. Where the cell type was not trained with the perturbation: as ``perturbation_mean`` (fallback).
    """
    training = _training(targets)
    names = [(targets.cell_type, name) for name in dict.fromkeys(targets.perturbation.tolist())]
    known = {
        name: training.same_type_means[cell_type, name]
        for cell_type, name in names
        if (cell_type, name) in training.same_type_means
    }
    means = _constant(targets.perturbation, {**training.means, **known}, training.overall.mean)
    unknown = sum(name not in known for name in targets.perturbation.tolist())
    return replace(means, fallbacks=unknown)


def persistence(targets: Targets) -> BaselinePrediction:
    """Predict the matched control cells, moved to the mean m1 + rho (x - m0), one rho for all genes.

    See :mod:`bionemo.scale.eval.baselines.persistence`; x is the mean of the batch's controls. An unseen perturbation
    has change 0 (fallback).
    """
    return _persistent(targets, by_gene=False)


def persistence_by_gene(targets: Targets) -> BaselinePrediction:
    """Predict as ``persistence``, with a rho for each gene that is shrunk towards the pooled one."""
    return _persistent(targets, by_gene=True)


def sum_of_singles(targets: Targets) -> BaselinePrediction:
    """Predict the matched control cells, moved by the sum of the changes of the perturbation's agents alone.

    The change of an agent is its additive effect (see :func:`additive`). A perturbation with an agent that was not
    trained alone has the additive effect of its own label, if that was trained (fallback).
    """
    training = _training(targets)
    changes, fallbacks = dict(training.changes), 0
    for name in dict.fromkeys(targets.perturbation.tolist()):
        agents = [agent for agent, _ in training.parse(name)]
        if all(agent in training.singles for agent in agents):
            changes[name] = np.sum([training.singles[agent] for agent in agents], axis=0)
        else:
            fallbacks += int((targets.perturbation == name).sum())
    return replace(_moved(targets, changes), fallbacks=fallbacks)


def mixed_model(targets: Targets) -> BaselinePrediction:
    """Predict the matched control cells, moved to the conditional mean of a linear mixed model of pseudobulks.

    See :mod:`bionemo.scale.estimate.mixed_model`. The real controls take the place of the training controls with the
    same labels. An unseen perturbation has what is known of its agents, or the mean effect of all perturbations. Where
    the training data have no controls or no perturbed cells: no change (fallback).
    """
    training = _training(targets)
    model = training.mixed_model
    if model is None:
        return _moved(targets, {})
    assert targets.control_groups is not None, "scoring gives them"
    cell_type = cell_type_of(targets.cell_type, targets.covariates)
    dataset = training.dataset_of(cell_type)
    controls = replace(
        targets.control_groups,
        groups=tuple(group._replace(dataset=dataset) for group in targets.control_groups.groups),
    )
    populations = [(name, batch) for name, batch, _ in _populations(targets)]
    groups = [Group(dataset, cell_type, name, batch, targets.covariates) for name, batch in populations]
    means = dict(zip(populations, model.predict(groups, controls=controls).mean, strict=True))
    return _moved_to(targets, lambda perturbation, batch: means[perturbation, batch])


def mean_of_trained(targets: Targets) -> BaselinePrediction:
    """Predict the matched control cells, moved by the mean change of all trained perturbations (see :func:`_moved`).

    What is known of a perturbation that was never trained before its vector is. Each trained perturbation counts once.
    """
    changes = _training(targets).changes
    mean: np.ndarray | float = np.mean(list(changes.values()), axis=0) if changes else 0.0
    return _moved(targets, dict.fromkeys(targets.perturbation.tolist(), mean))


def nearest_neighbour(targets: Targets) -> BaselinePrediction:
    """Predict the matched control cells, moved by the change of the trained perturbation with the nearest vector.

    See :class:`bionemo.scale.eval.baselines.by_features.ChangesByFeatures`, also for the two that follow. A
    perturbation without a vector has the mean change of all trained perturbations (fallback).
    """
    return _by_features(targets, ChangesByFeatures.nearest_neighbour)


def kernel_ridge(targets: Targets) -> BaselinePrediction:
    """Predict the matched control cells, moved by kernel ridge regression of trained changes on vectors.

    A perturbation without a vector has the mean change of all trained perturbations (fallback).
    """
    return _by_features(targets, ChangesByFeatures.kernel_ridge)


def bilinear(targets: Targets) -> BaselinePrediction:
    """Predict the matched control cells, moved by a change bilinear in vectors and principal components of changes.

    A perturbation without a vector has the mean change of all trained perturbations (fallback).
    """
    return _by_features(targets, ChangesByFeatures.bilinear)


BASELINES: dict[str, Callable[[Targets], BaselinePrediction]] = {
    "control": control,
    "perturbation_mean": perturbation_mean,
    "context_mean": context_mean,
    "additive": additive,
    "overall_mean": overall_mean,
    "batch_mean": batch_mean,
    "ridge": ridge,
    "nearest_context": nearest_context,
    "same_type_mean": same_type_mean,
    "persistence": persistence,
    "persistence_by_gene": persistence_by_gene,
    "sum_of_singles": sum_of_singles,
    "mixed_model": mixed_model,
    "mean_of_trained": mean_of_trained,
    "nearest_neighbour": nearest_neighbour,
    "kernel_ridge": kernel_ridge,
    "bilinear": bilinear,
}
"""Name in the tables to function."""

WITHOUT_TRAINING = ("control",)
"""Baselines that need no training data."""

NEED_FEATURES = ("nearest_neighbour", "kernel_ridge", "bilinear")
"""Baselines that need vectors of perturbations."""

WITH_FEATURES = ("mean_of_trained", *NEED_FEATURES)
"""Baselines for perturbations that were never trained; used by default where vectors are given."""


def chosen_baselines(given: Sequence[str]) -> tuple[str, ...]:
    """Return names of baselines, which may stand with commas between them.

    Raises:
        InputError: There is no such baseline.
    """
    chosen = settle_labels(given, BASELINES)
    for name in chosen:
        if name not in BASELINES:
            raise InputError(f"--baselines: expected names of {', '.join(BASELINES)}, found {name!r}")
    return chosen


def default_baselines(*, with_features: bool) -> tuple[str, ...]:
    """Return the baselines that are used where the user names none.

    Args:
        with_features: Whether vectors of perturbations are given.
    """
    return tuple(name for name in BASELINES if with_features or name not in WITH_FEATURES)


def _training(targets: Targets) -> TrainingMeans:
    assert targets.training is not None, "baselines that learn are left out without training data"
    return targets.training


def _repeat(mean: np.ndarray, num: int) -> np.ndarray:
    return np.tile(mean.astype(np.float32), (num, 1))


def _moved(
    targets: Targets, changes: Mapping[str, np.ndarray | float], shift: np.ndarray | float = 0.0
) -> BaselinePrediction:
    """Move matched control cells by a change of their mean.

    The mean of a population (perturbation and batch) is the one of all controls of the batch plus
    ``changes[perturbation]`` (0 where there is none, a fallback) plus ``shift``.
    """
    known = set(changes)
    fallbacks = sum(name not in known for name in targets.perturbation.tolist())

    def mean(perturbation: str, batch: str) -> np.ndarray:
        return targets.batch_control[batch] + changes.get(perturbation, 0.0) + shift

    return replace(_moved_to(targets, mean), fallbacks=fallbacks)


def _moved_to(targets: Targets, mean_of: Callable[[str, str], np.ndarray]) -> BaselinePrediction:
    """Move matched control cells until each population (perturbation and batch) has the predicted mean.

    Cells get it, and their zeros back, as a network's do (:mod:`bionemo.scale.population`): without that, the sampling
    error of the drawn controls and values that no count can have would be scored, too.
    """
    # Late: a page of scores needs no torch.
    import torch

    from bionemo.scale.population import one_count, with_counted_zeros, with_mean

    expression = np.empty((len(targets.perturbation), targets.control_cells.shape[1]), dtype=np.float32)
    for perturbation, batch, rows in _populations(targets):
        mean = mean_of(perturbation, batch)
        rng = named_rng(targets.seed, targets.cell_type, "zeros", perturbation, batch)
        for piece in np.array_split(rows, -(-rows.size // _CELLS_AT_ONCE)):
            measured = torch.from_numpy(targets.matched_controls(piece)[None])
            cells = with_mean(measured, torch.from_numpy(mean[None].astype(np.float32)))
            offset = torch.from_numpy(rng.random((1, mean.size), dtype=np.float32))
            expression[piece] = with_counted_zeros(cells, one_count=one_count(measured), offset=offset)[0].numpy()
    return BaselinePrediction(expression=expression)


def _persistent(targets: Targets, *, by_gene: bool) -> BaselinePrediction:
    model = _training(targets).persistence
    unknown = set()

    def mean_of(perturbation: str, batch: str) -> np.ndarray:
        control = targets.batch_control[batch]
        mean = None if model is None else model.predict(perturbation, control, by_gene=by_gene)
        if mean is None:
            unknown.add((perturbation, batch))
        return control if mean is None else mean

    moved = _moved_to(targets, mean_of)
    labels = zip(targets.perturbation.tolist(), targets.batch.tolist(), strict=True)
    return replace(moved, fallbacks=sum(label in unknown for label in labels))


def _by_features(targets: Targets, change: Callable[[ChangesByFeatures, str], np.ndarray]) -> BaselinePrediction:
    """Move matched control cells by a change that follows from vectors, or by the trained mean where there is none."""
    training = _training(targets)
    model, names = training.by_features, list(dict.fromkeys(targets.perturbation.tolist()))
    mean: np.ndarray | float = np.mean(list(training.changes.values()), axis=0) if training.changes else 0.0
    changes = {} if model is None else {name: change(model, name) for name in names if model.describes(name)}
    fallbacks = sum(name not in changes for name in targets.perturbation.tolist())
    return replace(_moved(targets, {**dict.fromkeys(names, mean), **changes}), fallbacks=fallbacks)


def _populations(targets: Targets) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield perturbation, batch and rows of the cells that have both."""
    for perturbation, members in rows_by_label(targets.perturbation).items():
        batches = targets.batch[members]
        for batch in dict.fromkeys(batches.tolist()):
            yield perturbation, batch, members[batches == batch]


def _constant(labels: np.ndarray, means: dict[str, np.ndarray], fallback: np.ndarray) -> BaselinePrediction:
    """Look each label's row up."""
    expression = np.empty((len(labels), fallback.size), dtype=np.float32)
    fallbacks = 0
    for name, members in rows_by_label(labels).items():
        expression[members] = means.get(name, fallback)
        fallbacks += 0 if name in means else members.size
    return BaselinePrediction(expression=expression, fallbacks=fallbacks)
