# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bionemo.scale.data.sets.populations import SMALLEST_SET, Populations, cut_sizes, set_sizes
from bionemo.scale.types import Split


@pytest.mark.parametrize(
    ("set_size", "expected"), [(128, (128, 64, 32, 16, 8)), (32, (32, 16, 8)), (20, (20, 10)), (9, (9,)), (1, (1,))]
)
def test_smaller_sets_are_halves_of_at_least_eight_cells(set_size, expected):
    assert set_sizes(set_size, "mixed") == expected
    assert set_sizes(set_size, "batch") == (set_size,)


@given(
    num_cells=st.lists(st.integers(0, 700), min_size=1, max_size=20),
    set_size=st.integers(1, 160),
    sets=st.sampled_from(["batch", "mixed"]),
)
def test_sets_hold_every_cell_and_few_more(num_cells, set_size, sets):
    cells, sizes = np.array(num_cells), set_sizes(set_size, sets)
    counts = cut_sizes(cells, sizes)
    rows = counts @ np.array(sizes)
    assert (rows >= cells).all() and (counts[cells == 0] == 0).all()
    np.testing.assert_array_equal(counts[:, 0] >= cells // set_size, True)
    if sets == "batch":
        np.testing.assert_array_equal(counts[:, 0], -(-cells // set_size))
    else:
        # An eighth of a set at most, or a set of the smallest size.
        assert (rows - cells <= np.maximum(np.array(sizes[0]) // 8, sizes[-1] - 1)).all()


def test_a_rest_is_cut_so_that_sets_are_full():
    sizes = set_sizes(128, "mixed")
    assert cut_sizes(np.array([144, 128, 3, 120, 200, 127]), sizes).tolist() == [
        [1, 0, 0, 1, 0],
        [1, 0, 0, 0, 0],
        [0, 0, 0, 0, 1],
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 1],
        [1, 0, 0, 0, 0],
    ]
    assert sizes[-1] == SMALLEST_SET


def test_populations_are_groups_or_all_batches_of_a_condition(make_groups):
    groups = make_groups(
        ("d", "A", "p", "b0", Split.TRAIN, 3),
        ("d", "A", "q", "b0", Split.TRAIN, 4),
        ("d", "A", "p", "b1", Split.TRAIN, 2),
        ("e", "A", "p", "b1", Split.TRAIN, 5),
        ("d", "A", "p", "b2", Split.TEST, 9),
        ("d", "A", None, "b0", Split.TRAIN, 6),
    )
    chosen = groups.perturbed_in(Split.TRAIN)
    each, mixed = (Populations(groups, chosen, sets) for sets in ("batch", "mixed"))
    assert each.size.tolist() == [3, 4, 2, 5] and each.num_groups.tolist() == [1] * 4
    assert mixed.size.tolist() == [5, 4, 5]
    assert [mixed.groups_of(number).tolist() for number in range(3)] == [[0, 2], [1], [3]]
    rows, group = mixed.place(0, np.array([4, 0, 2, 3]))
    assert rows.tolist() == [8, 0, 2, 7] and group.tolist() == [2, 0, 0, 2]
    rows, group = each.place(3, np.arange(5))
    assert rows.tolist() == groups.rows(3).tolist() and group.tolist() == [3] * 5
