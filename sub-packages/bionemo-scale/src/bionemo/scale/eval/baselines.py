# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Predictors without a network; a model that does not beat them has learnt nothing about cells.

Each is one function whose docstring is its definition. It sees the labels of the cells to predict, real control
cells of their cell type (what a model starts from) and pseudobulks of the training split. It never sees the cells.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bionemo.scale.eval.training_means import TrainingMeans


@dataclass(frozen=True, kw_only=True)
class Targets:
    """The cells of one context that are to be predicted, and what there is to predict them from."""

    cell_type: str
    perturbation: np.ndarray
    """[cells] str."""
    batch: np.ndarray
    """[cells] str."""
    controls: np.ndarray
    """[cells, G] float32, one matched real control cell for each cell."""
    context_control: np.ndarray
    """[G] float64, mean of all real control cells of the cell type."""
    training: TrainingMeans | None
    """``None`` when no training data is at hand; only ``control`` works then."""


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
    fallbacks: int
    """Cells whose batch has no controls."""


def match_controls(batch: np.ndarray, control_batch: np.ndarray, rng: np.random.Generator) -> Matches:
    """Draw for each cell a control cell of its batch, or of any batch where its own has none.

    Args:
        batch: [cells] batch of the cells, all of one cell type.
        control_batch: [controls] batch of the control cells of that cell type.
        rng: Draws with replacement.
    """
    rows = np.empty(len(batch), dtype=np.int64)
    fallbacks = 0
    for name in dict.fromkeys(batch.tolist()):
        members = np.flatnonzero(batch == name)
        pool = np.flatnonzero(control_batch == name)
        if not pool.size:
            pool = np.arange(len(control_batch))
            fallbacks += members.size
        rows[members] = rng.choice(pool, size=members.size)
    return Matches(rows=rows, fallbacks=fallbacks)


def control(targets: Targets) -> BaselinePrediction:
    """Predict the matched control cell itself: no effect."""
    return BaselinePrediction(expression=targets.controls)


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
    """Predict the matched control cell plus the perturbation's mean change, clipped at 0.

    The change is perturbed mean minus control mean, averaged over training contexts with equal weight. An unseen
    perturbation has change 0 (fallback).
    """
    training = _training(targets)
    changes = _constant(targets.perturbation, training.changes, np.zeros_like(training.overall.mean))
    return _moved(targets.controls, changes)


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
    """Predict the matched control cell plus a change linear in perturbation and cell type, clipped at 0.

    The change is fitted by ridge regression to training pseudobulk changes (see
    :func:`bionemo.scale.eval.training_means.fit_ridge`). An unseen perturbation has effect 0 (fallback), an unseen
    cell type too.
    """
    model = _training(targets).ridge
    if model is None:
        return BaselinePrediction(expression=targets.controls, fallbacks=len(targets.perturbation))
    zero = np.zeros_like(model.intercept)
    effects = _constant(targets.perturbation, model.perturbation, zero)
    shift = (model.intercept + model.cell_type.get(targets.cell_type, zero)).astype(np.float32)
    return _moved(targets.controls, effects, shift)


def nearest_context(targets: Targets) -> BaselinePrediction:
    """Predict the matched control cell plus the perturbation's change in the most similar training context, clipped at 0.

    Of the contexts that show the perturbation and have training controls, the one whose mean control expression is
    nearest (Euclidean over genes) to that of the controls at hand. An unseen perturbation has change 0 (fallback).
    """
    training = _training(targets)
    near = {
        name: min(seen, key=lambda change: float(np.linalg.norm(change.control - targets.context_control))).change
        for name, seen in training.by_context.items()
    }
    changes = _constant(targets.perturbation, near, np.zeros_like(training.overall.mean))
    return _moved(targets.controls, changes)


BASELINES: dict[str, Callable[[Targets], BaselinePrediction]] = {
    "control": control,
    "perturbation_mean": perturbation_mean,
    "context_mean": context_mean,
    "additive": additive,
    "overall_mean": overall_mean,
    "batch_mean": batch_mean,
    "ridge": ridge,
    "nearest_context": nearest_context,
}
"""Name in the tables to function."""

WITHOUT_TRAINING = ("control",)
"""Baselines that need no training data."""


def _training(targets: Targets) -> TrainingMeans:
    assert targets.training is not None, "baselines that learn are left out without training data"
    return targets.training


def _repeat(mean: np.ndarray, num: int) -> np.ndarray:
    return np.tile(mean.astype(np.float32), (num, 1))


def _moved(controls: np.ndarray, changes: BaselinePrediction, shift: np.ndarray | None = None) -> BaselinePrediction:
    """Add changes to control cells, clipped at 0, in the memory of the changes."""
    expression = changes.expression
    expression += controls
    if shift is not None:
        expression += shift
    return BaselinePrediction(expression=np.maximum(expression, 0, out=expression), fallbacks=changes.fallbacks)


def _constant(labels: np.ndarray, means: dict[str, np.ndarray], fallback: np.ndarray) -> BaselinePrediction:
    """Look each label's row up."""
    expression = np.empty((len(labels), fallback.size), dtype=np.float32)
    fallbacks = 0
    for name in dict.fromkeys(labels.tolist()):
        members = labels == name
        expression[members] = means.get(name, fallback)
        fallbacks += 0 if name in means else int(members.sum())
    return BaselinePrediction(expression=expression, fallbacks=fallbacks)
