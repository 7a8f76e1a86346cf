# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Vectors of agents: their kernel, and the trained perturbation that is nearest."""

import numpy as np
import pytest

from bionemo.scale.estimate.features import AgentFeatures


def split_plus(label):
    return tuple((name, -1.0) for name in label.split("+"))


@pytest.fixture
def features() -> AgentFeatures:
    """A, B and C on a line, two apart; X was never trained and is near B."""
    vectors = np.array([[0.0, 0], [2, 0], [4, 0], [2.5, 0]])
    return AgentFeatures.of(("A", "B", "C", "X"), vectors).fitted_to({"A", "B", "C"})


def test_the_scale_is_that_of_trained_agents(features):
    np.testing.assert_array_equal(features.centre, [2, 0])
    assert features.width == 2
    more = features.with_others(["A", "Y"], np.array([[9.0, 9], [100, 0]]))
    assert more.names == ("A", "B", "C", "X", "Y") and more.width == 2
    np.testing.assert_array_equal(more.vectors[[0, 4]], [[0, 0], [100, 0]])


def test_the_kernel_falls_with_distance(features):
    expected = [[1, np.exp(-1), 0], [np.exp(-1), 1, 0], [0, 0, 0]]
    np.testing.assert_allclose(features.kernel(["A", "B", "unknown"]), expected)
    np.testing.assert_allclose(features.kernel(["X"], ["B", "A"]), [[np.exp(-0.25), np.exp(-1.25)]])


def test_the_nearest_trained_perturbation_with_its_distance(features):
    trained = ["A", "B", "C", "A+B", "Z"]
    found = features.nearest(["X", "C", "C+X", "X+unknown"], trained, split_plus)
    assert found[0] == ("B", 0.25) and found[1] == ("C", 0.0)
    # (4 - 2) + (2.5 - 2) is 2.5, from C 0.5 away.
    assert found[2] == ("C", 0.25)
    assert found[3][0] == "" and np.isnan(found[3][1])
    assert features.nearest(["X"], ["Z"], split_plus)[0][0] == ""
