# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Which cell types are alike."""

import numpy as np
import pytest

from bionemo.scale.estimate.covariance import Similarity
from bionemo.scale.types import Group


GROUPS = tuple(Group("d", name, "control", "x") for name in "abc")


def matrix_of(distances: list[list[float]]) -> np.ndarray:
    return Similarity(cell_types=("a", "b", "c"), distances=np.array(distances), scale=1.0).matrix(GROUPS)


def test_exact_distances_are_taken_as_they_are():
    distances = [[0.0, 1.0, 4.0], [1.0, 0.0, 1.0], [4.0, 1.0, 0.0]]
    np.testing.assert_array_equal(matrix_of(distances), np.exp(-np.array(distances)))


def test_distances_that_contradict_one_another_still_make_a_covariance():
    """a is like b, b is like c, and c is unlike a."""
    distances = [[0.0, 0.0, 3.0], [0.0, 0.0, 0.0], [3.0, 0.0, 0.0]]
    assert np.linalg.eigvalsh(np.exp(-np.array(distances)))[0] < -0.1
    found = matrix_of(distances)
    assert np.linalg.eigvalsh(found)[0] > -1e-9
    np.testing.assert_allclose(np.diag(found), 1)
    assert found[0, 1] > found[0, 2]


@pytest.mark.parametrize("name", ["new", "c"])
def test_a_cell_type_is_like_itself(name):
    similarity = Similarity(cell_types=("a", "b"), distances=np.array([[0.0, 2.0], [2.0, 0.0]]), scale=1.0)
    found = similarity.matrix((Group("d", name, "p", "x"), Group("d", name, "q", "x"), GROUPS[0]))
    np.testing.assert_array_equal(found[:2, :2], 1)
    np.testing.assert_array_equal(found[2, :2], 0)
