# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Settings as a YAML file: one key a field, checked as options are."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from bionemo.scale.files.text import read_yaml
from bionemo.scale.files.writing.atomic import write_text
from bionemo.scale.options.settings import Settings
from bionemo.scale.types import InputError


def write_settings(path: Path, settings: Settings, *, without: Collection[str] = ()) -> None:
    """Write settings to a file that :func:`read_settings` reads.

    Args:
        path: File to write; there must be none.
        settings: The settings.
        without: Names of fields to leave out.

    Raises:
        InputError: The file exists.
    """
    # Late, as commands that read no YAML start without it.
    import yaml

    if path.exists():
        raise InputError(f"{path}: exists already; choose another file, or remove it")
    values = {name: value for name, value in settings.as_dict().items() if name not in without}
    write_text(path, yaml.safe_dump(values, sort_keys=False))


def read_settings(path: Path, settings_class: type[Settings]) -> dict[str, Any]:
    """Return the values of a class's fields that a file gives.

    Raises:
        InputError: It cannot be read, a key is no field, or a value is not possible.
    """
    values = read_yaml(path)
    try:
        return settings_class.checked(**{str(name): value for name, value in values.items()})
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
