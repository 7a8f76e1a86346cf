# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Predictions that share groups are put together, and each keeps its groups."""

import numpy as np
import pytest

from bionemo.scale.estimate import bunches as module
from bionemo.scale.estimate.bunches import bunches


@pytest.fixture
def chosen():
    """Five predictions from 40 groups each: the last one shares none with the others, which differ in four."""
    found = np.zeros((5, 200), dtype=bool)
    for number in range(4):
        found[number, :36] = True
        found[number, 100 + 4 * number : 104 + 4 * number] = True
    found[4, 40:80] = True
    return found


def test_each_prediction_keeps_its_groups(chosen):
    found = list(bunches(chosen))
    assert sorted(member for bunch in found for member in bunch.members) == [0, 1, 2, 3, 4]
    for bunch in found:
        for number, own in zip(bunch.members, bunch.own, strict=True):
            assert sorted([*bunch.core, *own]) == np.flatnonzero(chosen[number]).tolist()


@pytest.mark.parametrize(
    "most, expected", [(40, [[0, 1, 2, 3], [4]]), (8, [[0, 1], [2, 3], [4]]), (0, [[0], [1], [2], [3], [4]])]
)
def test_own_groups_are_few(chosen, monkeypatch, most, expected):
    monkeypatch.setattr(module, "MAX_OWN_GROUPS", most)
    assert [bunch.members for bunch in bunches(chosen)] == expected


def test_predictions_from_the_same_groups_are_one_bunch():
    assert [bunch.members for bunch in bunches(np.ones((3, 7), dtype=bool))] == [[0, 1, 2]]
