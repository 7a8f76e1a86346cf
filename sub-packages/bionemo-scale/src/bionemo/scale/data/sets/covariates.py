# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The covariates that the network is told of a set."""

import numpy as np

from bionemo.scale.data.sets.controls import ControlMatcher
from bionemo.scale.data.store.groups import GroupTable
from bionemo.scale.types import Split


class SetCovariates:
    """The covariates of sets: those of their cells or, of controls, those of perturbed cells matched with them.

    Nothing was done to controls, so that a set of them says "no change" under any covariates. Where all controls are
    of one time and the perturbed cells of others, this keeps the network from taking the effect of every perturbation
    for that of the time, and trains the control label under the times that predictions are made for.

    Args:
        groups: Groups of the store.
        matcher: Its matched controls.
    """

    def __init__(self, groups: GroupTable, matcher: ControlMatcher) -> None:
        self._own, self._of_controls = groups.covariate, _of_controls(groups, matcher)

    def of_set(self, group: int, seed: int) -> np.ndarray:
        """Return [K] int64, the row of each covariate's value.

        Args:
            group: Row of the group table, of the set's cells.
            seed: Of the set; it chooses where a set of controls may have several.
        """
        choices = self._of_controls.get(group)
        return (self._own[group] if choices is None else choices[seed % len(choices)]).astype(np.int64)


def _of_controls(groups: GroupTable, matcher: ControlMatcher) -> dict[int, np.ndarray]:
    """Return [n, K] distinct covariates for each group of controls, by its row.

    They are those of the perturbed training groups that it is matched with. Where there are none, as in a cell type
    that is held out, its own if any perturbed training group has them, and else those of all of them.
    """
    training = groups.perturbed_in(Split.TRAIN)
    everything = np.unique(groups.covariate[training], axis=0)
    pools = np.array([matcher.pool(group) for group in training.tolist()])
    found: dict[int, list[np.ndarray]] = {}
    for pool in np.unique(pools).tolist():
        members = training[pools == pool]
        for control in matcher.control_groups(members[0]):
            found.setdefault(control, []).append(groups.covariate[members])
    choices = {control: np.unique(np.concatenate(rows), axis=0) for control, rows in found.items()}
    for control in np.flatnonzero(groups.is_control).tolist():
        own = groups.covariate[control]
        if control not in choices and len(everything) and not (everything == own).all(axis=1).any():
            choices[control] = everything
    return choices
