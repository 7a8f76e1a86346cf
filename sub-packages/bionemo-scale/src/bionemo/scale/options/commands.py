# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The options of other commands in a command that runs them."""

import argparse
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

from bionemo.scale.options.fields import Option, options_of
from bionemo.scale.options.parser import OptionParser, given_fields
from bionemo.scale.options.settings import Settings
from bionemo.scale.options.values import column_flag
from bionemo.scale.types import ObsKeys


Commands = Mapping[str, tuple[type[Settings], Collection[str]]]
"""Name of a command to its settings, and the fields that are not the user's here."""


def add_commands(options: OptionParser, own: type[Settings], commands: Commands) -> None:
    """Add the options of commands to a parser.

    An option of one command has its name there; where several commands, or the parser's own settings, have it,
    ``--COMMAND.NAME`` says which is meant.

    Args:
        options: The parser, with its own options.
        own: Settings that those are of.
        commands: The commands.
    """
    own_flags = [flag for each in options_of(own) for flag in _flags(each)]
    counts = Counter([*own_flags, *(flag for _, each in _options(commands) for flag in _flags(each))])
    for command, each in _options(commands):

        def names(flag: str, command: str = command) -> tuple[str, ...]:
            full = f"--{command}.{flag.removeprefix('--')}"
            return (flag, full) if counts[flag] == 1 else (full,)

        group = f"options of bionemo-scale-{command}"
        options.add_option(replace(each, group=group), dest=f"{command}.{each.name}", names=names)


def fields_of(command: str, given: argparse.Namespace, commands: Commands) -> dict[str, Any]:
    """Return the fields of a command's settings that a command line gives."""
    start = f"{command}."
    values = {name.removeprefix(start): value for name, value in vars(given).items() if name.startswith(start)}
    return given_fields(commands[command][0], values)


def _options(commands: Commands) -> Iterator[tuple[str, Option]]:
    for command, (settings_class, decided) in commands.items():
        for each in options_of(settings_class):
            if each.name not in decided:
                yield command, each


def _flags(each: Option) -> list[str]:
    return [column_flag(part) for part in vars(ObsKeys())] if each.form == "columns" else [each.flag]
