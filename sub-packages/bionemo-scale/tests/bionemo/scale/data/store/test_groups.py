# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses
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


@pytest.fixture
def timed(make_groups):
    groups = make_groups(("d", "A", "p", "b0", Split.VAL, 5), ("d", "A", None, "b1", Split.TRAIN, 4))
    covariate = np.array([[1, 0], [0, 2]], dtype=np.int32)
    return dataclasses.replace(groups, covariate=covariate, covariates=(("24h", "6h"), ("x", "y", "z")))


def test_covariates_are_labels_of_a_group_and_survive_json(timed):
    assert timed.label(0) == Group("d", "A", "p", "b0", ("6h", "x"))
    assert timed.label(1).context == "A:24h:z"
    assert timed.labels_of(np.array([1, 0]), "cell_type").tolist() == [[0, 0, 2], [0, 1, 0]]
    names = ("datasets", "cell_types", "perturbations", "batches", "control", "covariates")
    columns = json.loads(json.dumps(timed.to_columns()))
    again = GroupTable.from_columns(columns, **{name: getattr(timed, name) for name in names})
    np.testing.assert_array_equal(again.covariate, timed.covariate)
    assert again.label(1) == timed.label(1)


@pytest.mark.parametrize(("codes", "message"), [([[1, 0]], "2 entries"), ([[1, 0], [0, 3]], "rows of 3 labels")])
def test_covariates_that_do_not_fit_are_refused(timed, codes, message):
    names = ("datasets", "cell_types", "perturbations", "batches", "control", "covariates")
    vocabularies = {name: getattr(timed, name) for name in names}
    with pytest.raises(ValueError, match=message):
        GroupTable.from_columns({**timed.to_columns(), "covariate": codes}, **vocabularies)


def test_groups_without_covariates_have_no_word_of_them(make_groups):
    groups = make_groups(("d", "A", "p", "b0", Split.VAL, 5), ("d", "A", None, "b1", Split.TRAIN, 4))
    assert "covariate" not in groups.to_columns()
    assert groups.label(0) == Group("d", "A", "p", "b0") and groups.label(0).context == "A"
