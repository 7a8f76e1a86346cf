# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""One row for each predicted condition: what a screen of a thousand perturbations is read by."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd

from bionemo.scale.files.writing.atomic import atomic
from bionemo.scale.infer.plans.parts import Part
from bionemo.scale.infer.plans.plan import Plan


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """The conditions (cell type, perturbation, batch) of a plan, in the order in which they first appear."""

    obs: pd.DataFrame
    """Labels, and ``num_cells`` predicted cells."""
    of_set: np.ndarray
    """[sets] int64, the condition of each set."""

    def first_sets(self) -> np.ndarray:
        """Return [conditions] int64, a set of each condition."""
        return np.unique(self.of_set, return_index=True)[1]


def conditions_of(plan: Plan) -> Conditions:
    """Return the conditions of a plan."""
    labels = plan.obs.drop(columns="control_cell")
    codes = labels.groupby(list(labels.columns), sort=False, observed=True).ngroup().to_numpy()
    obs = labels.iloc[np.unique(codes, return_index=True)[1]].copy()
    obs.index = [f"condition-{number}" for number in range(len(obs))]
    obs["num_cells"] = np.bincount(codes)
    return Conditions(obs=obs, of_set=codes[np.cumsum(plan.sizes) - plan.sizes])


def sum_conditions(part: Part, conditions: Conditions, *, cells: np.ndarray, control_sums: np.ndarray) -> np.ndarray:
    """Add up the cells of each condition of a part.

    Args:
        part: The part.
        conditions: Of the plan.
        cells: [cells of the part, G] float32, predicted.
        control_sums: [sets of the part, G] float64, over the control cells that each set was made of.

    Returns:
        [2, conditions of the part, G] float64: predicted cells, controls.
    """
    inside, condition = np.unique(conditions.of_set[part.sets], return_inverse=True)
    sums = np.zeros((2, len(inside), cells.shape[1]))
    # In the plan's order, not in that in which sets go through the network, which depends on the machine.
    for row, first, size, control_sum in zip(condition, part.first_rows, part.sizes, control_sums, strict=True):
        sums[0, row] += cells[first : first + size].sum(axis=0, dtype=np.float64)
        sums[1, row] += control_sum
    return sums


def write_pseudobulk(
    path: Path,
    *,
    conditions: Conditions,
    parts: Sequence[Part],
    sums: Iterable[np.ndarray],
    genes: tuple[str, ...],
    uns: dict[str, Any],
    sd: np.ndarray | None = None,
) -> None:
    """Add up the parts and write means.

    Args:
        path: h5ad that appears when it is complete. X is the mean log1p expression of the predicted cells of a
            condition, layers["control"] that of the control cells they were made of.
        conditions: The rows.
        parts: All parts of the plan.
        sums: [2, conditions of the part, G] sums of each part, in the same order.
        genes: Names of the columns.
        uns: Provenance.
        sd: [conditions, G] float32, standard deviation of the estimated mean, for layers["sd"].
    """
    totals = np.zeros((2, len(conditions.obs), len(genes)))
    for part, part_sums in zip(parts, sums, strict=True):
        totals[:, np.unique(conditions.of_set[part.sets])] += part_sums
    means = (totals / conditions.obs["num_cells"].to_numpy()[:, None]).astype(np.float32)
    layers = {"control": means[1], **({} if sd is None else {"sd": sd})}
    var = pd.DataFrame(index=list(genes))
    table = anndata.AnnData(X=means[0], obs=conditions.obs, var=var, layers=layers, uns=uns)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary:
        table.write_h5ad(temporary)
