# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Options with values that nobody should give."""

import random
from typing import Any

from commands import Command
from damage_text import LONG

from bionemo.scale.crossval.settings import CrossvalSettings
from bionemo.scale.data.features.settings import FeaturesSettings
from bionemo.scale.data.folds.split_settings import SplitSettings
from bionemo.scale.data.prepare.settings import PrepareSettings
from bionemo.scale.eval.settings import EvaluateSettings, ReportSettings
from bionemo.scale.export.settings import ExportSettings
from bionemo.scale.infer.settings import InferSettings
from bionemo.scale.options.fields import Option, options_of
from bionemo.scale.options.values import column_flag
from bionemo.scale.rank.settings import RankSettings
from bionemo.scale.run.config.recipe import RecipeFile
from bionemo.scale.run.inner.launch import LaunchSettings
from bionemo.scale.submit.settings import SubmitSettings
from bionemo.scale.train.settings import TrainSettings


SETTINGS: dict[str, tuple[type, ...]] = {
    "prepare": (PrepareSettings,),
    "train": (TrainSettings,),
    "recipe": (RecipeFile, TrainSettings),
    "infer": (InferSettings,),
    "evaluate": (EvaluateSettings,),
    "report": (ReportSettings,),
    "rank": (RankSettings,),
    "submit": (SubmitSettings,),
    "features": (FeaturesSettings,),
    "split": (SplitSettings,),
    "export": (ExportSettings,),
    "crossval": (CrossvalSettings, PrepareSettings, TrainSettings),
    "launch_main": (LaunchSettings, PrepareSettings, TrainSettings),
}
NUMBERS = (
    "inf",
    "-inf",
    "nan",
    "-1",
    "0",
    "-0.0",
    "1e-300",
    "1e300",
    "0x10",
    "1_0",
    "1e400",
    LONG,
    "٣",
    "1 ",
    "3.5",
    "true",
)
TEXTS = (
    "",
    " ",
    "\t",
    "x" * 300,
    "a\nb",
    "\x1b[31m",
    "\udcff",
    "a/b",
    "../x",
    ".",
    "é",
    "=",
    "a=b",
    "@",
    "@missing",
    "@.",
    "-",
)
PATHS = (
    *(
        "",
        " ",
        ".",
        "missing",
        "/proc/x",
        "/proc/1/mem",
        "/dev/null",
        "/dev/null/x",
        "/dev/full",
        "screen.h5ad/x",
        "x" * 300,
    ),
    *(
        "x" * 5000,
        "a\nb/c",
        "\udcff",
        "store",
        "run",
        "scores",
        "screen.h5ad",
        "split.toml",
        "predicted",
        "site.yaml",
        "~",
    ),
)


def hostile_words(command: Command, rng: random.Random) -> tuple[str, ...]:
    """Return an option of a command with a value that it should not get, or an option that it does not have."""
    if rng.random() < 0.05:
        return rng.choice(
            (("--nothing",), ("--out",), ("stray",), ("--",), ("--seed", "1", "--seed", "x"), ("--help-me", "1"))
        )
    name = command.main.__name__ if command.main.__name__ != "main" else command.name
    # A flag has no value to be wrong, and some of them are work for minutes.
    options = [option for kind in SETTINGS[name] for option in options_of(kind) if option.form != "flag"]
    option = rng.choice(options)
    return _words(option, rng)


def _words(option: Option, rng: random.Random) -> tuple[str, ...]:
    if option.form == "columns":
        return (column_flag(rng.choice(("perturbation", "cell_type", "batch", "covariate"))), rng.choice(TEXTS))
    if option.form == "positional":
        return (rng.choice(PATHS),)
    if option.form == "hidden":
        return (option.flag, "1")
    value = rng.choice(_values(option))
    if option.form == "pairs":
        return (
            option.flag,
            rng.choice(("", "=", "hidden_size", "hidden_size=", f"hidden_size={value}", f"{value}=1", "seed=-1")),
        )
    return (option.flag, *(rng.choice(_values(option)) for _ in range(rng.choice((1, 1, 2)))))[
        : 3 if option.is_many else 2
    ]


def _values(option: Option) -> tuple[str, ...]:
    kinds: dict[Any, tuple[str, ...]] = {int: (*NUMBERS, "x", ""), float: (*NUMBERS, "x", "")}
    if option.kind in kinds:
        return kinds[option.kind]
    return TEXTS if option.kind is str else (*PATHS, "1", "-1")
