# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Settings as a YAML file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bionemo.scale.files.writing.atomic import write_text
from bionemo.scale.files.writing.lock import only_writer
from bionemo.scale.types import InputError


def write_yaml(path: Path, values: Mapping[str, Any]) -> None:
    """Write plain values to a new file.

    Raises:
        InputError: The file exists, or another command writes it.
    """
    # Late, as commands that read no YAML start without it.
    import yaml

    with only_writer(path):
        if path.exists():
            raise InputError(f"{path}: exists already; choose another file, or remove it")
        write_text(path, yaml.safe_dump(dict(values), sort_keys=False))
