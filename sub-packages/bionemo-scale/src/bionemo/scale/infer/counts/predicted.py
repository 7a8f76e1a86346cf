# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Predicts a part of a plan as counts."""

import numpy as np
from scipy.sparse import csr_matrix, vstack

from bionemo.scale.counts.counted import check_counted, counted
from bionemo.scale.counts.draw import draw_counts
from bionemo.scale.infer.generate import has_counted_zeros
from bionemo.scale.infer.plans.parts import Part
from bionemo.scale.infer.plans.plan import ControlSet, Plan
from bionemo.scale.infer.predict import OnBounded, Progress, predict_part
from bionemo.scale.infer.run_estimate import PlannedMeans
from bionemo.scale.infer.trained_model import LoadedModel
from bionemo.scale.types import InputError


_LOOKED_AT = 256
"""Control cells that show whether they are counts."""


def check_has_counts(loaded: LoadedModel, plan: Plan) -> None:
    """Refuse what has no counts before anything is predicted.

    Raises:
        InputError: The model does not begin from the counts of control cells, or the first controls are no counts.
    """
    if not has_counted_zeros(loaded.model.config):
        raise InputError(
            f"{loaded.path}: --output counts needs a model that generates by contrast with the zeros of counts, found "
            f"generation {loaded.model.config.generation}"
        )
    cells, num_cells = [], 0
    for controls in plan.controls(np.unique(plan.control_set).tolist()):
        cells.append(controls.expression)
        num_cells += cells[-1].shape[0]
        if num_cells >= _LOOKED_AT:
            break
    check_counted(csr_matrix(vstack(cells)))


def predict_counts(
    loaded: LoadedModel,
    plan: Plan,
    part: Part,
    *,
    means: PlannedMeans | None,
    progress: Progress = lambda cells: None,
    on_bounded: OnBounded = lambda values: None,
    library_size: float | None = None,
) -> np.ndarray:
    """Return the predicted counts of a part, in the order of its sets.

    Args:
        loaded: The model.
        plan: What to predict.
        part: Which part of it.
        means: Of the plan, as :func:`bionemo.scale.infer.predict.predict_part` takes them.
        progress: Called with the number of cells as they are predicted.
        on_bounded: As of :func:`bionemo.scale.infer.predict.predict_part`.
        library_size: Of every cell; ``None`` gives each that of the control cell it began as.

    Returns:
        [cells + populations, G + 1] float32: counts, with the library size in the last column; then for each
        population of the part the sums of its predicted log1p expression.

    Raises:
        InputError: Control cells hold no scaled counts.
    """
    begun: dict[int, csr_matrix] = {}
    seeds: dict[int, int] = {}

    def on_set(position: int, controls: ControlSet) -> None:
        begun[position], seeds[position] = controls.expression, controls.seed

    predicted = predict_part(loaded, plan, part, means=means, progress=progress, on_set=on_set, on_bounded=on_bounded)
    populations = list(part.populations(plan.population))
    found = np.zeros((part.num_cells + len(populations), predicted.shape[1] + 1), dtype=np.float32)
    controls = csr_matrix(vstack([begun[position] for position in range(len(part.sets))]))
    target_sum = loaded.card.scale.target_sum
    for number, population in enumerate(populations):
        own = counted(csr_matrix(controls[population.rows]), target_sum)
        if np.isnan(own.library_size).any():
            raise InputError("--output counts: a population of control cells has no counts, and no library size")
        mean = predicted[population.rows].mean(axis=0, dtype=np.float64)
        seed = seeds[population.first_set]
        found[population.rows, :-1] = draw_counts(
            own, mean, target_sum=target_sum, seed=seed, library_size=library_size
        )
        found[population.rows, -1] = own.library_size if library_size is None else library_size
        found[part.num_cells + number, :-1] = mean * len(own.counts)
    return found
