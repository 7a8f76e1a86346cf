# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The options of the commands: those of the first version stay, with their defaults, and each says what it does."""

import json
import re
from pathlib import Path

import pytest

from bionemo.scale.crossval.settings import CrossvalSettings
from bionemo.scale.data.features.settings import FeaturesSettings
from bionemo.scale.data.folds.split_settings import SplitSettings
from bionemo.scale.data.prepare.settings import PrepareSettings
from bionemo.scale.eval.settings import EvaluateSettings, ReportSettings
from bionemo.scale.export.settings import ExportSettings
from bionemo.scale.infer.settings import InferSettings
from bionemo.scale.options.fields import Option, options_of
from bionemo.scale.options.parser import OptionParser
from bionemo.scale.rank.settings import RankSettings
from bionemo.scale.recipes.defaults import train_settings
from bionemo.scale.run import crossval, evaluate, export, features, infer, prepare, rank, report, split, submit, train
from bionemo.scale.submit.settings import SubmitSettings
from bionemo.scale.train.settings import TrainSettings


FIRST = json.loads(Path(__file__).with_name("first_options.json").read_text())
COMMANDS: dict[str, tuple[OptionParser, tuple[type, ...]]] = {
    "prepare": (prepare.parser(), (PrepareSettings, prepare.PrepareModes)),
    "infer": (infer.parser(), (InferSettings,)),
    "export": (export.parser(), (ExportSettings,)),
    "evaluate": (evaluate.parser(), (EvaluateSettings,)),
    "report": (report.parser(), (ReportSettings,)),
    "train": (train.parser(), (TrainSettings, train.TrainModes)),
    "crossval": (crossval.parser(), (CrossvalSettings,)),
    "features": (features.parser(), (FeaturesSettings,)),
    "rank": (rank.parser(), (RankSettings,)),
    "split": (split.parser(), (SplitSettings,)),
    "submit": (submit.parser(), (SubmitSettings,)),
}


# The command took "control" where none was given; --help said so.
FIRST["prepare"]["--control"] = ["control"]
# Still 10,000, but only where counts are scaled; log1p values show their own.
FIRST["prepare"]["--target-sum"] = None


def default(option: Option) -> object:
    value = None if option.is_required else option.default
    return list(value) if isinstance(value, tuple | dict) else value


@pytest.mark.parametrize("name", COMMANDS)
def test_options_of_the_first_version_are_there_with_their_defaults(name):
    parser, classes = COMMANDS[name]
    defaults = {each.flag: default(each) for settings_class in classes for each in options_of(settings_class)}
    typed = {flag for action in parser._actions for flag in (action.option_strings or [action.metavar])}
    for flag, first in FIRST.get(name, {}).items():
        assert flag in typed, flag
        if flag in defaults:
            # "Nothing" has been written in several ways.
            assert (defaults[flag] or None) == (first or None), flag


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_says_what_it_does_and_none_that_its_default_is_none(name):
    parser, _ = COMMANDS[name]
    assert [action.option_strings for action in parser._actions if not action.help] == []
    assert "None" not in parser.format_help()


@pytest.mark.parametrize("name", COMMANDS)
def test_the_first_line_of_help_has_what_is_required_and_only_options_that_exist(name):
    parser, classes = COMMANDS[name]
    ways = parser.format_usage().strip().splitlines()
    assert set(re.findall(r"--[\w-]+", " ".join(ways))) <= parser._option_string_actions.keys()
    required = [each.flag for settings_class in classes for each in options_of(settings_class) if each.is_required]
    assert [flag for flag in required if f" {flag} " not in f"{ways[0]} "] == []


@pytest.mark.parametrize(("size", "lr"), [("small", "0.001"), ("base", "0.0003"), ("184m", "0.0002")])
def test_help_shows_the_default_that_a_size_has(size, lr):
    assert f"{train_settings(size, store=Path('s'), out=Path('o')).lr:g}" == lr
    text = " ".join(train.parser().format_help().split())
    shown = re.search(r"--lr X Highest learning rate \(default: (.*?)\)", text)[1]
    default, *others = shown.split("; ")
    assert lr == next((each.split()[0] for each in others if size in each.split()), default)
