# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Settings classes as the parser of a command."""

import argparse
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from bionemo.scale.files.label_list import given_labels
from bionemo.scale.files.provenance import version_of
from bionemo.scale.files.suggest import suggest
from bionemo.scale.files.url import Url
from bionemo.scale.options.fields import REQUIRED, Option, field_docs, options_of
from bionemo.scale.options.settings import Settings
from bionemo.scale.options.values import column_flag, read_text, takes_file
from bionemo.scale.types import InputError


T = TypeVar("T", bound=Settings)
Names = Callable[[str], tuple[str, ...]]
Others = Mapping[type[Settings], Mapping[str, Mapping[str, Mapping[str, Any]]]]
"""Defaults of a class's fields that go with another option, by that option and its value; help shows them."""


class OptionParser(argparse.ArgumentParser):
    """A parser whose options are fields of settings classes; it holds what was given, and no defaults.

    Args:
        classes: The settings.
        prog: Name of the command.
        description: What it does.
        epilog: Last lines of help.
        ways: What to type after the name, a line of help for each way to use the command; without them what
            ``classes`` require.
        others: Defaults beside other options.
    """

    def __init__(
        self,
        *classes: type[Settings],
        prog: str,
        description: str,
        epilog: str | None = None,
        ways: Sequence[str] = (),
        others: Others | None = None,
    ):
        super().__init__(
            prog=prog,
            description=description,
            epilog=epilog,
            allow_abbrev=False,
            argument_default=argparse.SUPPRESS,
        )
        self._positionals.title = "input"
        self.add_argument("--version", action=_ShowVersion, nargs=0, help="show the version and exit")
        self._headings: dict[str, argparse._ArgumentGroup] = {}
        self._others = others or {}
        self.usage = "\n       ".join(f"%(prog)s {way}" for way in ways or [_required(classes)])
        for settings_class in classes:
            self.add_settings(settings_class)

    def add_settings(self, settings_class: type[Settings]) -> None:
        """Add the options of one class."""
        for option in options_of(settings_class):
            self.add_option(option)

    def add_option(self, option: Option, *, dest: str = "", names: Names = lambda flag: (flag,)) -> None:
        """Add one option.

        Args:
            option: The option.
            dest: Where the parsed value goes; without one the name of the field.
            names: All that the option may be called, for the flag of its own.
        """
        group, dest = self._heading(option.group), dest or option.name
        if option.form == "columns":
            docs = field_docs(option.kind)
            for part in dataclasses.fields(option.kind):
                text = f"{docs[part.name]} (default: {part.default})" if part.default else docs[part.name]
                flags = names(column_flag(part.name))
                group.add_argument(*flags, dest=f"{dest}.{part.name}", metavar="COLUMN", help=text)
        elif _is_positional(option):
            group.add_argument(dest, **_positional(option), help=help_text(option))
        elif option.form != "hidden":
            how, text = _HOW[option.form](option), help_text(option, self._others)
            group.add_argument(*names(option.flag), **how, dest=dest, help=text)

    def _heading(self, group: str) -> Any:
        if group and group not in self._headings:
            self._headings[group] = self.add_argument_group(group)
        return self._headings.get(group, self)

    def parse_args(self, args: Iterable[str] | None = None, namespace: Any = None) -> Any:
        """Read a command line.

        Raises:
            InputError: An option is unknown, or a value is of the wrong kind.
        """
        parsed, extra = self.parse_known_args(None if args is None else list(args), namespace)
        for word in extra:
            if word.startswith("-"):
                name = word.partition("=")[0]
                raise InputError(f"unknown option {name}; {suggest(name, self._option_string_actions)}")
        if extra:
            raise InputError(f"expected an option, found {extra[0]!r}")
        # argparse reads its own mark of "nothing" as the value of a positional argument that is not given.
        given = {name: value for name, value in vars(parsed).items() if str(value) != argparse.SUPPRESS}
        return argparse.Namespace(**given)

    def error(self, message: str) -> NoReturn:
        """Refuse in one line.

        Raises:
            InputError: Always.
        """
        raise InputError(message.removeprefix("argument "))


