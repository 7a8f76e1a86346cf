# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The (cell type, perturbation) pairs of a prediction, over their batches."""

from dataclasses import dataclass

import numpy as np

from bionemo.scale.infer.plans.parts import Part
from bionemo.scale.infer.plans.plan import Plan
from bionemo.scale.types import Group


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """The pairs of a plan, in the order in which they first appear."""

    labels: tuple[tuple[str, str], ...]
    """(Context, perturbation); the context is the cell type with its covariates."""
    of_set: np.ndarray
    """[sets] int64, the pair of each set."""
    members: tuple[dict[Group, float], ...]
    """The populations of each pair with their numbers of predicted cells."""
    control_mean: np.ndarray
    """[pairs, G] float32, mean of the controls that changes are counted from, over the populations of a pair."""
    num_controls: np.ndarray
    """[pairs] int64, how many control cells that mean is of."""

    @property
    def num_cells(self) -> np.ndarray:
        """[pairs] int64, predicted cells."""
        return np.array([sum(members.values()) for members in self.members], dtype=np.int64)


def pairs_of(plan: Plan) -> Pairs:
    """Return the pairs of a plan, with the mean of their controls."""
    groups = [plan.group(number) for number in range(len(plan.sizes))]
    row: dict[tuple[str, str], int] = {}
    of_set = np.array([row.setdefault((group.context, group.perturbation), len(row)) for group in groups])
    members: list[dict[Group, float]] = [{} for _ in row]
    first_set: dict[Group, int] = {}
    for number, (group, pair, size) in enumerate(zip(groups, of_set.tolist(), plan.sizes.tolist(), strict=True)):
        first_set.setdefault(group, number)
        members[pair][group] = members[pair].get(group, 0.0) + size
    means = [_control_mean(plan, first_set, populations) for populations in members]
    return Pairs(
        labels=tuple(row),
        of_set=of_set,
        members=tuple(members),
        control_mean=np.array(means, dtype=np.float32),
        num_controls=np.array([_num_controls(plan, first_set, populations) for populations in members]),
    )


def _control_mean(plan: Plan, first_set: dict[Group, int], members: dict[Group, float]) -> np.ndarray:
    weights = list(members.values())
    return np.average([plan.control_pool(first_set[group]).mean for group in members], axis=0, weights=weights)


def _num_controls(plan: Plan, first_set: dict[Group, int], members: dict[Group, float]) -> int:
    # Batches without controls share those of their cell type.
    pools = {(pool := plan.control_pool(first_set[group])).number: pool.num_cells for group in members}
    return sum(pools.values())


class Totals:
    """Sums of predicted cells, pair by pair, while they are written."""

    def __init__(self, pairs: Pairs, num_genes: int):
        self._pairs, self._sums = pairs, np.zeros((len(pairs.labels), num_genes))

    def add_cells(self, part: Part, cells: np.ndarray) -> None:
        """Add the cells of a part, [cells, G]."""
        pair = self._pairs.of_set[part.sets]
        firsts = np.flatnonzero(np.diff(pair, prepend=-1))
        bounds = np.append(part.first_rows[firsts], part.num_cells).tolist()
        # Neighbours of one pair at a time: to widen all cells to float64 first would take much longer than the sums.
        for number, begin, end in zip(pair[firsts].tolist(), bounds, bounds[1:], strict=False):
            self._sums[number] += cells[begin:end].sum(axis=0, dtype=np.float64)

    def add_sums(self, pair: np.ndarray, sums: np.ndarray) -> None:
        """Add sums of conditions, [conditions, G], each of the pair with its number."""
        np.add.at(self._sums, pair, sums)

    def mean(self, rows: slice) -> np.ndarray:
        """Return the means of some pairs, [n, G] float64."""
        return self._sums[rows] / self._pairs.num_cells[rows][:, None]
