# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bionemo.scale.data.labels.split import (
    Condition,
    check_leakage,
    check_trains,
    parse_split,
    read_split,
    resolve_split,
)
from bionemo.scale.types import Group, InputError, Split


CELLS = {
    Condition(dataset, cell_type, perturbation): 10
    for dataset in ("one", "two")
    for cell_type in ("A", "B.x", "C")
    for perturbation in ("control", "p0", "p1", "p2")
    if not (cell_type == "C" and perturbation == "p2")
}
TOML = """
[datasets]
one = "somewhere/*.h5ad"

[training]
one = "train"

[zeroshot]
"one.A" = "test"
"two.C" = "val"

[fewshot."one.B.x"]
val = ["p0"]
test = ["p1"]
"""


def resolve(text, cells=None):
    split = resolve_split(parse_split(text, source="s.toml"), cells or CELLS, control="control")
    check_trains(split, "s.toml")
    return split


def test_every_rule_of_the_format():
    split = resolve(TOML).assignments
    by_name = {".".join(condition): part for condition, part in split.items()}
    assert by_name["one.A.p0"] == by_name["one.A.p1"] == by_name["one.A.p2"] == Split.TEST
    assert (by_name["one.B.x.p0"], by_name["one.B.x.p1"], by_name["one.B.x.p2"]) == ("val", "test", "train")
    assert by_name["one.C.p0"] == Split.TRAIN
    assert by_name["two.C.p0"] == by_name["two.C.p1"] == Split.VAL
    assert by_name["two.A.p0"] is None
    # Controls of held-out cell types are training cells; those of cell types that take no part are not used.
    assert by_name["one.A.control"] == by_name["two.C.control"] == Split.TRAIN
    assert by_name["two.A.control"] is None


def test_controls_of_a_held_out_cell_type_may_be_held_out_too():
    text = TOML.replace("[fewshot", '[controls]\n"two.C" = "val"\n\n[fewshot')
    split, before = resolve(text), resolve(TOML)
    changed = {c: part for c, part in split.assignments.items() if part != before.assignments[c]}
    assert changed == {Condition("two", "C", "control"): Split.VAL}
    assert split.sha256 != before.sha256
    dotted = parse_split('[zeroshot]\n"a.b.C" = "test"\n[controls]\n"a.b.C" = "test"')
    assert dict(dotted.with_names_of(["a.b"]).controls) == {("a.b", "C"): Split.TEST}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('"one.C" = "test"', '[controls] "one.C": expected no such line, found'),
        ('"one.B.x" = "test"', '[controls] "one.B.x": expected no such line'),
        ('"one.A" = "val"', """[controls] "one.A": expected "test", as in [zeroshot], found 'val'"""),
        ('"one.A" = "held"', '[controls] "one.A" must be train, val or test'),
        ('one = "test"', '[controls] expected "dataset.cell type"'),
    ],
)
def test_controls_are_held_out_with_their_whole_cell_type_only(line, message):
    with pytest.raises(InputError) as refused:
        parse_split(TOML.replace("[fewshot", f"[controls]\n{line}\n\n[fewshot"), source="s.toml")
    assert message in str(refused.value)


def test_without_a_file_everything_is_training_data():
    split = resolve_split(None, CELLS, control="control")
    assert set(split.assignments.values()) == {Split.TRAIN}


def test_counts_and_json():
    split = resolve(TOML)
    assert [split.count_conditions(part) for part in (*Split, None)] == [3, 3, 4, 6]
    assert [split.count_cells(part) for part in (*Split, None)] == [30, 30, 40, 60]
    fields = json.loads(split.to_json())
    assert fields["sha256"] == split.sha256
    assert fields["control_cells"] == 40
    counts = Counter()
    for _, _, perturbation, part, cells in fields["conditions"]:
        counts[part] += cells * (perturbation != "control")
    assert counts == {name: number["cells"] for name, number in fields["counts"].items()}


def test_hash_follows_assignments_alone():
    base = resolve(TOML)
    reordered = dict.fromkeys(reversed(CELLS), 99)
    assert resolve(TOML + "\n# a comment", reordered).sha256 == base.sha256
    assert resolve(TOML.replace('"p1"', '"p2"')).sha256 != base.sha256


def test_validation_never_becomes_test():
    assert resolve(TOML.replace('val = ["p0"]', "").replace('"two.C" = "val"', "")).count_cells(Split.VAL) == 0


