# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import os
import shutil
from contextlib import nullcontext
from dataclasses import asdict

import pytest

from bionemo.scale.crossval.notes import check_note, read_note, stamped, stamps_of_same, write_note
from bionemo.scale.files.provenance import hash_file
from bionemo.scale.types import InputError, ObsKeys


DEFAULTS = {"preset": "default", "seed": 0, "freeze": []}


def check(tmp_path, before, now):
    check_note(tmp_path / "note.json", before, now, what="a fold", defaults=DEFAULTS)


def test_a_note_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "fold" / "note.json"
    write_note(path, {"data": "0", "units": [["a"]]})
    assert read_note(path) == {"data": "0", "units": [["a"]]}
    path.write_text("[1]")
    assert read_note(path) == {}


def test_an_option_that_an_earlier_version_did_not_have_is_at_its_default(tmp_path):
    check(tmp_path, {"data": "0"}, {"data": "0", "preset": "default", "freeze": ()})
    with pytest.raises(InputError, match=r"expected preset 'default', found 'paper'; choose another --out, or remove"):
        check(tmp_path, {"data": "0"}, {"data": "0", "preset": "paper"})
    with pytest.raises(InputError, match="expected data None, found '0'"):
        check(tmp_path, {}, {"data": "0"})


def test_a_part_of_an_option_that_an_earlier_version_did_not_have_is_at_its_default(tmp_path):
    before = asdict(ObsKeys(batch="donor"))
    now = dict(before)
    del before["covariate"]
    for keys, is_same in ((now, True), ({**now, "covariate": "time"}, False)):
        with nullcontext() if is_same else pytest.raises(InputError, match="a store of other settings: expected keys"):
            check_note(tmp_path / "n", {"keys": before}, {"keys": keys}, what="a store", defaults={"keys": ObsKeys()})


def test_settings_of_the_training_are_compared_one_by_one(tmp_path):
    check(tmp_path, {"training": {"lr": 0.1}}, {"training": {"lr": 0.1, "seed": 0}})
    with pytest.raises(InputError, match="a fold of other settings: expected seed 0, found 1"):
        check(tmp_path, {"training": {"lr": 0.1}}, {"training": {"lr": 0.1, "seed": 1}})
    with pytest.raises(InputError, match="expected training True, found False"):
        check(tmp_path, {"training": {"lr": 0.1}}, {"training": None})


def test_a_moved_or_copied_file_is_the_same_and_a_changed_one_is_not(tmp_path):
    path, copy = tmp_path / "screen.h5ad", tmp_path / "elsewhere" / "screen.h5ad"
    path.write_text("cells")
    before, hashes = [stamped(path)], {hash_file(path)}
    copy.parent.mkdir()
    shutil.copyfile(path, copy)
    os.utime(copy, ns=(5, 5))
    assert stamps_of_same([copy], before, hashes) == before
    # As earlier versions noted it.
    whole = [[str(path), *before[0][1:]]]
    assert stamps_of_same([path], whole, set()) == whole and stamps_of_same([copy], whole, hashes) == whole
    copy.write_text("other")
    assert stamps_of_same([copy], before, hashes) == [stamped(copy)] != before
    for damaged in (None, [], [3], [[]]):
        assert stamps_of_same([path], damaged, hashes) == [stamped(path)]
