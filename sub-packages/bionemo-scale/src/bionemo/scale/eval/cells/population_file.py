# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Cells of an AnnData file as read for scoring, with what the file says of itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from bionemo.scale.eval.cells.populations import Population
from bionemo.scale.eval.cells.predicted_sd import PredictedSd
from bionemo.scale.files.labels.grammar import Grammar
from bionemo.scale.files.scale_evidence import ScaleEvidence
from bionemo.scale.types import DataCard, FileLabels, cell_type_of


@dataclass(frozen=True, kw_only=True)
class PopulationFile:
    """A file as read, with what it says of itself."""

    path: Path
    population: Population
    labels: FileLabels
    card: DataCard | None
    """``None`` for files of other tools."""
    store: str | None
    """Path of the training store, as the file names it."""
    sha256: str
    row_sums: np.ndarray
    """[cells] float64, total of each cell's values."""
    has_cell_types: bool = True
    """``False`` where all cells are taken for one cell type, because no column names any."""
    origin: str | None = None
    """Checkpoint or baseline that predicted the cells, as the file names it."""
    evidence: ScaleEvidence | None = None
    """What the values show of their scale; ``None`` where nobody looked."""
    predicted_sd: PredictedSd = field(default_factory=PredictedSd)
    """How sure a prediction is of its mean changes, where the file says it."""
    notes: tuple[str, ...] = ()
    covariates: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Values of each context's covariates; of no context where there are none."""

    @property
    def is_control(self) -> np.ndarray:
        """[cells] bool."""
        return self.population.perturbation == self.labels.control

    def spelled(self, grammar: Grammar) -> "PopulationFile":
        """Return the file with each combination in one spelling; its own control is no part of one.

        Raises:
            InputError: A label cannot be read.
        """
        own = replace(grammar, controls=(self.labels.control,))
        labels, codes = np.unique(self.population.perturbation.astype(str), return_inverse=True)
        names = np.array([own.canonical(label) for label in labels.tolist()], dtype=object)
        changed = int((names != labels).sum())
        note = (f"{self.path.name}: {changed} perturbations are spelled in one way",) if changed else ()
        return replace(
            self,
            population=replace(self.population, perturbation=names[codes]),
            predicted_sd=self.predicted_sd.renamed(dict(zip(labels.tolist(), names.tolist(), strict=True))),
            notes=(*self.notes, *note),
        )

    def with_shared_controls(self) -> "PopulationFile":
        """Return the file with the controls of a cell type in those of its contexts too that have none of their own.

        Controls may have been measured at one time and perturbed cells at others: changes are then counted from the
        controls that there are of the cell type.
        """
        labels, is_control = self.population.cell_type.astype(str), self.is_control
        bare = sorted(set(labels[~is_control]) - set(labels[is_control])) if self.covariates else []
        own_type = {name: cell_type_of(name, values) for name, values in self.covariates.items()}
        rows, contexts, notes = [np.arange(len(labels))], [labels.astype(object)], list(self.notes)
        for name in bare:
            others = [other for other, cell_type in own_type.items() if cell_type == own_type[name]]
            found = np.flatnonzero(is_control & np.isin(labels, others))
            rows.append(found)
            contexts.append(np.full(len(found), name, dtype=object))
            if len(found):
                notes.append(f"{self.path.name}: {name} has no controls; those of its cell type are used")
        if len(rows) == 1:
            return self
        chosen = np.concatenate(rows)
        population = replace(
            self.population.select(chosen), cell_type=np.concatenate(contexts), measured_context=labels[chosen]
        )
        return replace(self, population=population, row_sums=self.row_sums[chosen], notes=tuple(notes))

    @property
    def target_sum(self) -> float | None:
        """Library size behind the values; ``None`` where nobody says."""
        return self.labels.target_sum if self.card is None else self.card.scale.target_sum
