# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bionemo.scale.files.labels.grammar import (
    NO_DOSE,
    Agent,
    Grammar,
    agent_names,
    describe_agents,
    likely_combinations,
    likely_controls,
    likely_no_calls,
    respelled,
)
from bionemo.scale.types import InputError


GEARS = Grammar(combination="+", dose="@", controls=("ctrl", "NT"))


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("B+A", "A+B"),
        ("A + B", "A+B"),
        ("C+A+B", "A+B+C"),
        ("A+ctrl", "A"),
        ("ctrl+A", "A"),
        ("B+NT+A", "A+B"),
        ("ctrl+ctrl", "ctrl"),
        ("NT", "ctrl"),
        ("(+)-JQ1", "(+)-JQ1"),
        ("(+)-JQ1+A", "(+)-JQ1+A"),
        ("CD4+", "CD4+"),
        ("+A", "+A"),
        ("B@0.50+A@1e1", "A@10+B@0.5"),
        ("A@500nM", "A@0.5uM"),
        ("A@0.5 \u00b5M", "A@0.5uM"),
        ("A@5ng/mL", "A@0.005ug/ml"),
        ("A@2Gy", "A@2Gy"),
    ],
)
def test_a_perturbation_has_one_spelling(label, expected):
    assert GEARS.canonical(label) == expected
    assert GEARS.canonical(expected) == expected


@given(st.permutations(["A", "B@2", "(+)-JQ1", "ctrl", "C@3nM"]))
def test_the_order_of_agents_makes_no_difference(parts):
    assert GEARS.canonical("+".join(parts)) == "(+)-JQ1+A+B@2+C@0.003uM"


def test_without_separators_a_label_is_what_it_is():
    plain = Grammar(controls=("ctrl", "NT"))
    assert [plain.canonical(label) for label in ("B+A", "A+ctrl", "A@01", "NT")] == ["B+A", "A+ctrl", "A@01", "ctrl"]
    assert describe_agents(["B+A"], plain) == ""


def test_names_that_hold_a_separator_are_kept_whole_where_they_are_listed():
    grammar = Grammar(combination="+", dose="@", whole=("Na+/K+ inhibitor", "A@B"))
    assert grammar.agents("Na+/K+ inhibitor") == (Agent("Na+/K+ inhibitor"),)
    assert grammar.agents("X@2+Na+/K+ inhibitor@3+A@B") == (
        Agent("X", 2.0),
        Agent("Na+/K+ inhibitor", 3.0),
        Agent("A@B"),
    )
    assert len(Grammar(combination="+").agents("Na+/K+ inhibitor")) == 3


def test_doses_of_one_agent_can_be_compared():
    assert agent_names(["A@1uM", "A@20nM+B", "B@3", "A"], GEARS) == ("A", "B")
    with pytest.raises(
        InputError, match=r"'A@1ug/ml': expected a dose of 'A' that can be compared with that of 'A@1uM'"
    ):
        agent_names(["A@1uM", "A@1ug/ml"], GEARS)
    with pytest.raises(InputError, match="found 'no unit' beside 'uM'"):
        agent_names(["A@1uM", "A@1"], GEARS)


@pytest.mark.parametrize("label", ["A@much", "A@-1", "@3", "A@", "A@nan", "A@1e999"])
def test_doses_that_make_no_sense_are_refused(label):
    with pytest.raises(InputError, match="perturbation .* expected agents between"):
        GEARS.agents(label)


def test_agents_are_told_in_words():
    text = describe_agents(["A", "A+B", "A@2+C+D"], GEARS)
    assert text == "4 in 3 perturbations, 2 combinations of up to 3 agents, 1 with a dose: 'A', 'B', 'C', 'D'"
    assert GEARS.agents("A+B")[0].dose == NO_DOSE
    assert respelled(["B+A", "A", "ctrl", "NT"], GEARS) == {"B+A": "A+B"}


def test_combinations_that_nobody_declared_are_noticed():
    assert likely_combinations(["A", "B", "B|A", "A|ctrl", "(+)-JQ1"], "ctrl") == ("|", ("A|ctrl", "B|A"))
    assert likely_combinations(["A", "B", "(+)-JQ1", "CD4+"], "ctrl")[1] == ()
    assert likely_combinations(["A", "B", "A_B", "A_ctrl", "A_2"], "ctrl") == ("_", ("A_B", "A_ctrl"))
    alone = ["HLA-A", "HLA", "NKX2-1", "IFN-beta", "drug_10", "drug_1", "ctrl_2", "p_2", "p", "A:1", "A:2"]
    assert likely_combinations(alone, "ctrl")[1] == ()


def test_labels_of_cells_without_one_are_noticed():
    labels = ["Unassigned", "unknown", "multiplet", "Doublet", "Negative", "no guide", "not_detected", "N/A", "?", "-"]
    assert likely_no_calls(labels) == tuple(labels)
    assert likely_no_calls(["NONO", "NOG", "NODAL", "DBT", "AMBN", "NEGR1", "T", "DN T", "IFN-beta", "double"]) == ()


def test_labels_that_controls_mostly_have_are_noticed():
    controls = ["non-targeting_2", "NT-1", "Ctrl", "NegCtrl0", "DMSO", "sgControl-3", "safe-targeting g2", "NTg1"]
    assert likely_controls(controls) == tuple(controls)
    assert (
        likely_controls(
            ["NT5E", "NT3", "NTRK1", "PBSN", "NT3g", "NTG1", "CTRB1", "A+ctrl", "DMSOX", "MOCOS", "IFN-beta", "p1"]
        )
        == ()
    )
