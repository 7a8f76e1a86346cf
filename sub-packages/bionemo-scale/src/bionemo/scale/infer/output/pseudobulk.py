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

from bionemo.scale.eval.cells.predicted_sd import CONDITIONS
from bionemo.scale.files.writing.atomic import atomic
from bionemo.scale.infer.certainty.certainty import Certainty
from bionemo.scale.infer.plans.parts import Part
from bionemo.scale.infer.plans.plan import Plan
from bionemo.scale.types import Group


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """The conditions (cell type, perturbation, batch) of a plan, in the order in which they first appear."""

    obs: pd.DataFrame
    """Labels, and ``num_cells`` predicted cells."""
    of_set: np.ndarray
    """[sets] int64, the condition of each set."""
    members: list[dict[Group, float]]
    """The populations of each condition, of several data sets where they share its labels, with their numbers of
    cells."""

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
    of_set = codes[np.cumsum(plan.sizes) - plan.sizes]
    members: list[dict[Group, float]] = [{} for _ in range(len(obs))]
    for number, (condition, size) in enumerate(zip(of_set.tolist(), plan.sizes.tolist(), strict=True)):
        group = plan.group(number)
        members[condition][group] = members[condition].get(group, 0.0) + size
    return Conditions(obs=obs, of_set=of_set, members=members)


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


def add_up(conditions: Conditions, *, parts: Sequence[Part], sums: Iterable[np.ndarray], num_genes: int) -> np.ndarray:
    """Return the sums of all parts, [2, conditions, G] float64: of predicted cells, of their controls.

    Args:
        conditions: The rows.
        parts: All parts of the plan.
        sums: [2, conditions of the part, G] sums of each part, in the same order.
        num_genes: G.
    """
    totals = np.zeros((2, len(conditions.obs), num_genes))
    for part, part_sums in zip(parts, sums, strict=True):
        totals[:, np.unique(conditions.of_set[part.sets])] += part_sums
    return totals


def write_pseudobulk(
    path: Path,
    *,
    conditions: Conditions,
    totals: np.ndarray,
    genes: tuple[str, ...],
    uns: dict[str, Any],
    certainty: Certainty,
) -> None:
    """Write means.

    Args:
        path: h5ad that appears when it is complete. X is the mean log1p expression of the predicted cells of a
            condition, layers["control"] that of the control cells they were made of; where there is an estimate,
            layers sd, low and high are of the mean change between the two.
        conditions: The rows.
        totals: Of :func:`add_up`.
        genes: Names of the columns.
        uns: Provenance.
        certainty: Of the plan. What it says of a (cell type, perturbation) stands in obs, varm and uns.
    """
    means = totals / conditions.obs["num_cells"].to_numpy()[:, None]
    pair_of_row = certainty.pairs.of_set[conditions.first_sets()]
    certainty.totals.add_sums(pair_of_row, totals[0])
    varm = certainty.columns()
    table, layers = certainty.table(), {"control": means[1]}
    layers.update(certainty.of_rows(conditions.members, predicted=means[0], control=means[1]))
    facts = table.drop(columns=["cell_type", "perturbation", "num_cells"]).iloc[pair_of_row]
    adata = anndata.AnnData(
        X=means[0].astype(np.float32),
        obs=conditions.obs.join(facts.set_axis(conditions.obs.index)),
        var=pd.DataFrame(index=list(genes)),
        varm=varm,
        layers={name: values.astype(np.float32) for name, values in layers.items()},
        uns={**uns, CONDITIONS: table, "bionemo_scale": {**uns["bionemo_scale"], **certainty.notes()}},
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary:
        adata.write_h5ad(temporary)