def test_known_perturbations_without_cells_are_reported():
    split = resolve('[training]\none = "train"\n[fewshot."one.C"]\ntest = ["p2", "p0"]')
    assert split.absent == (Condition("one", "C", "p2"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[training\n", "expected TOML"),
        ('[trainning]\none = "train"', r"unknown section \[trainning\]; did you mean 'training'"),
        ('training = "one"', "expected a section"),
        ('[training]\none = "test"', "must be \"train\", found 'test'"),
        ('[zeroshot]\n"one.A" = "tset"', "must be train, val or test, found 'tset'"),
        ('[zeroshot]\none = "test"', "expected \"dataset.cell type\", found 'one'"),
        ('[fewshot."one.A"]\ntest = "p0"', "must be a list of perturbation names"),
        ('[fewshot]\n"one.A" = "test"', "expected val = "),
        ('[fewshot."one.A"]\nholdout = ["p0"]', "key 'holdout' must be train, val or test"),
        ('[fewshot."one.A"]\nval = ["p0"]\ntest = ["p0"]', "'p0' is in both val and test"),
        ('[zeroshot]\n"one.A" = "val"\n[fewshot."one.A"]\ntest = ["p0"]', r"both \[zeroshot\] and \[fewshot\]"),
        ('[training]\none_ = "train"', "unknown dataset 'one_'; did you mean 'one'"),
        ('[training]\none = "train"\n[zeroshot]\n"one.B x" = "test"', "no cell type 'B x'; did you mean 'B.x'"),
        ('[training]\none = "train"\n[zeroshot]\n"three.A" = "test"', "unknown dataset 'three'"),
        ('[training]\none = "train"\n[fewshot."one.A"]\ntest = ["p00"]', "'p00' is unknown; did you mean 'p0'"),
        ('[training]\none = "train"\n[fewshot."one.A"]\ntest = ["control"]', "'control' is the control"),
        ('[zeroshot]\n"one.A" = "test"', "none in the training split"),
    ],
)
def test_refusals_name_what_is_wrong(text, message):
    with pytest.raises(InputError, match=message) as error:
        resolve(text)
    assert str(error.value).startswith("s.toml") and "\n" not in str(error.value)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="no such split file"):
        read_split(tmp_path / "nothing.toml")


def test_leakage_is_found():
    train = (Group("one", "A", "p0", "b0"), Split.TRAIN)
    check_leakage([train, (Group("one", "B", "p0", "b0"), Split.TEST)], control="control")
    control = Group("one", "A", "control", "b0")
    check_leakage([(control, Split.TRAIN), (control, Split.TEST)], control="control")
    with pytest.raises(InputError, match="in both train and test"):
        check_leakage([train, (Group("one", "A", "p0", "b1"), Split.TEST)], control="control")


@given(st.dictionaries(st.sampled_from(["A", "B.x", "C"]), st.sampled_from(["train", "val", "test"])))
def test_conditions_are_partitioned(zeroshot):
    """Whatever is held out, every condition is in one split and held-out cell types have no training perturbation."""
    lines = "".join(f'"one.{cell_type}" = "{part}"\n' for cell_type, part in zeroshot.items())
    split = resolve(f'[training]\none = "train"\ntwo = "train"\n[zeroshot]\n{lines}')
    assert sum(split.count_cells(part) for part in (*Split, None)) == 10 * sum(
        condition.perturbation != "control" for condition in CELLS
    )
    for condition, part in split.assignments.items():
        if condition.dataset == "one" and condition.perturbation != "control":
            assert part == zeroshot.get(condition.cell_type, "train")


def test_names_of_data_sets_may_have_dots():
    """The first dot does not tell then where the name ends; the data do."""
    spec = parse_split(
        '[training]\n"kang.v1" = "train"\nkang = "train"\n'
        '[zeroshot]\n"kang.v1.NK" = "test"\n[fewshot."kang.v1.CD4"]\nval = ["p"]\n[fewshot."kang.B.1"]\ntest = ["p"]\n'
    )
    contexts = [("kang.v1", "NK"), ("kang.v1", "CD4"), ("kang.v1", "B"), ("kang", "B.1"), ("kang", "NK")]
    counts = {Condition(*context, label): 5 for context in contexts for label in ("control", "p", "q")}
    found = resolve_split(spec, counts, control="control").assignments
    held_out = {condition: split for condition, split in found.items() if split != Split.TRAIN}
    assert held_out == {
        Condition("kang.v1", "NK", "p"): Split.TEST,
        Condition("kang.v1", "NK", "q"): Split.TEST,
        Condition("kang.v1", "CD4", "p"): Split.VAL,
        Condition("kang", "B.1", "p"): Split.TEST,
    }
    wrong = parse_split('[training]\n"kang.v1" = "train"\n[fewshot."kang.v1.CD5"]\nval = ["p"]\n')
    with pytest.raises(InputError, match=r"dataset 'kang.v1' has no cell type 'CD5'; did you mean 'CD4'"):
        resolve_split(wrong, counts, control="control")
