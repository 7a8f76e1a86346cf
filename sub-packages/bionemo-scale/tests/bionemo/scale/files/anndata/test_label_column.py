# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pandas as pd
import pytest

from bionemo.scale.files.anndata.label_column import look_alikes, read_labels_of
from bionemo.scale.types import InputError


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
    assert look_alikes(["A", "B", "A"], what="x") == ()
