# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Which training groups a blind network is kept from."""

from itertools import combinations

import numpy as np
import pytest

from bionemo.scale.data.store.blind import (
    Fold,
    held_out_groups,
    identity_of,
    unseen,
    with_held_out,
    without_seen,
)
from bionemo.scale.data.store.reader import Store
from bionemo.scale.files.labels.grammar import Grammar
from bionemo.scale.types import Split


def labels(groups, indices):
    return [groups.label(int(index)) for index in indices]


def test_every_third_context_is_held_out_as_a_whole(make_groups):
    rows = [("d", f"t{t}", p, b, Split.TRAIN, 5) for t in range(7) for p in (None, "p", "q") for b in ("x", "y")]
    groups = make_groups(*rows, ("d", "t7", "p", "x", Split.TEST, 5))
    held_out = labels(groups, held_out_groups(groups))
    assert {group.cell_type for group in held_out} == {"t1", "t4"}
    assert len(held_out) == 2 * 2 * 2
    assert "control" not in {group.perturbation for group in held_out}


def test_with_two_contexts_pairs_are_held_out_that_the_other_context_shows(make_groups):
    rows = [("d", t, f"p{p}", "x", Split.TRAIN, 5) for t in ("a", "b") for p in range(6)]
    groups = make_groups(*rows, ("d", "a", "only", "x", Split.TRAIN, 5), ("d", "a", None, "x", Split.TRAIN, 5))
    held_out = labels(groups, held_out_groups(groups))
    assert {(group.cell_type, group.perturbation) for group in held_out} == {("a", "p0"), ("b", "p3")}


def by_batch(test_type: str, num_batches: int) -> list[tuple]:
    """Return training groups of two cell types and some batches, and a test group of one more batch."""
    rows = [("d", t, p, f"b{b}", Split.TRAIN, 5) for t in ("s", "t") for p in (None, "p") for b in range(num_batches)]
    return [*rows, ("d", test_type, "p", "new", Split.TEST, 5)]


def test_batches_are_held_out_where_the_test_split_has_new_batches(make_groups):
    groups = make_groups(*by_batch("t", 5))
    held_out = labels(groups, held_out_groups(groups))
    assert {group.batch for group in held_out} == {"b1", "b4"}
    assert {(group.cell_type, group.perturbation) for group in held_out} == {("s", "p"), ("t", "p")}


@pytest.mark.parametrize(("test_type", "num_batches"), [("new", 5), ("t", 2)])
def test_other_splits_and_too_few_batches_leave_batches_whole(make_groups, test_type, num_batches):
    groups = make_groups(*by_batch(test_type, num_batches))
    held_out = labels(groups, held_out_groups(groups))
    assert {(group.cell_type, group.perturbation) for group in held_out} == {("s", "p")}
    assert {group.batch for group in held_out} == {f"b{number}" for number in range(num_batches)}


NEW = ("d", "s", "NEW", "x", Split.TEST, 5)


@pytest.mark.parametrize("contexts", ["s", "st", "stuv"])
def test_whole_genes_are_held_out_where_the_test_split_has_new_ones(make_groups, contexts):
    rows = [("d", t, f"g{g}", "x", Split.TRAIN, 5) for t in contexts for g in range(6)]
    groups = make_groups(*rows, NEW, ("d", "s", None, "x", Split.TRAIN, 5))
    held_out = labels(groups, held_out_groups(groups))
    assert {(group.cell_type, group.perturbation) for group in held_out} == {
        (t, gene) for t in contexts for gene in ("g1", "g4")
    }


def test_pairs_go_with_their_genes(make_groups):
    rows = [("d", "s", label, "x", Split.TRAIN, 5) for label in ("a", "b", "c", "a+c", "b+c", "d+e")]
    groups = make_groups(*rows, NEW)
    parts = [labels(groups, held_out_groups(groups, Fold(n, 3, Grammar(combination="+")))) for n in range(3)]
    found = [{group.perturbation for group in part} for part in parts]
    assert found == [{"a", "a+c", "d+e"}, {"b", "b+c", "d+e"}, {"c", "a+c", "b+c"}]


