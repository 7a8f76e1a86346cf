# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bionemo.scale.data.labels.agents import NO_AGENT, agents_of, read_features
from bionemo.scale.files.labels.grammar import NO_DOSE, Grammar
from bionemo.scale.types import InputError


BOTH = Grammar(combination="+", dose="@")


@pytest.mark.parametrize(
    ("grammar", "label", "expected"),
    [
        (Grammar(), "A+B@3", (("A+B@3", NO_DOSE),)),
        (Grammar(combination="+"), "A+B", (("A", NO_DOSE), ("B", NO_DOSE))),
        (Grammar(dose="@"), "A@0.5", (("A", 0.5),)),
        (BOTH, "A@0.5 + B", (("A", 0.5), ("B", NO_DOSE))),
        (BOTH, "A@1e3+B@0", (("A", 1000.0), ("B", 0.0))),
    ],
)
def test_labels_are_read(grammar, label, expected):
    assert grammar.parse(label) == expected


@pytest.mark.parametrize("label", ["A@much", "A@-1", "@3", "A@", "A@nan"])
def test_labels_that_make_no_sense_are_refused(label):
    with pytest.raises(InputError, match="perturbation .* expected agents between"):
        BOTH.parse(label)


def test_a_vocabulary_is_taken_apart():
    agents = agents_of(["B", "A@2+B@1", "C@0.5"], BOTH)
    assert agents.names == ("B", "A", "C")
    np.testing.assert_array_equal(agents.members, [[0, NO_AGENT], [1, 0], [2, NO_AGENT]])
    np.testing.assert_array_equal(agents.doses, np.float32([[NO_DOSE, NO_DOSE], [2, 1], [0.5, NO_DOSE]]))


def test_known_agents_keep_their_rows():
    agents = agents_of(["D+A"], BOTH, known=["A", "B"])
    assert agents.names == ("A", "B", "D")
    np.testing.assert_array_equal(agents.members, [[2, 0]])


@pytest.fixture
def table() -> pd.DataFrame:
    return pd.DataFrame({"x": [1.0, 2, 3], "y": [4, 5, 6]}, index=["A", "B", "C"])


def write(table: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, sep="\t" if path.suffix == ".tsv" else ",")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_features_come_in_the_order_of_the_names(suffix, table, tmp_path):
    features = read_features(write(table, tmp_path / f"features{suffix}"), ["C", "A"])
    assert features.dtype == np.float32
    np.testing.assert_array_equal(features, [[3, 6], [1, 4]])


def test_a_missing_name_is_named_with_the_nearest(table, tmp_path):
    table.index = ["STAT1", "IRF1", "JAK2"]
    with pytest.raises(InputError, match=r"f.csv: expected a row for each of 2 .* 'STAT2'.*STAT1"):
        read_features(write(table, tmp_path / "f.csv"), ["IRF1", "STAT2"])


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda table: table.assign(x=["a", 1, 2]), "expected numbers"),
        (lambda table: table.assign(x=[np.nan, 1, 2]), "1 that are not finite"),
        (lambda table: table[[]], "at least one column"),
        (lambda table: pd.concat([table, table[:1]]), "'A' more than once"),
    ],
)
def test_unusable_features_are_refused(change, found, table, tmp_path):
    with pytest.raises(InputError, match=found):
        read_features(
            write(change(table), tmp_path / "f.parquet" if found != "expected numbers" else tmp_path / "f.csv"),
            ["A", "B"],
        )


@pytest.mark.parametrize("name", ["missing.csv", "features.xlsx"])
def test_unreadable_files_are_refused(name, tmp_path):
    with pytest.raises(InputError, match=name):
        read_features(tmp_path / name, ["A"])


def test_a_file_that_is_no_table_is_refused(tmp_path):
    path = tmp_path / "f.parquet"
    path.write_bytes(b"no table")
    with pytest.raises(InputError, match="cannot be read"):
        read_features(path, ["A"])
