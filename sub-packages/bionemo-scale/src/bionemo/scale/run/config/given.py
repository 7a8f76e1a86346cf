# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a command line and a file of settings say of a training run."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from bionemo.scale.files.text import read_yaml
from bionemo.scale.files.writing.folder import temporary_folder
from bionemo.scale.options.fields import option, options_of, path_options
from bionemo.scale.options.parser import given_fields
from bionemo.scale.options.settings import Settings
from bionemo.scale.options.values import number_in
from bionemo.scale.process.imports import imports
from bionemo.scale.recipes.defaults import train_settings
from bionemo.scale.run.config.merge import merged, with_written_preset
from bionemo.scale.run.config.sections import SECTIONS
from bionemo.scale.train.presets import WRITTEN_PRESET
from bionemo.scale.train.settings import TrainSettings
from bionemo.scale.types import InputError


PLACES = ("store", "out")
"""What a run must be told, and a file of settings need not hold."""


@dataclass(frozen=True, kw_only=True)
class SettingsFile(Settings):
    """Where settings come from besides the command line."""

    config: Path | None = option(None, metavar="FILE.yaml")
    """Take settings from a file of bionemo-scale-recipe or --write-config; options on the command line override it."""


def training_of(values: Mapping[str, Any]) -> TrainSettings:
    """Return the settings of values by field; a place that is not named has its own name for one."""
    values = {**{name: Path(name) for name in PLACES}, **values}
    # Absolute, so that a run folder is the same run from wherever it is continued.
    for name in path_options(TrainSettings):
        if values.get(name) is not None:
            values[name] = values[name].resolve()
    return train_settings(values.pop("size", None), **values)


def given_values(options: argparse.Namespace) -> dict[str, Any]:
    """Return what the command line and the file of settings give, the command line first.

    Raises:
        InputError: The file cannot be used, or names another size or preset.
    """
    given = given_fields(TrainSettings, options)
    if "config" not in options:
        return given
    return merged(
        read_settings(options.config),
        given,
        holder=f"{options.config} has it",
        advice="write another file by bionemo-scale-recipe",
        mark="--",
    )


def read_settings(path: Path) -> dict[str, Any]:
    """Return the values of :class:`TrainSettings` that a file gives, in sections or one key a field.

    Raises:
        InputError: It cannot be read, a key is unknown, or a value is not possible.
    """
    values = read_yaml(path)
    try:
        return _of_sections(values) if _has_sections(values) else _of_options(values)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _of_options(values: Mapping[Any, Any]) -> dict[str, Any]:
    options = {option.name: option for option in options_of(TrainSettings)}
    named = _named(values)
    written = named.pop(WRITTEN_PRESET, None)
    held = TrainSettings.checked(
        **{name: number_in(options[name], value) if name in options else value for name, value in named.items()}
    )
    return with_written_preset(held, written)


def _named(values: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(name): value for name, value in values.items()}


def _has_sections(values: Mapping[Any, Any]) -> bool:
    """Whether a file has a section, or something that may be meant as one."""
    return any(
        name in SECTIONS.values() or (isinstance(value, Mapping) and name != "overrides")
        for name, value in values.items()
    )


def _of_sections(values: Mapping[Any, Any]) -> dict[str, Any]:
    return config_models().MainConfig(**_named(values)).given()


def config_models() -> ModuleType:
    """Return the module of that name. It is imported late and quietly: it needs Megatron, for the network's fields."""
    from bionemo.scale.process.console import quiet_screen

    with temporary_folder() as folder, quiet_screen(folder / "log.txt"), imports():
        from bionemo.scale.megatron import cpu

        cpu.install()
        from bionemo.scale.run.config import config_models

    return config_models
