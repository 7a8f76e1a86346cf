# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import contextlib
import os

import pytest

from bionemo.scale.options import outputs
from bionemo.scale.options.outputs import check_absent, check_not_inputs, new_file
from bionemo.scale.types import InputError


@pytest.mark.parametrize("way", ["itself", "symlink", "hard link", "dots"])
def test_an_input_is_known_by_any_name(tmp_path, way):
    source, other = tmp_path / "cells.h5ad", tmp_path / "out.h5ad"
    source.write_text("cells")
    output = {"itself": source, "dots": tmp_path / "x" / ".." / "cells.h5ad"}.get(way, other)
    (tmp_path / "x").mkdir()
    if way == "symlink":
        other.symlink_to(source)
    if way == "hard link":
        os.link(source, other)
    with pytest.raises(InputError, match=r"would replace the input .*cells\.h5ad"):
        check_not_inputs([tmp_path / "new.h5ad", output], [None, tmp_path / "gone", source])


def test_a_folder_that_is_replaced_holds_no_input(tmp_path):
    (tmp_path / "store").mkdir()
    source = tmp_path / "store" / "cells.h5ad"
    source.write_text("cells")
    with pytest.raises(InputError, match="store: would replace the input"):
        check_not_inputs([tmp_path / "store"], [source])
    check_not_inputs([tmp_path / "store" / "other.h5ad"], [source])


def test_what_is_there_is_not_replaced(tmp_path):
    check_absent([tmp_path / "new"])
    (tmp_path / "old").write_text("")
    with pytest.raises(InputError, match="old: exists already; choose another --out or give --overwrite"):
        check_absent([tmp_path / "new", tmp_path / "old"])


def test_a_file_that_another_command_has_just_made_is_not_replaced(tmp_path, monkeypatch):
    """Both found nothing there; the second has the lock when the first is done."""
    out = tmp_path / "ranks.csv"

    @contextlib.contextmanager
    def late(path):
        path.write_text("of the first")
        yield

    monkeypatch.setattr(outputs, "only_writer", late)
    with pytest.raises(InputError, match="exists already"), new_file(out, [], overwrite=False):
        out.write_text("of the second")
    assert out.read_text() == "of the first"
    with new_file(out, [], overwrite=True):
        out.write_text("of the second")
    assert out.read_text() == "of the second"
