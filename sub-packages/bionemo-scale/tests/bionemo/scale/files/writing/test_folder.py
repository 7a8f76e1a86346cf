# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import os

import pytest

from bionemo.scale.files.writing.folder import new_folder, temporary_folder


def test_what_was_made_in_vain_is_gone_with_its_parents(tmp_path):
    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "a" / "b"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_what_came_of_it_stays(tmp_path):
    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "file").touch()
        raise KeyboardInterrupt
    assert (tmp_path / "a" / "b" / "file").exists()


def test_a_folder_of_others_is_never_removed(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").touch()
    with new_folder(tmp_path / "there") as folder:
        folder.remove()
    assert (tmp_path / "there" / "file").exists()


def test_a_new_folder_is_removed_with_what_is_in_it(tmp_path):
    with new_folder(tmp_path / "a" / "b") as folder:
        (folder.path / "file").touch()
        folder.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_temporary_folder_that_cannot_be_removed_fails_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with temporary_folder("mine-") as folder:
        (folder / "log.txt").touch()
        assert folder.parent == tmp_path and folder.name.startswith("mine-")
    assert list(tmp_path.iterdir()) == []

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, temporary_folder() as folder:
        (folder / "log.txt").touch()
        patched.setattr(os, "unlink", full)
    assert [path.name for path in folder.iterdir()] == ["log.txt"]
