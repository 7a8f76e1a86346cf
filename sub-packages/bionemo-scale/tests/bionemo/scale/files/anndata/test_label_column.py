# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import anndata as ad
import numpy as np
import pandas as pd
import pytest

from bionemo.scale.files.anndata.checked_anndata import CheckedAnnData
from bionemo.scale.files.anndata.label_column import (
    ALL_CELLS,
    columns_of,
    has_labels,
    look_alikes,
    read_label_columns,
    read_labels_of,
)
from bionemo.scale.types import NO_COLUMN, InputError


@pytest.mark.parametrize("kind", ["category", "object", "string", "array"])
def test_blanks_at_the_ends_are_left_out_and_said(kind):
    column = ["control ", "A", "control", "\u00a0A\t", "B C"]
    values = np.array(column) if kind == "array" else pd.Series(column, dtype=kind).array
    found = read_labels_of(values, where="obs['x']")
    assert found.of_cells().tolist() == ["control", "A", "control", "A", "B C"]
    assert sorted(found.names) == ["A", "B C", "control"] and found.codes.dtype == np.int32
    (note,) = found.notes
    assert note.startswith("obs['x']: blanks at the ends of 2 labels left out (") and "'control '" in note
    assert read_labels_of(pd.Series(["A", "B"]), where="x").notes == ()


@pytest.mark.parametrize("missing", ["", "  ", "nan", "None", "NA", "<NA>", None, np.nan, pd.NA])
def test_a_missing_label_is_refused_whatever_its_spelling(missing):
    values = pd.Series(["A", missing, "B", missing, "A"], dtype=object)
    for column in (values, values.astype("category").array):
        with pytest.raises(InputError, match=r"^obs\['x'\] must label every cell, found 2 of 5 without a label \(2 "):
            read_labels_of(column, where="obs['x']")


def test_a_control_may_be_called_none():
    assert read_labels_of(np.array(["None", "A"]), where="x", named=("None",)).names == ("A", "None")


def test_labels_that_no_cell_has_are_no_matter():
    column = pd.Categorical(["A", "A"], categories=["A", "nan", "B "])
    assert read_labels_of(column, where="x").notes == ()


def test_numbers_are_labels():
    assert read_labels_of(np.array([1, 2, 1]), where="x").of_cells().tolist() == ["1", "2", "1"]
    assert read_labels_of(np.array([True, False]), where="x").of_cells().tolist() == ["True", "False"]


def test_labels_that_differ_in_capitals_or_blanks_are_told():
    assert look_alikes(["IFN-beta", "ifn-Beta", "IL 2", "IL2", "B"], what="perturbation") == (
        "perturbation: taken as different labels: 'IFN-beta' and 'ifn-Beta'; 'IL 2' and 'IL2'",
    )
    assert look_alikes(["1", "2", "1.0", "0.5", ".5"], what="batches") == (
        "batches: taken as different labels: '1' and '1.0'; '.5' and '0.5'",
    )
    assert look_alikes(["A", "B", "A"], what="x") == ()
    assert look_alikes(["1", "10", "1_0", "1e1", "-1"], what="x") == ()


@pytest.fixture
def write(tmp_path):
    def make(**columns):
        cells = ad.AnnData(X=np.ones((4, 2), dtype=np.float32), obs=pd.DataFrame(columns, index=list("abcd")))
        cells.write_h5ad(tmp_path / "cells.h5ad")
        return CheckedAnnData(tmp_path / "cells.h5ad")

    return make


def test_several_columns_are_one_label(write):
    with write(patient=["P1", "P1", "P2", "P2"], kind=["T", "B ", "T", "T"]) as file:
        found = read_label_columns(file, "patient, kind")
    assert found.of_cells().tolist() == ["P1:T", "P1:B", "P2:T", "P2:T"]
    assert sorted(found.names) == ["P1:B", "P1:T", "P2:T"] and found.codes.dtype == np.int32
    assert "obs['kind']: blanks at the ends of 1 labels" in found.notes[0]


def test_a_column_whose_name_has_a_comma_is_one_column(write):
    columns = {"a,b": ["x", "y", "x", "y"], "a": ["1"] * 4, "b": ["2"] * 4}
    with write(**columns) as file:
        assert read_label_columns(file, "a,b").names == ("x", "y")
    assert columns_of("a,b", ["a", "b"]) == ("a", "b")


@pytest.mark.parametrize(
    ("columns", "key", "problem"),
    [
        ({"a": ["1"] * 4, "b": ["2"] * 4}, "a,c", "obs has no column 'c'"),
        ({"a": ["1"] * 4, "b": ["2", "2", None, "2"]}, "a,b", r"obs\['b'\] must label every cell"),
        ({"a": ["1", "1:2", "1", "1"], "b": ["2:3", "3", "2", "2"]}, "a,b", "would both be called '1:2:3'"),
    ],
)
def test_columns_that_cannot_be_one_label_are_refused(write, columns, key, problem):
    with write(**columns) as file, pytest.raises(InputError, match=problem):
        read_label_columns(file, key)


def test_none_is_one_label_of_all_cells_unless_a_column_is_called_so(write):
    with write(patient=["P1", "P1", "P2", "P2"]) as file:
        assert has_labels(file, NO_COLUMN) and not has_labels(file, "donor")
        assert read_label_columns(file, NO_COLUMN).of_cells().tolist() == [ALL_CELLS] * 4
    with write(none=["a", "b", "a", "b"]) as file:
        assert read_label_columns(file, NO_COLUMN).names == ("a", "b")


@pytest.mark.parametrize("label", ["a\x1b[31mb", "a\nb", "a\x00b", "a\u2028b", "a\ud800", "a\u202eb"])
def test_labels_that_are_no_line_of_text_are_refused(label):
    with pytest.raises(InputError, match="without control characters and line breaks"):
        read_labels_of(np.array(["a", label], dtype=object), where="here")


def test_blanks_and_letters_of_any_script_are_labels():
    labels = ["T\u00a0cell", "β-cell", "Na⁺/K⁺", "细胞"]
    assert read_labels_of(np.array(labels, dtype=object), where="here").of_cells().tolist() == labels
