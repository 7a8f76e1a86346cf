# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses
from pathlib import Path

from bionemo.scale.options.fields import field_docs, options_of, path_options


def test_the_docstring_of_a_field_is_its_help_in_one_line(example):
    docs = field_docs(example)
    assert docs["steps"] == "Steps of the way" and set(docs) == {field.name for field in dataclasses.fields(example)}


def test_docs_of_inherited_fields_are_found(example):
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class More(example):
        extra: int = 1
        """More of it."""

    assert field_docs(More)["extra"] == "More of it" and field_docs(More)["mode"] == "How"


def test_types_say_how_an_option_is_given(example):
    forms = {each.name: each.form for each in options_of(example)}
    assert {name for name, form in forms.items() if form == "value"} == {"out", "mode", "steps", "rate"}
    assert (forms["loud"], forms["labels"], forms["keys"], forms["overrides"]) == (
        "flag",
        "repeat",
        "columns",
        "pairs",
    )
    kinds = {each.name: each.kind for each in options_of(example)}
    assert (kinds["inputs"], kinds["rate"], kinds["parts"], kinds["mode"]) == (Path, float, str, str)


def test_paths_are_known(example):
    assert path_options(example) == ("inputs", "out", "scans")


def test_no_option_of_a_default_is_required(example):
    assert [each.name for each in options_of(example) if each.is_required] == ["inputs", "out"]