class _ShowVersion(argparse.Action):
    """Reads the version when it is asked for: looking it up takes time."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        print(version_line(parser.prog))  # noqa: T201 - as argparse does
        parser.exit()


def version_line(command: str) -> str:
    """Return what ``--version`` says of a command."""
    return f"{command} {version_of('bionemo-scale')}"


def make_settings(settings_class: type[T], given: argparse.Namespace | Mapping[str, Any]) -> T:
    """Return the settings that a command line gives.

    Args:
        settings_class: Whose fields are taken; what belongs to none of them is left alone.
        given: What :meth:`OptionParser.parse_args` returned, or values by field.

    Raises:
        InputError: Something is missing or not possible.
    """
    return settings_class.make(**given_fields(settings_class, given))


def given_fields(settings_class: type[Settings], given: argparse.Namespace | Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a class's fields that a command line gives."""
    values = given if isinstance(given, Mapping) else vars(given)
    fields: dict[str, Any] = {}
    for option in options_of(settings_class):
        if option.name in values:
            value = values[option.name]
            value = tuple(value) if isinstance(value, list) and option.form != "pairs" else value
            fields[option.name] = _pairs(option, value) if option.form == "pairs" else value
        parts = {key.partition(".")[2]: value for key, value in values.items() if key.startswith(f"{option.name}.")}
        if parts:
            fields[option.name] = parts
    return fields


def _pairs(option: Option, texts: Any) -> dict[str, str]:
    if isinstance(texts, Mapping):
        return dict(texts)
    for text in texts:
        if "=" not in text:
            raise InputError(f"{option.flag} expects KEY=VALUE, found {text!r}")
    return dict(text.split("=", 1) for text in texts)


def _required(classes: Iterable[type[Settings]]) -> str:
    """Return what must be typed after the name of a command."""
    needed = [option for each in classes for option in options_of(each) if option.is_required]
    first = [f"{option.flag} ..." if option.is_many else option.flag for option in needed if _is_positional(option)]
    then = [f"{option.flag} {_value(option)['metavar']}" for option in needed if not _is_positional(option)]
    return " ".join([*first, *then, "[OPTIONS]"])


def _is_positional(option: Option) -> bool:
    return option.form == "positional"


def help_text(option: Option, others: Others | None = None) -> str:
    """Return what help says of an option: the docstring of the field, and its defaults."""
    shown = not isinstance(option.default, bool | dict | None) and option.default not in (REQUIRED, "", ())
    default = "; ".join([_shown(option.default), *other_defaults(option, others or {})])
    text = f"{option.help}: {', '.join(option.choices)}" if option.form == "commas" and option.choices else option.help
    if option.form == "labels":
        text += "; for several, repeat it, put commas between labels, or give @FILE with one per line"
    return (f"{text} (default: {default})" if shown else text).replace("%", "%%")


def other_defaults(option: Option, others: Others) -> list[str]:
    """Return the further defaults of an option, each with the option and the values that it goes with."""
    found: dict[tuple[str, str], list[str]] = {}
    for flag, by_value in others.get(option.owner, {}).items():
        for value, defaults in by_value.items():
            if defaults.get(option.name, option.default) != option.default:
                found.setdefault((_shown(defaults[option.name]), flag), []).append(value)
    return [f"{default} with {flag} {' or '.join(values)}" for (default, flag), values in found.items()]


def _shown(default: Any) -> str:
    if isinstance(default, tuple):
        return ", ".join(map(str, default))
    return f"{default:g}" if isinstance(default, float) else str(default)


def _value(option: Option) -> dict[str, Any]:
    choices = "{" + ",".join(option.choices) + "}" if option.choices else ""
    usual = "PATH|URL" if Url in option.others else _METAVARS.get(option.kind, "TEXT")
    return {"type": _reader(option), "metavar": option.metavar or choices or usual}


_METAVARS: dict[type, str] = {int: "N", float: "X", Path: "PATH"}


def _reader(option: Option) -> Callable[[str], Any]:
    return lambda text: read_text(option, text)


def _names_reader(option: Option) -> Callable[[str], tuple]:
    return lambda text: tuple(read_text(option, name) for name in text.split(",") if name)


def _labels(option: Option) -> dict[str, Any]:
    return {**_value(option), "action": "extend", "type": given_labels}


def _positional(option: Option) -> dict[str, Any]:
    # Whether one is needed is found when the settings are made, in one line and after unknown options.
    return {"nargs": "*" if option.is_many else "?", "metavar": option.flag, "type": _reader(option)}


_HOW: dict[str, Callable[[Option], dict[str, Any]]] = {
    "value": _value,
    "flag": lambda option: {"action": "store_true"},
    "repeat": lambda option: _labels(option) if takes_file(option) else {"action": "append", **_value(option)},
    "labels": lambda option: {**_labels(option), "metavar": option.metavar or "A,B"},
    "commas": lambda option: {"type": _names_reader(option), "metavar": option.metavar or "A,B"},
    "words": lambda option: {"nargs": "+", **_value(option)},
    "pairs": lambda option: {"action": "append", "metavar": option.metavar or "KEY=VALUE"},
}
