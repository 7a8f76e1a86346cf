# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import os

import pytest

from bionemo.scale.files.writing.atomic import atomic, remove_leftovers, temporary_name, write_text


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def make_folder(path, text):
    path.mkdir()
    (path / text).write_text(text)


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new" and names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("before", ["nothing", "empty", "full"])
def test_a_folder_takes_the_place_of_another(tmp_path, before):
    path = tmp_path / "made"
    if before != "nothing":
        path.mkdir()
    if before == "full":
        (path / "old").write_text("old")
    with atomic(path) as temporary:
        make_folder(temporary, "new")
    assert names(path) == ["new"] and names(tmp_path) == ["made"]


@pytest.mark.parametrize("make", [lambda path: path.write_text("new"), lambda path: make_folder(path, "new")])
def test_what_breaks_off_leaves_what_was_there(tmp_path, make):
    (tmp_path / "a").write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic(tmp_path / "a") as temporary:
        make(temporary)
        raise KeyboardInterrupt
    assert names(tmp_path) == ["a"] and (tmp_path / "a").read_text() == "old"


def test_a_name_may_be_as_long_as_a_name_can_be(tmp_path):
    path = tmp_path / ("n" * 250 + ".json")
    write_text(path, "{}")
    assert names(tmp_path) == [path.name]


def test_a_folder_that_cannot_be_moved_leaves_the_old_one(tmp_path, monkeypatch):
    make_folder(tmp_path / "made", "old")
    rename = type(tmp_path).rename

    def refuse(self, target):
        if self == temporary_name(tmp_path / "made"):
            raise OSError(28, os.strerror(28))
        return rename(self, target)

    monkeypatch.setattr(type(tmp_path), "rename", refuse)
    with pytest.raises(OSError, match="No space left"), atomic(tmp_path / "made") as temporary:
        make_folder(temporary, "new")
    assert names(tmp_path) == ["made"] and names(tmp_path / "made") == ["old"]


def test_leftovers_of_killed_processes_are_removed(tmp_path):
    for name in (".a.json.17.tmp", ".ab.json.17.tmp", "a.json"):
        (tmp_path / name).write_text("")
    make_folder(tmp_path / ".a.json.18.tmp", "x")
    remove_leftovers(tmp_path / "a.json")
    remove_leftovers(tmp_path / "missing" / "a.json")
    assert names(tmp_path) == [".ab.json.17.tmp", "a.json"]
