# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import pytest

from bionemo.scale.files.names import MAX_BYTES, file_name


@pytest.mark.parametrize(
    "label", ["CD4 T", "IFN-beta", "(+)-JQ1", "x" * MAX_BYTES, "Zelle 3µM", "[('A', 0.05, 'uM')]"]
)
def test_a_short_label_is_its_name(label):
    assert file_name(label) == label


def test_separators_become_dashes():
    assert file_name("HepG2/C3A\\b\0c") == "HepG2-C3A-b-c"


@pytest.mark.parametrize("letter", ["x", "µ", "細", "/"])
def test_long_labels_are_cut_and_stay_apart(letter, tmp_path):
    names = [file_name(letter * 280 + end) for end in ("", "a", "b")]
    assert len(set(names)) == 3 and max(len(name.encode()) for name in names) <= MAX_BYTES
    for name in names:
        (tmp_path / f"{name}_agg_results.csv").touch()
    assert names == [file_name(letter * 280 + end) for end in ("", "a", "b")]


def test_a_taken_name_gets_a_number():
    assert file_name("a/b", {"a-b"}) == "a-b_2"
    assert file_name("a/b", {"a-b", "a-b_2"}) == "a-b_3"
    assert file_name("NK", {"nk"}) == "NK_2"
