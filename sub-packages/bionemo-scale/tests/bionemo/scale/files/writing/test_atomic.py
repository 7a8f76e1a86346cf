# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import gc
import os
from pathlib import Path

import numpy as np
import pytest

from bionemo.scale.files.writing.atomic import (
    atomic,
    remove_dead,
    remove_dead_in,
    remove_leftovers,
    remove_leftovers_in,
    temporary_name,
    write_arrays,
    write_text,
)
from bionemo.scale.types import InputError


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
    others = (".a.json.gz.0badf00d-17.tmp", ".ab.json.0badf00d-17.tmp", ".a.json.mine.tmp", ".a.json.old", "a.json")
    for name in (".a.json.0badf00d-17.tmp", *others):
        (tmp_path / name).write_text("")
    make_folder(tmp_path / ".a.json.0badf00d-18.tmp", "x")
    remove_leftovers(tmp_path / "a.json")
    remove_leftovers(tmp_path / "missing" / "a.json")
    assert names(tmp_path) == sorted(others)
    remove_leftovers_in(tmp_path / "missing")
    remove_leftovers_in(tmp_path)
    assert names(tmp_path) == sorted(others[2:])


def test_a_kill_between_two_renames_loses_nothing_and_leaves_nothing(tmp_path):
    make_folder(tmp_path / ".made.old", "old")
    remove_leftovers(tmp_path / "made")
    assert names(tmp_path) == [".made.old"]
    with atomic(tmp_path / "made") as temporary:
        make_folder(temporary, "new")
    assert names(tmp_path) == ["made"] and names(tmp_path / "made") == ["new"]
    make_folder(tmp_path / ".made.old", "old")
    remove_leftovers(tmp_path / "made")
    assert names(tmp_path) == ["made"]


def test_an_archive_on_a_full_disk_leaves_nothing_open(tmp_path, monkeypatch, capsys):
    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        write_arrays(tmp_path / "a.npz", {"a": np.zeros(3)})
    gc.collect()
    assert list(tmp_path.iterdir()) == [] and capsys.readouterr().err == ""


def test_leftovers_of_dead_processes_are_removed_and_of_others_not(tmp_path):
    target = tmp_path / "a.html"
    mine = temporary_name(target)
    dead = mine.with_name(mine.name.replace(f"-{os.getpid()}.", "-99999999."))
    elsewhere = mine.with_name(".a.html.0badf00d-99999999.tmp")
    for path in (mine, dead, elsewhere):
        path.touch()
    remove_dead(target)
    assert names(tmp_path) == sorted([mine.name, elsewhere.name])
    dead.touch()
    remove_dead_in(tmp_path)
    assert names(tmp_path) == sorted([mine.name, elsewhere.name])


def test_a_device_is_not_replaced(tmp_path):
    """As root, --out /dev/null would be the end of it for all programs of the machine."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(InputError, match="pipe: expected a file or a folder to write, found something else"):
        write_text(path, "a page")
    assert path.is_fifo() and names(tmp_path) == ["pipe"]
