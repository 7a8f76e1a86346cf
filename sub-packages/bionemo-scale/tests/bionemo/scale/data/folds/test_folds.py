# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import pytest

from bionemo.scale.data.folds.folds import LABELS, fold_split, make_folds, named_folds, read_folds
from bionemo.scale.data.labels.split import Condition, parse_split, resolve_split
from bionemo.scale.types import InputError, Split


@pytest.fixture
def groups(make_groups):
    """Two cell types, three donors, two perturbations; donor d2 has no p1, and A has no controls of d2."""
    return make_groups(
        *(
            ("d", cell_type, perturbation, batch, Split.TRAIN, 5)
            for cell_type in ("A", "B")
            for perturbation in ("p0", "p1", None)
            for batch in ("d0", "d1", "d2")
            if (perturbation, batch) != ("p1", "d2") and (cell_type, perturbation, batch) != ("A", None, "d2")
        )
    )


def left_out(groups, rule, fold):
    split = fold_split(groups, rule, fold)
    return {key for key, part in split.assignments.items() if part == Split.TEST}


def test_each_cell_type_in_turn_is_the_split_that_a_file_says(groups):
    first, second = make_folds(groups, "cell-type")
    assert (first.name, second.name) == ("A", "B")
    found = fold_split(groups, "cell-type", second)
    text = '[training]\nd = "train"\n[zeroshot]\n"d.B" = "test"\n'
    assert found.sha256 == resolve_split(parse_split(text), found.num_cells, control="control").sha256
    assert found.num_cells[Condition("d", "B", "p0")] == 15


def test_each_donor_in_turn_keeps_its_controls(groups):
    folds = make_folds(groups, "batch")
    assert [fold.name for fold in folds] == ["d0", "d1", "d2"]
    assert left_out(groups, "batch", folds[2]) == {("d", "A", "p0", "d2"), ("d", "B", "p0", "d2")}
    split = fold_split(groups, "batch", folds[2])
    assert split.is_by_batch and split.summary()["by_batch"]
    assert split.assignments["d", "B", "control", "d2"] == Split.TRAIN


@pytest.mark.parametrize("rule", LABELS)
def test_every_perturbed_cell_is_left_out_once(rule, groups):
    found = [left_out(groups, rule, fold) for fold in make_folds(groups, rule)]
    everything = fold_split(groups, rule, make_folds(groups, rule)[0]).assignments
    assert sorted(key for fold in found for key in fold) == sorted(
        k for k in everything if k.perturbation != "control"
    )


def test_conditions_of_each_cell_type_are_spread_over_the_folds(make_groups):
    rows = [("d", cell_type, f"p{n}", "b", Split.TRAIN, 5) for cell_type in ("A", "B") for n in range(6)]
    groups = make_groups(*rows, *(("d", cell_type, None, "b", Split.TRAIN, 5) for cell_type in ("A", "B")))
    folds = make_folds(groups, "condition", num_folds=3, seed=1)
    assert [[unit[1] for unit in fold.units] for fold in folds] == [["A", "A", "B", "B"]] * 3
    assert folds == make_folds(groups, "condition", num_folds=3, seed=1)
    assert folds != make_folds(groups, "condition", num_folds=3, seed=2)


def test_batches_of_two_data_sets_are_not_the_same(make_groups):
    rows = [
        (dataset, "A", perturbation, "b0", Split.TRAIN, 5)
        for dataset in ("one", "two")
        for perturbation in ("p", None)
    ]
    groups = make_groups(*rows)
    assert [fold.name for fold in make_folds(groups, "batch")] == ["one / b0", "two / b0"]
    # One cell type of two data sets is one: there is nothing to train on without it.
    with pytest.raises(InputError, match=r"--leave-out cell-type: expected at least two values .*, found 'A'"):
        make_folds(groups, "cell-type")


def test_only_some_are_left_out(groups):
    assert [fold.name for fold in make_folds(groups, "batch", only=("d1",))] == ["d1"]
    with pytest.raises(InputError, match=r"--only: no batch 'd9'; .*'d0'"):
        make_folds(groups, "batch", only=("d9",))
    with pytest.raises(InputError, match="--folds must be at most 2, the values to leave out, found 3"):
        make_folds(groups, "perturbation", num_folds=3)


def test_a_fold_that_leaves_nothing_is_refused(groups):
    (everything,) = make_folds(groups, "perturbation", num_folds=1)
    with pytest.raises(InputError, match="fold 'fold-1': expected perturbed cells to train on, found none"):
        fold_split(groups, "perturbation", everything)


def test_folds_of_a_file(groups, tmp_path):
    path = tmp_path / "folds.toml"
    path.write_text('one = ["A / p1", "B / p0"]\n"the other" = ["A / p0"]\n')
    one, other = read_folds(path, groups, "condition")
    assert (one.name, other.name) == ("one", "the other")
    assert left_out(groups, "condition", one) == {Condition("d", "A", "p1"), Condition("d", "B", "p0")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('one = ["A / p9"]', r"folds.toml: 'one': no condition 'A / p9'; .*'A / p0'"),
        ('one = "A / p0"', "folds.toml: 'one': expected a list of what the fold leaves out, found 'A / p0'"),
        ('one = ["A / p0"]\ntwo = ["A / p0"]', "folds.toml: 'd / A / p0' is in both 'one' and 'two'; keep one"),
        ("", "folds.toml: expected folds such as"),
    ],
)
def test_a_file_of_folds_that_cannot_be_used(text, message, groups, tmp_path):
    (tmp_path / "folds.toml").write_text(text)
    with pytest.raises(InputError, match=message):
        read_folds(tmp_path / "folds.toml", groups, "condition")
    with pytest.raises(InputError, match="none.toml: expected a file of folds, found none"):
        read_folds(tmp_path / "none.toml", groups, "condition")


@pytest.mark.parametrize("text", ["", '"a" = []', '"a" = [1]', '"a" = "B"', '"a" = [', '"a" = [["B"]]'])
def test_a_file_of_folds_that_names_nothing_is_refused_without_data(text, tmp_path):
    (tmp_path / "folds.toml").write_text(text)
    with pytest.raises(InputError, match=r"folds\.toml: "):
        named_folds(tmp_path / "folds.toml")
