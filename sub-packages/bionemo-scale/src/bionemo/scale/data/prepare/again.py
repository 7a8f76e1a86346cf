# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The store of cells that are given anew with every call, as those of a notebook are."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from bionemo.scale.data.prepare.conversion.workspace import tidy_store
from bionemo.scale.data.prepare.preprocess import prepare
from bionemo.scale.data.prepare.settings import PrepareSettings
from bionemo.scale.data.store.manifest import read_manifest
from bionemo.scale.types import InputError


_OF_FILES = ("inputs", "versions")
"""Fields of a manifest about the files that were read and the versions of packages."""


def prepare_once(config: PrepareSettings, folder: Path) -> bool:
    """Make a store, unless one with the same content is there.

    Args:
        config: What and how.
        folder: For a second store, which is compared with the one that is there and removed.

    Returns:
        Whether the store was made.

    Raises:
        InputError: The input cannot be used, or the store that is there has another content; it stays as it is.
    """
    if not config.out.exists():
        prepare(config)
        return True
    second = folder / f"{config.out.name}-again"
    try:
        prepare(replace(config, out=second))
        is_same = _content(second) == _content(config.out)
    finally:
        shutil.rmtree(second, ignore_errors=True)
    if not is_same:
        raise InputError(
            f"{config.out}: expected the store of these cells and options, found another; choose another --out, or "
            f"remove {config.out.parent}"
        )
    tidy_store(config.out)
    return False


def _content(store: Path) -> dict[str, Any]:
    fields = json.loads(read_manifest(store).to_json())
    return {name: value for name, value in fields.items() if name not in _OF_FILES}
