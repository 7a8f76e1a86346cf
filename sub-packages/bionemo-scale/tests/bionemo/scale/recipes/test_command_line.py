# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from pathlib import Path

import pytest

from bionemo.scale.infer.settings import InferSettings
from bionemo.scale.recipes.command_line import arguments, checked_fields
from bionemo.scale.recipes.defaults import DEFAULTS, train_settings
from bionemo.scale.run.infer import parser
from bionemo.scale.run.train import settings_from
from bionemo.scale.train.settings import TrainSettings
from bionemo.scale.types import InputError


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
    short = arguments(settings, defaults=train_settings(size, store=Path("x"), out=Path("x")))
    assert "--max-steps" in short and "--lr" not in short
    assert settings_from(["--size", size, *short]) == settings


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
    assert InferSettings(**vars(parser().parse_args(arguments(settings)))) == settings


def test_unknown_settings_name_the_nearest():
    with pytest.raises(InputError, match="TrainSettings: unknown setting 'max_step'; did you mean 'max_steps'"):
        checked_fields(TrainSettings, {"max_step": 3})
    assert checked_fields(TrainSettings, {"max_steps": 3}) == {"max_steps": 3}


def test_flags_are_given_only_where_true():
    settings = InferSettings(checkpoint=Path("run"), out=Path("out"), store=Path("s"))
    assert "--with-controls" not in arguments(settings)
    assert "--with-controls" in arguments(replace(settings, with_controls=True))
