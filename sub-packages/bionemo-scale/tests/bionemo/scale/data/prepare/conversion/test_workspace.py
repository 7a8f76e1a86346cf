# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import multiprocessing
import os

import pytest

from bionemo.scale.data.prepare.conversion.workspace import WORK_NAME, tidy_store, workspace
from bionemo.scale.types import InputError


COMMAND = {"what": "store", "inputs": ["a"]}


def test_the_folder_appears_when_it_is_complete(tmp_path):
    out = tmp_path / "deep" / "store"
    with workspace(out, COMMAND) as folder:
        (folder / "cells").write_text("all")
        (folder / WORK_NAME / "notes").write_text("gone afterwards")
        assert not out.exists()
    assert [path.name for path in out.iterdir()] == ["cells"]
    assert [path.name for path in out.parent.iterdir()] == ["store"]


def test_refused_input_leaves_nothing(tmp_path):
    with pytest.raises(InputError, match="wrong"), workspace(tmp_path / "store", COMMAND):
        raise InputError("wrong")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_what_was_done_is_kept_when_something_else_stops_it(tmp_path, error):
    """A full disk is told in a line that says that the command continues."""
    with pytest.raises((KeyboardInterrupt, InputError)) as stopped, workspace(tmp_path / "store", COMMAND) as folder:
        (folder / "half").write_text("done")
        raise error
    if stopped.type is InputError:
        assert "No space left on device; when that is mended, the same command continues" in str(stopped.value)
    with workspace(tmp_path / "store", COMMAND) as folder:
        assert (folder / "half").read_text() == "done"
    assert (tmp_path / "store" / "half").exists()


def test_an_interrupt_before_anything_was_done_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), workspace(tmp_path / "store", COMMAND):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_another_command_is_told_from_this_one(tmp_path):
    with pytest.raises(KeyboardInterrupt), workspace(tmp_path / "store", COMMAND) as folder:
        (folder / "half").write_text("done")
        raise KeyboardInterrupt
    with pytest.raises(InputError, match=r"unfinished conversion with other genes, inputs; give the same command"):
        with workspace(tmp_path / "store", {"what": "store", "inputs": ["b"], "genes": 3}):
            pass
    with workspace(tmp_path / "store", COMMAND):
        pass


def _enter(out, entered, leave):
    with workspace(out, COMMAND):
        entered.set()
        leave.wait(60)


def test_two_writers_do_not_meet(tmp_path):
    context = multiprocessing.get_context("fork")
    entered, leave = context.Event(), context.Event()
    process = context.Process(target=_enter, args=(tmp_path / "store", entered, leave))
    process.start()
    assert entered.wait(60)
    with pytest.raises(InputError, match="another process is making it"), workspace(tmp_path / "store", COMMAND):
        pass
    leave.set()
    process.join(60)
    assert process.exitcode == 0 and (tmp_path / "store").is_dir()


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(InputError, match="store: cannot be made: "), workspace(tmp_path / "file" / "store", COMMAND):
        pass


def test_an_older_store_gives_way_in_the_end(tmp_path):
    out = tmp_path / "store"
    for text in ("first", "second"):
        with workspace(out, {"text": text}) as folder:
            (folder / "cells").write_text(text)
            if text == "second":
                assert (out / "cells").read_text() == "first"
    assert (out / "cells").read_text() == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_file_that_was_killed_as_it_was_written_is_no_part_of_the_store(tmp_path):
    with pytest.raises(KeyboardInterrupt), workspace(tmp_path / "store", COMMAND) as folder:
        (folder / ".manifest.json.0badf00d-17.tmp").write_text("half")
        raise KeyboardInterrupt
    with workspace(tmp_path / "store", COMMAND):
        pass
    assert list((tmp_path / "store").iterdir()) == []


def test_a_finished_store_is_tidied(tmp_path):
    store = tmp_path / "store"
    for name in (store / WORK_NAME, tmp_path / ".store.old", tmp_path / ".other.old"):
        name.mkdir(parents=True)
    for name in (".lock", "cells"):
        (store / name).touch()
    tidy_store(store)
    assert [path.name for path in store.iterdir()] == ["cells"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other.old", "store"]


def test_a_store_is_made_where_what_is_beside_it_cannot_be_removed(tmp_path, monkeypatch):
    """Later it is tidied."""

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    store = tmp_path / "store"
    with monkeypatch.context() as patched, workspace(store, COMMAND) as folder:
        (folder / "cells").touch()
        for name in ("unlink", "rmdir"):
            patched.setattr(os, name, full)
    assert sorted(path.name for path in store.iterdir()) == [".lock", WORK_NAME, "cells"]
    tidy_store(store)
    assert [path.name for path in store.iterdir()] == ["cells"]
