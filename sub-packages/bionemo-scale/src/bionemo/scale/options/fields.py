# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The fields of a settings class as the options of a command: name, type, range, default and help."""

import ast
import dataclasses
import inspect
import types
import typing
from collections.abc import Collection, Hashable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from textwrap import dedent
from typing import Any, Literal

from bionemo.scale.options.limits import Limits


Form = Literal["value", "flag", "repeat", "labels", "commas", "words", "positional", "pairs", "columns", "hidden"]
"""How a command line gives a field.

value: ``--name VALUE``. flag: ``--name``. repeat: ``--name A --name B``, of labels ``--name @FILE`` too. labels: the
same, or ``--name A,B``, kept whole until the labels are known (:mod:`bionemo.scale.files.label_list`). commas:
``--name A,B``. words: ``--name A B``. positional: ``A B``. pairs: ``--name KEY=VALUE``, repeated. columns: an option
``--part-key`` for each part of :class:`bionemo.scale.types.ObsKeys`. hidden: in Python alone.
"""
REQUIRED = dataclasses.MISSING


def option(
    default: Any = REQUIRED,
    *,
    flag: str = "",
    form: Form | None = None,
    metavar: str = "",
    limits: Limits | None = None,
    choices: Collection[str] = (),
    group: str = "",
    part: str = "",
) -> Any:
    """Return a field with what its type, default and docstring do not say of the option.

    Args:
        default: Of the field; without one the option is required.
        flag: Name of the option; without one that of the field with dashes.
        form: How a command line gives it; without one as the type says.
        metavar: What help calls the value.
        limits: Numbers that may be given.
        choices: Texts that may be given, where they are the keys of a table and no Literal.
        group: Heading of the option in help.
        part: Of a run, in which a file of settings or a recipe has the field.
    """
    own = {"flag": flag, "form": form, "metavar": metavar, "limits": limits, "choices": choices, "group": group}
    own["part"] = part
    if isinstance(default, dict):
        return dataclasses.field(default_factory=default.copy, metadata=own)
    return dataclasses.field(default=default, metadata=own)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Option:
    """A field of a settings class."""

    name: str
    flag: str
    """As it is typed; of a positional argument what help calls it."""
    form: Form
    kind: type
    """Of the value, or of each of several."""
    values: type | None
    """Of each value of pairs, ``None`` where there may be any."""
    others: tuple[type, ...]
    """Types that Python may give besides."""
    choices: tuple[str, ...]
    default: Any
    is_optional: bool
    """Whether the value may be ``None``."""
    is_many: bool
    limits: Limits | None
    metavar: str
    group: str
    owner: type
    """The settings class."""

    @property
    def help(self) -> str:
        """Docstring of the field; the source is read when help is asked for, and not to check a value."""
        return field_docs(self.owner).get(self.name, "")

    @property
    def is_required(self) -> bool:
        """Whether there is no default."""
        return self.default is REQUIRED


def options_of(settings_class: type) -> tuple[Option, ...]:
    """Return the options of a settings class, in the order of its fields."""
    return _options_of(typing.cast(Hashable, settings_class))


@cache
def _options_of(settings_class: Any) -> tuple[Option, ...]:
    hints = typing.get_type_hints(settings_class)
    return tuple(_option(field, hints[field.name], settings_class) for field in dataclasses.fields(settings_class))


def _option(field: dataclasses.Field, hint: Any, owner: type) -> Option:
    own, members = field.metadata, tuple(_members(hint))
    literals = tuple(member for member in members if isinstance(member, str))
    kinds = tuple(member for member in members if member is not type(None) and not isinstance(member, str))
    kind = str if literals else kinds[0]
    is_many = typing.get_origin(kind) is tuple
    if is_many:
        entries = tuple(_members(typing.get_args(kind)[0]))
        literals = tuple(member for member in entries if isinstance(member, str))
        kind, kinds = str if literals else entries[0], (kinds[0], *entries[1:])
    form = own.get("form") or _form(kind, is_many=is_many)
    name = own.get("flag") or f"--{field.name.replace('_', '-')}"
    return Option(
        name=field.name,
        flag=(own.get("metavar") or field.name.upper()) if form == "positional" else name,
        form=form,
        kind=typing.get_origin(kind) or kind,
        values=str if form == "pairs" and typing.get_args(kind)[1:] == (str,) else None,
        others=kinds[1:],
        choices=literals or tuple(own.get("choices") or ()),
        default=_default(field),
        is_optional=type(None) in members,
        is_many=is_many,
        limits=own.get("limits"),
        metavar=own.get("metavar") or "",
        group=own.get("group") or "",
        owner=owner,
    )


def _members(hint: Any) -> Iterator[Any]:
    """Yield the types of a union and the values of a Literal."""
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) in (typing.Union, Literal):
        for part in typing.get_args(hint):
            yield from _members(part)
    else:
        yield hint


def _form(kind: Any, *, is_many: bool) -> Form:
    if is_many:
        return "repeat"
    if typing.get_origin(kind) is dict:
        return "pairs"
    if dataclasses.is_dataclass(kind):
        return "columns"
    return "flag" if kind is bool else "value"


def _default(field: dataclasses.Field) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


@cache
def field_docs(settings_class: type) -> dict[str, str]:
    """Return the docstring of each field of a dataclass and of those it inherits from, as plain text."""
    docs: dict[str, str] = {}
    for base in reversed(settings_class.__mro__):
        if dataclasses.is_dataclass(base):
            docs |= _own_docs(base)
    return docs


def _own_docs(settings_class: type) -> dict[str, str]:
    (tree,) = ast.parse(dedent(inspect.getsource(settings_class))).body
    docs: dict[str, str] = {}
    body = tree.body if isinstance(tree, ast.ClassDef) else []
    for before, node in pairwise(body):
        match before, node:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                docs[name] = " ".join(text.replace("``", "").split()).removesuffix(".")
    return docs


def path_options(settings_class: type) -> tuple[str, ...]:
    """Return the names of the fields that hold paths."""
    return tuple(each.name for each in options_of(settings_class) if each.kind is Path)
