# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from pathlib import Path

import pytest

from bionemo.scale.infer.settings import InferSettings
from bionemo.scale.options.arguments import arguments, arguments_of
from bionemo.scale.options.parser import OptionParser, make_settings
from bionemo.scale.recipes.defaults import DEFAULTS, train_settings
from bionemo.scale.run.infer import parser
from bionemo.scale.run.train import settings_from
from bionemo.scale.train.settings import TrainSettings


@pytest.mark.parametrize("size", sorted(DEFAULTS))
def test_training_settings_are_the_command_line_that_makes_them(size, tmp_path):
    settings = train_settings(
        size,
        store=tmp_path / "store",
        out=tmp_path / "run",
        max_steps=77,
        overrides={"num_layers": "3", "prior": "control"},
    )
    assert settings_from(arguments(settings)) == settings


@pytest.mark.parametrize("size", sorted(DEFAULTS))
def test_the_command_takes_the_defaults_of_the_size(size, tmp_path):
    given = settings_from(["--store", str(tmp_path), "--out", str(tmp_path / "run"), "--size", size])
    assert given == train_settings(size, store=tmp_path, out=tmp_path / "run")
    for name, value in DEFAULTS[size].settings.items():
        assert getattr(given, name) == value


@pytest.mark.parametrize(
    "chosen",
    [
        dict(store=Path("s"), split="val", with_controls=True, seed=3, samples=4),
        dict(adata=Path("a.h5ad"), perturbations=("A", "B"), output="pseudobulk", num_steps=4),
        dict(
            store=Path("s"),
            all_perturbations=True,
            cell_types=("X",),
            cells_per_condition=9,
            precision="fp8",
            spec="te",
        ),
    ],
)
def test_inference_settings_are_the_command_line_that_makes_them(chosen):
    settings = InferSettings(checkpoint=Path("run"), out=Path("out.h5ad"), **chosen)
    assert make_settings(InferSettings, parser().parse_args(arguments(settings))) == settings


def test_flags_are_given_only_where_true():
    settings = InferSettings(checkpoint=Path("run"), out=Path("out"), store=Path("s"))
    assert "--with-controls" not in arguments(settings)
    assert "--with-controls" in arguments(replace(settings, with_controls=True))


def test_every_form_is_written_as_it_is_read(example):
    settings = example.make(
        inputs=("a b", "it's"),
        out="c",
        rate=0.25,
        loud=True,
        labels=("-dash", "comma, blank"),
        parts=("b", "a"),
        scans=("d",),
        keys={"batch": "donor"},
        overrides={"k": "v=w"},
        inner=9,
    )
    words = arguments(settings)
    assert words[:2] == ["a b", "it's"] and "--label=-dash" in words
    read = make_settings(example, OptionParser(example, prog="example", description="").parse_args(words))
    assert replace(read, inner=9) == settings


def test_lists_of_a_file_are_written_as_the_fields_want_them():
    recorded = {"store": "s", "freeze": ["encoder", "decoder"], "overrides": {"prior": "control"}, "gone": 3}
    assert arguments_of(TrainSettings, recorded) == [
        *("--store", "s", "--freeze", "encoder,decoder", "--set", "prior=control"),
    ]


def test_fields_can_be_left_out(example):
    assert "--out" not in arguments(example.make(inputs=("a",), out="c"), without=("out",))
