# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The base of every settings class."""

import json
from dataclasses import asdict
from typing import Any

from bionemo.scale.options.fields import options_of
from bionemo.scale.options.values import checked


class Settings:
    """What a user decides about one command: a frozen dataclass, each of whose fields is an option.

    Values are checked when an object is made, whether a command line, a recipe or Python gave them.

    Raises:
        InputError: A value is not possible; the line names the option.
    """

    def __post_init__(self):
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
        return json.loads(json.dumps(asdict(self), default=str))