@pytest.mark.parametrize("asked", ["a+b", "c@2"])
def test_new_pairs_and_doses_of_trained_genes_leave_no_gene_out(make_groups, asked):
    rows = [("d", "s", label, "x", Split.TRAIN, 5) for label in ("a", "b", "c@1")]
    groups = make_groups(*rows, ("d", "s", asked, "x", Split.TEST, 5))
    assert held_out_groups(groups, Fold(grammar=Grammar(combination="+", dose="@"))).size == 0


@pytest.mark.parametrize("trained", [("a", "b"), ("a+b", "b+c")])
def test_too_few_genes_leave_none_to_hold_out(make_groups, trained):
    groups = make_groups(*[("d", "s", label, "x", Split.TRAIN, 5) for label in trained], NEW)
    assert held_out_groups(groups, Fold(grammar=Grammar(combination="+"))).size == 0


@pytest.mark.parametrize("num_parts", [2, 3, 5])
@pytest.mark.parametrize("size", [2, 3])
def test_no_part_of_a_screen_of_all_combinations_has_most_of_the_groups(make_groups, size, num_parts):
    """A third of ten genes is in 24 of 45 pairs, and in 85 of 120 threes."""
    trained = ["+".join(each) for each in combinations("abcdefghij", size)]
    groups = make_groups(*[("d", "s", label, "x", Split.TRAIN, 5) for label in trained], NEW)
    folds = [Fold(number, num_parts, Grammar(combination="+")) for number in range(num_parts)]
    parts = [labels(groups, held_out_groups(groups, fold)) for fold in folds]
    most = len(trained) * (2 / 3 if num_parts == 2 else 1 / 2)
    assert all(0 < len(part) <= most for part in parts)
    assert max(map(len, parts)) - min(map(len, parts)) <= len(trained) / 5, "about as many in each"
    for part in parts:
        held_out = [group.perturbation for group in part]
        left = set("+".join(label for label in trained if label not in held_out).split("+"))
        assert set("abcdefghij") - left, "some genes are in no group that is left"


def test_what_most_groups_have_is_never_left_out(make_groups):
    """A screen of one drug with a second one each time: without the first drug next to nothing would be trained."""
    trained = ["M", "a", *(f"M+d{number}" for number in range(8))]
    rows = [("d", "s", label, "x", Split.TRAIN, 5) for label in trained]
    groups = make_groups(*rows, ("d", "s", "M+new", "x", Split.TEST, 5))
    parts = [labels(groups, held_out_groups(groups, Fold(n, 3, Grammar(combination="+")))) for n in range(3)]
    assert [{group.perturbation for group in part} for part in parts] == [
        {"a", "M+d2", "M+d5"},
        {"M+d0", "M+d3", "M+d6"},
        {"M+d1", "M+d4", "M+d7"},
    ]


def test_too_few_that_may_be_left_out_leave_contexts_out(make_groups):
    rows = [("d", t, label, "x", Split.TRAIN, 5) for t in "abc" for label in ("M", "M+p", "M+q")]
    groups = make_groups(*rows, ("d", "a", "M+new", "x", Split.TEST, 5))
    held_out = labels(groups, held_out_groups(groups, Fold(grammar=Grammar(combination="+"))))
    assert {group.cell_type for group in held_out} == {"b"} and len(held_out) == 3


def test_groups_are_told_apart_by_their_name(make_groups):
    groups = make_groups(*[("d", f"t{t}", "p", "x", Split.TRAIN, 5) for t in range(6)])
    names = [identity_of(held_out_groups(groups, Fold(number, 3))) for number in range(3)]
    assert len(set(names)) == 3 and names[1] == identity_of(held_out_groups(groups)) == "0fb84472ffe2"


def test_a_trained_condition_beside_a_new_gene_leaves_contexts_out(make_groups):
    rows = [("d", f"t{t}", f"g{g}", "x", Split.TRAIN, 5) for t in range(3) for g in range(3)]
    groups = make_groups(*rows, NEW, ("d", "t4", "g0", "x", Split.TEST, 5))
    assert {group.cell_type for group in labels(groups, held_out_groups(groups))} == {"t1"}


