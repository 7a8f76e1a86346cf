# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Which cell types are alike."""

import numpy as np
import pytest

from bionemo.scale.estimate.covariance import COMPONENTS, Similarity, components
from bionemo.scale.estimate.labels import Labels
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


def test_covariates_are_places_of_their_own():
    groups = tuple(Group("d", "a", "p", "x", own) for own in (("6h", "u"), ("6h", "v"), ("24h", "v")))
    similarity = Similarity(cell_types=("a",), distances=np.zeros((1, 1)), scale=1.0)
    found = components(Labels.of(groups, control="control"), similarity)
    np.testing.assert_array_equal(found["covariates", "label"], [[1, 0.5, 0], [0.5, 1, 0.5], [0, 0.5, 1]])
    np.testing.assert_array_equal(found["all_covariates", "label"], np.eye(3))
    assert set(found) == set(COMPONENTS)


def test_without_covariates_there_are_no_such_components():
    similarity = Similarity(cell_types=("a",), distances=np.zeros((1, 1)), scale=1.0)
    found = components(Labels.of(GROUPS, control="control"), similarity)
    assert not {place for place, _ in found} & {"covariates", "all_covariates", "context"}
