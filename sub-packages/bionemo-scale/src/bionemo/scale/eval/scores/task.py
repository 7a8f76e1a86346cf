# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What is scored together: real cells, predictions of them, and what baselines learn from."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from bionemo.scale.eval.baselines.training_means import TrainingMeans
from bionemo.scale.eval.cell_eval.challenge import CellEval2
from bionemo.scale.eval.cell_eval.newest import CurrentCellEval
from bionemo.scale.eval.cells.populations import Population
from bionemo.scale.eval.enrichment import GeneSets
from bionemo.scale.eval.metrics.differential import DEEngine


KEYS = ("model", "context", "perturbation", "cells_real", "cells_pred")
"""Columns of the results that are no metrics."""
CEILING = "ceiling"
"""Name in the tables of the real cells that predict one another."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A model's prediction, aligned with the real cells."""

    name: str
    cells: Population
    """Predicted perturbed cells."""
    controls: Population
    """Control cells of the predicted side."""
    sd: Mapping[tuple[str, str], np.ndarray] = field(default_factory=dict)
    """[G] of each (cell type, perturbation), how sure the model is of its mean change; of none where it does not
    say."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """Everything that is scored together."""

    cells: Population
    """Real perturbed cells."""
    controls: Population
    """Real control cells of the same cell types."""
    control: str
    """Label of the controls."""
    models: tuple[Model, ...]
    baselines: tuple[str, ...] = ()
    training: TrainingMeans | None = None
    ceiling: bool = False
    """Whether to score one half of the real cells as a prediction of the other half, too."""
    engine: DEEngine = "fast"
    seed: int = 0
    current: CurrentCellEval | None = None
    """Another cell-eval that scores everything too."""
    second: CellEval2 | None = None
    """Scores counts too."""
    batch_weights: dict[str, np.ndarray] | None = None
    """Of :func:`bionemo.scale.eval.metrics.intervals.batch_weights`; ``None`` where there are too few batches."""

    gene_sets: GeneSets | None = None
    """Sets whose changes are scored too."""
    target_names: frozenset[str] = frozenset()
    """Names of the agents of all perturbations, genes among them."""

    covariates: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Values of each context's covariates, where there are any."""

    @property
    def in_counts(self) -> bool:
        """Whether everything was read as counts; baselines are drawn as counts then."""
        sides = (self.cells, self.controls, *(side for model in self.models for side in (model.cells, model.controls)))
        return all(side.unit is not None for side in sides)

    @property
    def by_replicate(self) -> bool:
        """Whether to test pseudobulks of replicates too."""
        return self.cells.replicate is not None

    def contexts(self) -> list[str]:
        """Return the cell types, sorted."""
        return sorted(set(self.cells.cell_type.tolist()))
