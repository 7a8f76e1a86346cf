# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from pathlib import Path

import pytest

from bionemo.scale.data.prepare.again import prepare_once
from bionemo.scale.data.prepare.settings import PrepareSettings
from bionemo.scale.types import InputError


def made(store: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in store.iterdir()}


def test_the_same_cells_keep_the_store_and_others_are_refused(tmp_path, screen):
    """Files of another name and place with the same cells are the same; other cells and other options are not."""
    first, second = tmp_path / "screen.h5ad", tmp_path / "elsewhere" / "screen.h5ad"
    second.parent.mkdir()
    for path in (first, second):
        screen.write_h5ad(path)
    config = PrepareSettings(inputs=(first,), out=tmp_path / "run" / "store", num_hvg=20)
    work = tmp_path / "work"
    work.mkdir()
    assert prepare_once(config, work)
    before = made(config.out)
    # What a stop just after it was made has left.
    (config.out / ".lock").touch()
    assert not prepare_once(replace(config, inputs=(second,)), work)
    with pytest.raises(InputError, match=r"store: expected the store of these cells and options, found another; ch"):
        prepare_once(replace(config, num_hvg=10), work)
    screen[:-10].write_h5ad(second)
    with pytest.raises(InputError, match="found another"):
        prepare_once(replace(config, inputs=(second,)), work)
    assert made(config.out) == before and list(work.iterdir()) == []
