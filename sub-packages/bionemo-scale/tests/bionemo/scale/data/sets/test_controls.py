# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bionemo.scale.data.sets.controls import ControlMatcher
from bionemo.scale.data.store.groups import GroupTable
from bionemo.scale.types import InputError, Split


@pytest.fixture
def groups(make_groups):
    return make_groups(
        ("d", "A", "p", "b0", Split.TRAIN, 5),
        ("d", "A", "p", "b1", Split.TEST, 6),
        ("d", "A", "p", "b2", Split.VAL, 7),
        ("d", "A", None, "b0", Split.TRAIN, 4),
        ("e", "A", None, "b2", Split.TRAIN, 9),
        ("d", "A", None, "b1", Split.TRAIN, 3),
    )


def test_controls_come_from_the_batch_or_else_the_cell_type(groups):
    matcher = ControlMatcher(groups)
    rng = np.random.default_rng(0)
    first = {index: set(groups.rows(index)) for index in range(len(groups))}
    for group, pool, level in ((0, first[3], "batch"), (1, first[5], "batch"), (2, first[3] | first[5], "cell_type")):
        rows = set()
        for _ in range(50):
            matched = matcher.match(group, 3, rng)
            assert matched.level == level
            rows |= set(matched.rows.tolist())
        assert rows == pool
    assert matcher.is_fallback.tolist() == [False, False, True, False, False, False]


@given(num_cells=st.integers(0, 30), group=st.integers(0, 3), seed=st.integers(0, 99))
def test_cells_are_used_evenly(groups_once, num_cells, group, seed):
    """Without replacement while the pool lasts, then every cell as often as the others, give or take one."""
    matcher = ControlMatcher(groups_once)
    rows = matcher.match(group, num_cells, np.random.default_rng(seed)).rows
    assert len(rows) == num_cells
    pool = {0: 4, 1: 3, 2: 7, 3: 4}[group]
    _, counts = np.unique(rows, return_counts=True)
    assert counts.sum() == num_cells
    if num_cells:
        assert counts.max() <= -(-num_cells // pool)
        assert counts.min() >= max(1, num_cells // pool)


@pytest.fixture(scope="module")
def groups_once():
    sizes = [5, 6, 7, 4, 9, 3]
    return GroupTable.from_columns(
        {
            "dataset": [0, 0, 0, 0, 1, 0],
            "cell_type": [0] * 6,
            "perturbation": [0, 0, 0, -1, -1, -1],
            "batch": [0, 1, 2, 0, 2, 1],
            "split": ["train"] * 6,
            "first_row": (np.cumsum(sizes) - sizes).tolist(),
            "num_cells": sizes,
            "shard": [0] * 6,
        },
        datasets=("d", "e"),
        cell_types=("A",),
        perturbations=("p",),
        batches=("b0", "b1", "b2"),
        control="control",
    )


def test_same_rng_same_controls(groups):
    matcher = ControlMatcher(groups)
    draws = [matcher.match(2, 5, np.random.default_rng(seed)).rows.tolist() for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


def test_no_control_is_refused(make_groups):
    groups = make_groups(
        ("d", "A", "p", "b0", Split.TRAIN, 5),
        ("d", "A", None, "b0", Split.TRAIN, 4),
        ("d", "B", "p", "b0", Split.TRAIN, 4),
        ("e", "B", None, "b0", Split.TRAIN, 4),
    )
    with pytest.raises(InputError, match="dataset 'd', cell type 'B': expected control cells"):
        ControlMatcher(groups)
