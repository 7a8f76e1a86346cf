# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The scripts in recipes/protocols: a published experiment, on this machine, in Docker or on Slurm."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bionemo.scale.eval.settings import EvaluateSettings
from bionemo.scale.model.size.sizes import SIZES
from bionemo.scale.options.commands import Commands, add_commands, fields_of
from bionemo.scale.options.fields import option
from bionemo.scale.options.parser import OptionParser, make_settings
from bionemo.scale.recipes.defaults import OTHERS
from bionemo.scale.run.inner.launch import COMMANDS, PlaceSettings, run_launch, start


if TYPE_CHECKING:
    from bionemo.scale.recipes.protocol import Protocol


@dataclass(frozen=True, kw_only=True)
class ProtocolSettings(PlaceSettings):
    """What of a protocol is run, and where."""

    sizes: tuple[str, ...] = option(("184m", "280m"), form="commas", choices=SIZES)
    """Networks to train; all are scored in one table"""
    variant: str | None = None
    """What is held out; the end of this help has their names (default: the first)."""
    split: Path | None = option(None, metavar="SPLIT.toml")
    """Split file of your own in place of a variant's, such as the list of a publication."""


_COMMANDS: Commands = {**COMMANDS, "evaluate": (EvaluateSettings, (*COMMANDS["evaluate"][1], "name"))}


def parser(protocol: "Protocol") -> OptionParser:
    """Return the options of a protocol's script: its own, and those of the commands."""
    variants = "; ".join(f"{name}: {variant.says}" for name, variant in protocol.variants.items())
    options = OptionParser(
        ProtocolSettings,
        prog=f"{protocol.name}.py",
        description=f"{protocol.title}: split, prepare, train, predict, score and report.",
        epilog=f"Variants. {variants}. docs/protocols.md says what is the paper's.",
        others=OTHERS,
    )
    add_commands(options, ProtocolSettings, _COMMANDS)
    return options


def main(protocol: "Protocol", argv: Sequence[str] | None = None, *, site: Path | None = None) -> int:
    """Run a protocol's script and return its exit code: 0 done or submitted, 1 a step failed, 2 refused.

    Args:
        protocol: What the script stands for.
        argv: Command line.
        site: Settings of the site where no option names others.
    """
    return run_launch(lambda given: _run(protocol, parser(protocol).parse_args(given), site), argv)


def _run(protocol: "Protocol", given: argparse.Namespace, site_path: Path | None) -> None:
    settings = make_settings(ProtocolSettings, given)
    from bionemo.scale.recipes.protocol import Experiment, schedule_protocol

    experiment = Experiment(
        protocol=protocol,
        inputs=settings.inputs,
        out=settings.out,
        sizes=tuple(dict.fromkeys(settings.sizes)),
        variant=settings.variant,
        split=settings.split,
        chosen={command: fields_of(command, given, _COMMANDS) for command in _COMMANDS},
        infer_tasks=settings.infer_tasks,
        array=settings.array,
    )
    start(schedule_protocol(experiment), settings, site_path)
