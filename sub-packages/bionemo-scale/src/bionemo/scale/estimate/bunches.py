# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Predictions that are conditioned on nearly the same groups, so that one factorisation serves all of them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


MAX_OWN_GROUPS = 512
"""Groups that only some predictions of a bunch are conditioned on, all predictions together."""


@dataclass(frozen=True, kw_only=True)
class Bunch:
    """Some predictions, with the groups that all of them are conditioned on."""

    members: list[int]
    """Numbers of the predictions."""
    core: np.ndarray
    """[n] int64, groups of every member."""
    own: list[np.ndarray]
    """[own groups] int64 of each member, beyond the core."""


def bunches(chosen: np.ndarray) -> Iterator[Bunch]:
    """Put predictions together that share most of their groups.

    Args:
        chosen: [predictions, groups] bool, which groups each is conditioned on.

    Yields:
        Bunches; each prediction is in one.
    """
    left = list(range(len(chosen)))
    while left:
        members, core = [left[0]], chosen[left[0]]
        others = []
        for number in left[1:]:
            smaller = core & chosen[number]
            together = [*members, number]
            if chosen[together].sum() - len(together) * smaller.sum() <= MAX_OWN_GROUPS:
                members, core = together, smaller
            else:
                others.append(number)
        own = [np.flatnonzero(chosen[number] & ~core) for number in members]
        yield Bunch(members=members, core=np.flatnonzero(core), own=own)
        left = others
