# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pytest

from bionemo.scale.data.store.groups import GroupTable
from bionemo.scale.types import Group, Split


def test_labels_rows_and_splits(make_groups):
    groups = make_groups(
        ("d", "A", "p", "b0", Split.TRAIN, 5),
        ("d", "A", "q", "b0", Split.TEST, 2),
        ("d", "A", None, "b0", Split.TRAIN, 4),
    )
    assert len(groups) == 3
    assert groups.label(1) == Group("d", "A", "q", "b0")
    assert groups.label(2) == Group("d", "A", "control", "b0")
    assert groups.rows(1).tolist() == [5, 6]
    assert groups.perturbed_in(Split.TRAIN).tolist() == [0]
    assert (groups.split == Split.TEST).tolist() == [False, True, False]


def test_columns_survive_json(make_groups):
    groups = make_groups(("d", "A", "p", "b0", Split.VAL, 5), ("d", "A", None, "b1", Split.TRAIN, 4))
    columns = json.loads(json.dumps(groups.to_columns()))
    names = ("datasets", "cell_types", "perturbations", "batches", "control")
    again = GroupTable.from_columns(columns, **{name: getattr(groups, name) for name in names})
    for name in columns:
        np.testing.assert_array_equal(getattr(again, name), getattr(groups, name))
        assert getattr(again, name).dtype == getattr(groups, name).dtype


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("cell_type", [0, 7], "rows of 1 labels"),
        ("perturbation", [-2, -1], "rows of 1 labels"),
        ("batch", [0], "must have 2 entries"),
        ("split", ["train", "tset"], "train, val or test"),
        ("first_row", [0, 4], "rows that overlap or are left out"),
        ("num_cells", [-5, 4], "rows that overlap or are left out"),
        ("shard", [1, 0], "in the order of their files"),
    ],
)
def test_columns_that_do_not_fit_are_refused(make_groups, column, values, message):
    groups = make_groups(("d", "A", "p", "b0", Split.VAL, 5), ("d", "A", None, "b1", Split.TRAIN, 4))
    names = ("datasets", "cell_types", "perturbations", "batches", "control")
    with pytest.raises(ValueError, match=message):
        GroupTable.from_columns(
            {**groups.to_columns(), column: values}, **{name: getattr(groups, name) for name in names}
        )