@pytest.mark.parametrize("num_contexts", [2, 5])
def test_the_parts_of_a_fold_are_disjoint_and_make_up_what_can_be_held_out(make_groups, num_contexts):
    rows = [("d", f"t{t}", f"p{p}", "x", Split.TRAIN, 5) for t in range(num_contexts) for p in range(6)]
    groups = make_groups(*rows)
    parts = [held_out_groups(groups, Fold(number, 3)).tolist() for number in range(3)]
    assert all(parts) and len(set().union(*parts)) == sum(map(len, parts))
    # All contexts, or each perturbation once.
    assert sum(map(len, parts)) == (len(groups) if num_contexts == 5 else 6)


def test_more_parts_than_contexts_leave_some_empty(make_groups):
    groups = make_groups(*[("d", f"t{t}", "p", "x", Split.TRAIN, 5) for t in range(3)])
    assert [len(held_out_groups(groups, Fold(number, 5))) for number in range(5)] == [1, 1, 1, 0, 0]


def test_one_context_leaves_nothing_to_hold_out(make_groups):
    groups = make_groups(("d", "a", "p", "x", Split.TRAIN, 5), ("d", "a", None, "x", Split.TRAIN, 5))
    assert held_out_groups(groups).size == 0


def test_held_out_groups_validate_and_test_groups_stay(make_groups):
    rows = [("d", f"t{t}", "p", "x", Split.TRAIN, 5) for t in range(3)]
    groups = make_groups(*rows, ("d", "t3", "p", "x", Split.TEST, 5), ("d", "t0", None, "x", Split.TRAIN, 5))
    found = with_held_out(groups, held_out_groups(groups))
    assert {group.cell_type for group in labels(found, found.perturbed_in(Split.VAL))} == {"t1"}
    assert {group.cell_type for group in labels(found, found.perturbed_in(Split.TEST))} == {"t3"}
    assert {group.cell_type for group in labels(found, found.perturbed_in(Split.TRAIN))} == {"t0", "t2"}
    assert found.is_control.sum() == 1 and found.split[found.is_control].tolist() == ["train"]


def test_groups_that_were_seen_elsewhere_leave_the_validation_split(make_groups):
    groups = make_groups(
        ("d", "t", "p", "x", Split.TRAIN, 5),
        ("d", "t", "q", "x", Split.VAL, 5),
        ("d", "t", "q", "y", Split.VAL, 5),
        ("d", "t", "r", "x", Split.TEST, 5),
    )
    seen = {groups.label(0), groups.label(1), groups.label(3)}
    assert unseen(groups, np.arange(4), seen).tolist() == [2]
    found = without_seen(groups, seen)
    assert found.perturbed_in(Split.VAL).tolist() == [2] and found.perturbed_in(Split.TRAIN).tolist() == [0]
    assert without_seen(groups, set()).split.tolist() == groups.split.tolist()


def test_a_store_opens_blind(kang_store):
    with Store.open(kang_store.path, blind=Fold()) as blind:
        before = set(kang_store.groups.perturbed_in(Split.TRAIN).tolist())
        after = set(blind.groups.perturbed_in(Split.TRAIN).tolist())
        assert after < before
        assert set(blind.groups.perturbed_in(Split.VAL).tolist()) == before - after


def test_the_spread_of_cells_is_that_within_groups(kang_store):
    found = kang_store.group_means(Split.TRAIN)
    squares, freedom = 0.0, 0
    for index, group in enumerate(kang_store.groups.label(i) for i in range(len(kang_store.groups))):
        if group in found.groups:
            cells = kang_store.read(kang_store.groups.rows(index)).toarray().astype(float)
            squares, freedom = squares + ((cells - cells.mean(axis=0)) ** 2).sum(axis=0), freedom + len(cells) - 1
    assert found.cell_sd**2 == pytest.approx(squares / freedom, rel=1e-4, abs=1e-6)
