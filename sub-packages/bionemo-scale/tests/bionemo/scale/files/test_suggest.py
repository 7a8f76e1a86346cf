# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
from bionemo.scale.files.suggest import some, suggest


def test_close_names_are_proposed():
    assert suggest("CD4T", ["CD4 T", "NK", "B"]) == "did you mean 'CD4 T'?"


def test_case_alone_is_close():
    assert suggest("nk", ["NK", "B"]) == "did you mean 'NK'?"


def test_without_a_close_name_the_known_ones_are_listed():
    assert suggest("x", [f"name{i}" for i in range(7)]).endswith("'name4' and 2 more")
    assert suggest("x", []) == "there is none"


def test_names_in_a_list_keep_their_order():
    assert suggest("x", ["z", "a", "z"]) == "found 'z', 'a'"
    assert suggest("x", {"z", "a"}) == "found 'a', 'z'"


def test_some_names_stand_for_all():
    assert some(["a"]) == "'a'" and some(["d", "c", "b", "a"]) == "'d', 'c', 'b' and 1 more"
