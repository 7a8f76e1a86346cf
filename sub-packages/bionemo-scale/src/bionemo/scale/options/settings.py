# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The base of every settings class."""

import json
from dataclasses import asdict, is_dataclass
from typing import Any, TypeVar, cast

from bionemo.scale.options.fields import options_of
from bionemo.scale.options.values import checked, known_fields
from bionemo.scale.types import InputError


T = TypeVar("T", bound="Settings")


class Settings:
    """What a user decides about one command: a frozen dataclass, each of whose fields is an option.

    Values are checked when an object is made, whether a command line, a recipe or Python gave them.

    Raises:
        InputError: A value is not possible; the line names the option.
    """

    @classmethod
    def make(cls: type[T], **fields: Any) -> T:
        """Return settings of values as a command line or a notebook has them: paths as text, tuples as lists.

        Args:
            fields: Values by field; those that are left out have their default.

        Raises:
            InputError: A name is no field, a value is missing or not possible.
        """
        given = cls.checked(**fields)
        missing = [each.flag for each in options_of(cls) if each.is_required and each.name not in given]
        if missing:
            raise InputError(f"the following arguments are required: {', '.join(missing)}")
        return cls(**given)

    @classmethod
    def checked(cls, **fields: Any) -> dict[str, Any]:
        """Return values of some fields, each in its type and range; what goes with what is not looked at.

        Raises:
            InputError: A name is no field, or a value is not possible.
        """
        given = known_fields(cls, fields)
        return {each.name: checked(each, given[each.name]) for each in options_of(cls) if each.name in given}

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Return plain values by field, as :meth:`as_dict`, of those that have a default."""
        return _plain({each.name: each.default for each in options_of(cls) if not each.is_required})

    def __post_init__(self) -> None:
        for option in options_of(type(self)):
            object.__setattr__(self, option.name, checked(option, getattr(self, option.name)))
        self.check()

    def check(self) -> None:
        """Refuse values that do not go with one another; each of them alone is possible.

        Raises:
            InputError: Naming the options.
        """

    def as_dict(self) -> dict[str, Any]:
        """Return plain values by field, as JSON or YAML keeps them."""
        return _plain(asdict(cast(Any, self)))


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(values, default=_plain_value))


def _plain_value(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)
