# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""How sure a prediction says it is: the standard deviation of each mean change, where its file gives one."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from bionemo.scale.files.anndata.checked_anndata import CheckedAnnData
from bionemo.scale.types import InputError


CONDITIONS, SD = "conditions", "change_sd"
"""The table in uns, whose rows are the columns of the array in varm."""
LABELS = ("cell_type", "perturbation")


@dataclass(frozen=True, kw_only=True)
class PredictedSd:
    """Standard deviations of (cell type, perturbation) pairs; empty where a file has none."""

    genes: tuple[str, ...] = ()
    of_pair: Mapping[tuple[str, str], np.ndarray] = field(default_factory=dict)
    """[G] float64 of each pair."""

    def with_genes(self, genes: tuple[str, ...]) -> "PredictedSd":
        """Return the same for genes picked and ordered by name; every name must be there."""
        if not self.of_pair or genes == self.genes:
            return self
        column = {gene: index for index, gene in enumerate(self.genes)}
        chosen = np.array([column[gene] for gene in genes])
        return PredictedSd(genes=genes, of_pair={pair: sd[chosen] for pair, sd in self.of_pair.items()})

    def renamed(self, names: Mapping[str, str]) -> "PredictedSd":
        """Return the same with other names of perturbations; those that are not named stay."""
        of_pair = {(cell_type, names.get(name, name)): sd for (cell_type, name), sd in self.of_pair.items()}
        return PredictedSd(genes=self.genes, of_pair=of_pair)


def read_predicted_sd(file: CheckedAnnData, genes: tuple[str, ...]) -> PredictedSd:
    """Return what a file of predictions says; nothing where it has no such table, or not this array.

    Raises:
        InputError: The two do not fit one another, or hold no standard deviations.
    """
    # Tables of other tools may have the name.
    if SD not in file.names("varm") or CONDITIONS not in file.names("uns"):
        return PredictedSd()
    table = file.element(f"uns/{CONDITIONS}")
    if not isinstance(table, pd.DataFrame) or not set(LABELS) <= set(table.columns):
        return PredictedSd()
    sd = file.numbers(f"varm/{SD}")
    if sd.shape != (len(genes), len(table)):
        raise InputError(
            f"{file.path}: expected varm[{SD!r}] of shape {(len(genes), len(table))}, a row for each gene "
            "and a column for "
            f"each row of uns[{CONDITIONS!r}], found {sd.shape}"
        )
    if not (np.isfinite(sd).all() and (sd >= 0).all()):
        raise InputError(
            f"{file.path}: expected standard deviations of at least 0 in varm[{SD!r}], found other values"
        )
    labels = zip(*(table[name].astype(str) for name in LABELS), strict=True)
    return PredictedSd(genes=genes, of_pair=dict(zip(labels, sd.T.astype(np.float64), strict=True)))
