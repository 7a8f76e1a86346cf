# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Measured cells of the file whose controls a prediction starts from: what the prediction is compared with."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bionemo.scale.data.store.format import covariate_column
from bionemo.scale.files.anndata.anndata_file import H5adSource
from bionemo.scale.files.labels.grammar import Grammar
from bionemo.scale.files.suggest import some
from bionemo.scale.files.writing.h5ad_writer import H5adWriter
from bionemo.scale.infer.controls.control_cells import CellSource, contexts_of, control_mask, read_cells
from bionemo.scale.infer.output.origin import describe
from bionemo.scale.infer.plans.plan import READ_ROWS, named_obs
from bionemo.scale.types import DataCard, InputError


@dataclass(frozen=True, kw_only=True)
class MeasuredCells:
    """Which cells of a file are compared with predictions."""

    source: CellSource
    chosen: np.ndarray
    """[cells of the file] bool: cells of the predicted conditions, and the controls of their cell types."""
    perturbation: np.ndarray
    """[cells of the file] names as predictions have them."""

    def write(self, path: Path, card: DataCard, *, provenance: dict[str, Any]) -> int:
        """Write the cells as log1p expression on the model's genes and scale.

        Args:
            path: h5ad that appears when it is complete.
            card: Genes, labels and scale of the model.
            provenance: Where the cells come from.

        Returns:
            The number of perturbed cells.

        Raises:
            InputError: Values are not on the model's scale, or do not show what they are.
        """
        with self.source.open(card) as file:
            cells = read_cells(file, card, self.chosen, given=self.source.given)
        labels = {
            "cell_type": cells.cell_type,
            "perturbation": self.perturbation[self.chosen],
            "batch": cells.batch,
            **{covariate_column(number): values for number, values in enumerate(cells.covariates)},
        }
        obs = named_obs(pd.DataFrame(labels), card)
        obs.index = pd.Index(cells.names.astype(str))
        uns = {"bionemo_scale": describe(card, provenance)}
        with H5adWriter(path, obs=obs, genes=card.genes, uns=uns, dense=False) as writer:
            for first in range(0, len(obs), READ_ROWS):
                writer.append(cells.expression[first : first + READ_ROWS])
        return int((labels["perturbation"] != card.control).sum())


def find_measured(
    source: CellSource, card: DataCard, perturbations: Iterable[str], *, contexts: Iterable[str], grammar: Grammar
) -> MeasuredCells:
    """Find the cells of predicted conditions in a file by their labels.

    Args:
        source: The file that has the controls.
        card: The model's labels.
        perturbations: Those that are predicted.
        contexts: Those that are predicted: cell types with their covariates, if there are any.
        grammar: How labels are read.

    Raises:
        InputError: The file measured none of the conditions, or lacks a column.
    """
    asked = {grammar.canonical(name): name for name in perturbations}
    with source.open(card) as file:
        controls = control_mask(file, card)
        names = _names(file, card, asked, grammar=grammar)
        columns = [file.labels(key).of_cells() for key in (card.keys.cell_type, *card.keys.covariates)]
    of_context = np.isin(contexts_of(columns).astype(str), list(contexts))
    # Controls may have been measured at other covariates.
    of_type = np.isin(columns[0].astype(str), columns[0][of_context].astype(str))
    perturbed = of_context & ~controls & (names != "")
    if not perturbed.any():
        raise InputError(
            f"--measured: expected measured cells of predicted perturbations in {source.path}, such as "
            f"{some(list(asked.values()))}, found none"
        )
    names[controls] = card.control
    return MeasuredCells(source=source, chosen=perturbed | (controls & of_type), perturbation=names)


def _names(file: H5adSource, card: DataCard, asked: dict[str, str], *, grammar: Grammar) -> np.ndarray:
    """Return the perturbation of each cell as predictions call it, [cells]; "" where it is not predicted."""
    if not file.has_labels(card.keys.perturbation):
        return np.full(file.num_cells, "", dtype=object)
    labels = file.labels(card.keys.perturbation, named=card.all_controls)
    known = [asked.get(grammar.canonical(name), "") for name in labels.names]
    return np.array(known, dtype=object)[labels.codes]
