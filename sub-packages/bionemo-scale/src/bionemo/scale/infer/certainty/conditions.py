# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""One row for each predicted (cell type, perturbation): how near it is to training, and what to beware of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bionemo.scale.estimate.covariance import MeansOfCells
from bionemo.scale.files.suggest import some
from bionemo.scale.infer.certainty.pairs import Pairs
from bionemo.scale.infer.certainty.training_facts import TrainingFacts
from bionemo.scale.population import ENOUGH_CONTROLS


ALIKE = 0.99
"""Share of the predicted change that perturbations of a context must have in common to be called alike."""
FEW_CONTROLS, FAR_CONTEXT, NEW_CONTEXT, NEW_PERTURBATION, SAME_FOR_ALL = (
    "few controls",
    "unlike all training contexts",
    "cell type never trained",
    "perturbation never trained",
    "perturbations predicted alike",
)


@dataclass
class ConditionFacts:
    """The table, row by row as the predicted changes become known."""

    pairs: Pairs
    training: TrainingFacts | None
    """``None`` where the run says nothing of it."""

    def __post_init__(self) -> None:
        """Look at what is known before anything is predicted."""
        cell_types, names = zip(*self.pairs.labels, strict=True)
        self._cell_types, self._names = list(cell_types), list(names)
        num = len(self._names)
        self._is_few = self.pairs.num_controls < ENOUGH_CONTROLS
        self._is_new = self._is_far = self._is_new_context = np.zeros(num, dtype=bool)
        self._is_alike = np.zeros(num, dtype=bool)
        self._sums: dict[str, np.ndarray] = {}
        self._squares = np.zeros(num)
        self._columns: dict[str, Any] = {}
        if self.training is not None:
            self._look_at_labels(self.training)
            self._effect_name, self._effect_distance = [""] * num, np.full(num, np.nan)

    def _look_at_labels(self, training: TrainingFacts) -> None:
        counts = [training.num_contexts.get(name, 0) for name in self._names]
        context = training.nearest_context(self._controls_by_cell_type())
        label = training.nearest_label(self._names)
        self._is_new = np.array(counts) == 0
        self._is_new_context = ~np.isin(np.array(self._cell_types, dtype=object), training.contexts)
        self._is_far = context.distance > training.typical_distance
        self._columns = {
            "trained_contexts": np.array(counts),
            "is_trained_cell_type": ~self._is_new_context,
            "nearest_context": context.name,
            "context_distance": context.distance,
            "nearest_label": label.name,
            "label_distance": label.distance,
        }
        features = training.nearest_features(self._names)
        if features is not None:
            self._columns |= {"nearest_features": features.name, "features_distance": features.distance}

    def _controls_by_cell_type(self) -> MeansOfCells:
        """Return of each pair the control mean of its cell type over all of its pairs."""
        frame = pd.Series(self._cell_types)
        means, counts = np.empty(self.pairs.control_mean.shape), np.empty(len(frame))
        for rows in frame.groupby(frame).indices.values():
            weights = self.pairs.num_cells[rows]
            means[rows] = np.average(self.pairs.control_mean[rows], axis=0, weights=weights)
            counts[rows] = self.pairs.num_controls[rows].max()
        return MeansOfCells(means, counts)

    def add_changes(self, rows: slice, changes: np.ndarray) -> None:
        """Take the predicted changes of some pairs, [n, G]; those of the first pair begin anew."""
        changes = changes.astype(np.float64)
        if not rows.start:
            self._sums = {}
        self._squares[rows] = (changes**2).sum(axis=1)
        for cell_type, change in zip(self._cell_types[rows], changes, strict=True):
            self._sums[cell_type] = self._sums.get(cell_type, 0.0) + change
        if self.training is not None:
            found = self.training.nearest_effect(changes)
            self._effect_name[rows] = found.name
            self._effect_distance[rows] = found.distance

    def table(self) -> pd.DataFrame:
        """Return the table; complete when all changes were added."""
        self._find_alike()
        effects = {}
        if self.training is not None:
            effects = {"nearest_effect": self._effect_name, "effect_distance": self._effect_distance}
        columns = {
            "cell_type": self._cell_types,
            "perturbation": self._names,
            "num_cells": self.pairs.num_cells,
            "num_controls": self.pairs.num_controls,
            **self._columns,
            **effects,
            "warnings": self._warnings(),
        }
        return pd.DataFrame(columns, index=[f"condition-{row}" for row in range(len(self._names))])

    def lines(self) -> list[str]:
        """Return what is to be known before anything is predicted, a line each; few controls are noted elsewhere."""
        found = []
        if self._is_new.any():
            names = self._distinct(self._names, self._is_new)
            found.append(
                f"never trained: {_count(names, 'perturbation')} ({some(names)}); predicted from what is known of the "
                "agents, or as the mean effect of all perturbations"
            )
        if self._is_new_context.any():
            names = self._distinct(self._cell_types, self._is_new_context)
            found.append(
                f"never trained with perturbed cells: {_count(names, 'cell type')} ({some(names)}); "
                "predicted from how other cell types respond"
            )
        return found + [self._far_line(name) for name in self._distinct(self._cell_types, self._is_far)]

    def lines_after(self) -> list[str]:
        """Return what the predicted changes show, in one line each."""
        self._find_alike()
        found = []
        for cell_type in self._distinct(self._cell_types, self._is_alike):
            num = self._cell_types.count(cell_type)
            found.append(
                f"cell type {cell_type!r}: the {num} perturbations are predicted alike, "
                f"{100 * self._shared(cell_type):.1f} % of their change is the same; the prediction does not tell "
                "them apart"
            )
        return found

    def _far_line(self, cell_type: str) -> str:
        assert self.training is not None, "without training nothing is far from it"
        row = self._cell_types.index(cell_type)
        distance, nearest = self._columns["context_distance"][row], self._columns["nearest_context"][row]
        return (
            f"cell type {cell_type!r}: unlike all training contexts, its controls are {distance:.2g} from the nearest "
            f"({nearest}); two training contexts are {self.training.typical_distance:.2g} apart (median)"
        )

    def _find_alike(self) -> None:
        shared = {name: self._shared(name) for name in self._sums}
        self._is_alike = np.array([shared.get(name, 0.0) > ALIKE for name in self._cell_types])

    def _shared(self, cell_type: str) -> float:
        rows = [row for row, name in enumerate(self._cell_types) if name == cell_type]
        total = self._squares[rows].sum() * len(rows)
        return float((self._sums[cell_type] ** 2).sum() / total) if len(rows) > 1 and total > 0 else 0.0

    def _warnings(self) -> list[str]:
        flags = {
            FEW_CONTROLS: self._is_few,
            FAR_CONTEXT: self._is_far,
            NEW_CONTEXT: self._is_new_context,
            NEW_PERTURBATION: self._is_new,
            SAME_FOR_ALL: self._is_alike,
        }
        return ["; ".join(name for name, flag in flags.items() if flag[row]) for row in range(len(self._names))]

    @staticmethod
    def _distinct(names: Sequence[str], chosen: np.ndarray) -> list[str]:
        return list(dict.fromkeys(name for name, is_chosen in zip(names, chosen.tolist(), strict=True) if is_chosen))


def _count(names: Sequence[str], kind: str) -> str:
    return f"{len(names)} {kind}{'s' if len(names) > 1 else ''}"
