# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""bionemo-scale: all commands under one name, `bionemo-scale train ...` for `bionemo-scale-train ...`."""

from bionemo.scale.process import interrupt  # isort: skip  # noqa: F401 - before all others, so that an interrupt finds it

import importlib
import sys
from collections.abc import Sequence

from bionemo.scale.files.suggest import suggest
from bionemo.scale.options.parser import version_line
from bionemo.scale.process.command import run_command
from bionemo.scale.types import InputError


COMMANDS = {
    "prepare": "convert h5ad files or zarr stores to a store",
    "split": "hold out perturbations or cell types by a rule",
    "features": "make vectors of genes or drugs that describe perturbations",
    "recipe": "write the settings of a training run to a file, by size and preset",
    "train": "train a network on a store, or fine-tune one",
    "infer": "predict cells or mean expression",
    "export": "write a run as a folder that can be moved and published",
    "submit": "write predicted counts as one file for the Virtual Cell Challenge",
    "rank": "order a virtual screen, or choose what to measure next",
    "evaluate": "score predictions beside simple methods",
    "crossval": "leave out each cell type, donor or perturbation in turn, and pool the scores",
    "report": "write one HTML page of a run and its scores",
}
"""What each does, in the order in which they are used. A command's module has its name."""
_BELOW = {"recipe": "config"}
"""Folder of a command that is not beside this file."""

_SHELLS = ("bash", "zsh")
_HELP = """usage: bionemo-scale COMMAND [OPTIONS]

Predict how cell populations respond to perturbations.

commands:
{commands}

bionemo-scale COMMAND --help lists the options of a command. bionemo-scale-COMMAND is the same command.
bionemo-scale --version prints the version.
bionemo-scale --print-completion bash|zsh prints a script with which the shell completes commands and options.
docs/concepts.md explains the terms."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the first word names, with the words after it."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in COMMANDS:
        module = importlib.import_module(module_of(words[0]))
        return module.main(words[1:])
    return run_command(_without_command, words)


def module_of(command: str) -> str:
    """Return the module of a command."""
    return ".".join(("bionemo.scale.run", *((_BELOW[command],) if command in _BELOW else ()), command))


def _without_command(argv: Sequence[str] | None) -> None:
    if not argv:
        raise InputError(f"expected a command of {', '.join(COMMANDS)}; bionemo-scale --help says what each does")
    first = argv[0]
    if first in ("-h", "--help"):
        print(_HELP.format(commands="\n".join(f"  {name:10}{text}" for name, text in COMMANDS.items())))
    elif first == "--print-completion":
        print(_completion(*argv[1:2]))
    elif first == "--version":
        print(version_line("bionemo-scale"))
    else:
        raise InputError(f"unknown command {first!r}; {suggest(first, COMMANDS)}")


def _completion(shell: str = "") -> str:
    """Return a script for a shell.

    Raises:
        InputError: No script can be made for that shell.
    """
    import argparse

    import shtab

    if shell not in _SHELLS:
        raise InputError(f"--print-completion: expected one of {', '.join(_SHELLS)}, found {shell!r}")
    whole = argparse.ArgumentParser(prog="bionemo-scale")
    commands = whole.add_subparsers()
    for name, text in COMMANDS.items():
        parser = importlib.import_module(module_of(name)).parser()
        for action in parser._actions:
            metavar = str(action.metavar)
            if metavar == "PATH":
                # How shtab is told that an argument is a file.
                action.complete = shtab.FILE
            elif metavar.startswith("{"):
                # The parser leaves them to the settings class, whose refusals are one line.
                action.choices = metavar.strip("{}").split(",")
        commands.add_parser(name, help=text, parents=[parser], add_help=False, argument_default=argparse.SUPPRESS)
    return shtab.complete(whole, shell)


if __name__ == "__main__":
    sys.exit(main())
