# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
from dataclasses import dataclass
from pathlib import Path

import pytest

from bionemo.scale.options.arguments import arguments
from bionemo.scale.options.fields import option
from bionemo.scale.options.parser import OptionParser, make_settings
from bionemo.scale.options.settings import Settings
from bionemo.scale.types import InputError, ObsKeys


def parse(example, *words):
    return make_settings(example, OptionParser(example, prog="example", description="").parse_args(words))


def test_every_form_is_read(example):
    words = "a b --out c --mode slow --steps 4 --rate 0.5 --label x --label y,z --parts a,b --scans d e".split()
    made = parse(example, *words, "--batch-key", "donor", "--set", "k=v=w", "--set", "l=")
    assert made == example(
        inputs=(Path("a"), Path("b")),
        out=Path("c"),
        mode="slow",
        steps=4,
        rate=0.5,
        labels=("x", "y,z"),
        parts=("a", "b"),
        scans=(Path("d"), Path("e")),
        keys=ObsKeys(batch="donor"),
        overrides={"k": "v=w", "l": ""},
    )


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("--out c", "the following arguments are required: INPUT"),
        ("a", "the following arguments are required: --out"),
        ("a --out c --step 4", "unknown option --step; did you mean '--steps'"),
        ("a --out c --step=4", "unknown option --step; did you mean '--steps'"),
        ("a --out c --steps", "--steps: expected one argument"),
        ("a --out c --steps x", "--steps must be a whole number, found 'x'"),
        ("a --out c --steps -1", "--steps must be at least 1, found -1"),
        ("a --out c --rate -inf", "--rate"),
        ("a --out c --set k", "--set expects KEY=VALUE, found 'k'"),
        ("a --out c --mode x", "--mode must be one of fast, slow, found 'x'"),
        ("a --out c --inner 3", "unknown option --inner"),
        ("a --out c --steps 3 b", "expected an option, found 'b'"),
    ],
)
def test_a_command_line_that_cannot_be_is_refused_in_one_line(example, words, found):
    with pytest.raises(InputError) as refused:
        parse(example, *words.split())
    assert found in str(refused.value) and "\n" not in str(refused.value)


def test_help_is_the_fields_own(example):
    text = " ".join(OptionParser(example, prog="example", description="").format_help().split())
    for expected in (
        "INPUT Files, 100 % of them",
        "--mode {fast,slow} How (default: fast)",
        "numbers: --steps N Steps of the way (default: 3)",
        "--rate X A rate (default: as measured)",
        "--parts A,B Parts: a, b",
        "--batch-key COLUMN obs column with the batch, or several columns; none if there is one batch "
        "(default: batch)",
    ):
        assert expected in text, expected
    assert "None" not in text and "--inner" not in text


def test_the_first_lines_of_help_are_the_ways_to_use_a_command(example):
    parser = OptionParser(example, prog="p", description="")
    assert parser.format_usage() == "usage: p INPUT ... --out PATH [OPTIONS]\n"
    parser = OptionParser(example, prog="p", description="", ways=("INPUT", "--out O"))
    assert parser.format_usage() == "usage: p INPUT\n       p --out O\n"


def test_help_shows_the_defaults_that_go_with_other_options(example):
    fast = {"steps": 9, "rate": 0.5}
    others = {example: {"--mode": {"fast": fast, "slow": {"steps": 9}, "other": {"steps": 3}}}, Settings: {}}
    text = " ".join(OptionParser(example, prog="p", description="", others=others).format_help().split())
    assert "Steps of the way (default: 3; 9 with --mode fast or slow)" in text


@dataclass(frozen=True, kw_only=True)
class Named(Settings):
    """Labels, which may hold commas."""

    names: tuple[str, ...] = option((), form="labels")
    """Names."""


def test_labels_repeat_are_kept_whole_and_come_from_files(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("a, b\nc\n")
    parser = OptionParser(Named, prog="p", description="d")
    made = make_settings(Named, parser.parse_args(["--names", "x,y", "--names", f"@{path}"]))
    assert made.names == ("x,y", "a, b", "c")
    assert make_settings(Named, parser.parse_args(arguments(made))) == made
    assert Named(names="x,y").names == ("x,y",) and Named(names=f"@{path}").names == ("a, b", "c")
    assert Named().names == ()
    with pytest.raises(InputError, match="none: "):
        parser.parse_args(["--names", "@none"])
