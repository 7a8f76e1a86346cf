# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from bionemo.scale.files.label_list import (
    check_label,
    given_labels,
    given_paths,
    settle_labels,
    split_outside_brackets,
)
from bionemo.scale.types import InputError


TAHOE = "[('Dabrafenib', 0.05, 'uM')]"
CD4 = "CD4-positive, alpha-beta T cell"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["A,B"], ("A", "B")),
        (["A, B ,,A"], ("A", "B")),
        ([CD4], (CD4,)),
        ([f"NK cell,{CD4},B"], ("NK cell", CD4, "B")),
        ([TAHOE], (TAHOE,)),
        (["[('New', 0.05, 'uM')]"], ("[('New', 0.05, 'uM')]",)),
        ([f"{TAHOE},A"], (TAHOE, "A")),
        (["A,B", "A"], ("A", "B")),
        (["both,ways"], ("both,ways",)),
        ([], ()),
    ],
)
def test_a_comma_splits_where_it_is_no_part_of_a_label(given, expected):
    assert settle_labels(given, {"A", "B", CD4, TAHOE, "both", "ways", "both,ways"}) == expected


def test_one_string_is_no_list_of_letters(tmp_path):
    assert given_labels("IFN-beta") == ("IFN-beta",)
    assert given_labels(["IFN-beta", "A,B"]) == ("IFN-beta", "A,B")
    assert given_labels(np.array(["x", "y"])) == ("x", "y")
    assert given_labels(None) == ()
    assert given_paths("a.h5ad") == given_paths([tmp_path.__class__("a.h5ad")])
    with pytest.raises(InputError, match="expected labels as text, found 3"):
        given_labels(["A", 3])


def test_a_file_has_one_label_a_line(tmp_path):
    path = tmp_path / "names, all.txt"
    path.write_bytes(f"\ufeff{TAHOE}\r\n\r\n  {CD4} \nA\n".encode())
    assert given_labels(f"@{path}") == given_labels(path) == (TAHOE, CD4, "A")
    path.write_bytes("Ifn\u03b2".encode("utf-16"))
    with pytest.raises(InputError, match="expected text in UTF-8, found UTF-16"):
        given_labels(f"@{path}")
    path.write_text("\n \n")
    with pytest.raises(InputError, match="expected one label a line, found none"):
        given_labels(path)
    with pytest.raises(InputError, match="nowhere: expected a file with one label a line, found no such file"):
        given_labels("@nowhere")


def test_many_labels_in_one_option_take_no_time():
    names = [f"gene{number}" for number in range(20_000)]
    assert settle_labels([",".join(names)], [*names, "a,b"]) == tuple(names)


def test_brackets_keep_what_is_in_them():
    assert split_outside_brackets("(+)-JQ1", "+") == ["(+)-JQ1"]
    assert split_outside_brackets("(+)-JQ1+[a+b]{+}+C", "+") == ["(+)-JQ1", "[a+b]{+}", "C"]
    assert split_outside_brackets("A(+B", "+") == ["A(+B"]
    assert split_outside_brackets("A)+B", "+") == ["A)", "B"]


def test_a_label_that_is_typed():
    assert check_label(" control ", what="--control") == "control"
    with pytest.raises(InputError, match=r"--control: expected a label, found ' '"):
        check_label(" ", what="--control")
