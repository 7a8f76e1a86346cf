# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pytest

from bionemo.scale.data.folds.folds import fold_split, make_folds
from bionemo.scale.data.folds.resplit import resplit
from bionemo.scale.data.prepare.inspection import verify_store
from bionemo.scale.data.store.reader import Store
from bionemo.scale.files.writing.atomic import temporary_name
from bionemo.scale.types import InputError, Split


SPLIT = '[training]\nscreen0 = "train"\n[zeroshot]\n"screen0.A" = "test"\n'


def silent(stage, count, total):
    pass


@pytest.fixture
def whole(make_store, screen):
    return make_store(screen, num_hvg=0)


def test_it_is_the_store_that_the_split_file_makes(whole, make_store, screen, tmp_path):
    """But for the versions and names of files, to the byte."""
    (tmp_path / "split.toml").write_text(SPLIT)
    prepared = make_store(screen, num_hvg=0, split=tmp_path / "split.toml", out=tmp_path / "prepared")
    fold = make_folds(whole.groups, "cell-type")[0]
    resplit(whole.path, tmp_path / "fold", fold_split(whole.groups, "cell-type", fold))
    for name in ("manifest.json", "split.json"):
        assert (tmp_path / "fold" / name).read_text() == (prepared.path / name).read_text()


def test_cells_are_not_copied_and_the_store_is_as_it_was(whole, tmp_path):
    before = whole.identity
    fold = make_folds(whole.groups, "batch")[1]
    resplit(whole.path, tmp_path / "fold", fold_split(whole.groups, "batch", fold))
    with Store.open(tmp_path / "fold") as store:
        assert store.is_split_by_batch and not whole.is_split_by_batch
        chosen = store.groups.perturbed_in(Split.TEST)
        assert {store.groups.label(index).batch for index in chosen} == {"b1"}
        assert {store.groups.label(index).batch for index in store.groups.perturbed_in(Split.TRAIN)} == {"b0"}
        assert store.groups.is_control.sum() == 4 and store.identity != before == whole.identity
        np.testing.assert_array_equal(store.read([3, 1]).toarray(), whole.read([3, 1]).toarray())
    verify_store(tmp_path / "fold", silent)
    lmdb = "perturbed-00000.lmdb"
    assert (tmp_path / "fold" / lmdb).stat().st_ino == (whole.path / lmdb).stat().st_ino
    fields = json.loads((tmp_path / "fold" / "split.json").read_text())
    assert fields["columns"] == ["dataset", "cell_type", "perturbation", "batch", "split", "cells"]


def test_a_fold_can_be_made_of_a_fold(whole, tmp_path):
    first, second = (fold_split(whole.groups, "batch", fold) for fold in make_folds(whole.groups, "batch"))
    resplit(whole.path, tmp_path / "one", first)
    resplit(tmp_path / "one", tmp_path / "two", second)
    resplit(whole.path, tmp_path / "three", second)
    assert Store.open(tmp_path / "two").identity == Store.open(tmp_path / "three").identity


def test_a_store_that_lacks_a_file_is_refused(whole, tmp_path):
    (whole.path / "obs-00000.parquet").unlink()
    split = fold_split(whole.groups, "batch", make_folds(whole.groups, "batch")[0])
    with pytest.raises(InputError, match=r"obs-00000.parquet: expected \d+ bytes, found none"):
        resplit(whole.path, tmp_path / "fold", split)
    assert not (tmp_path / "fold").exists()


def test_what_a_killed_process_left_is_removed(whole, tmp_path):
    left = temporary_name(tmp_path / "fold")
    left.mkdir()
    fold = make_folds(whole.groups, "batch")[1]
    resplit(whole.path, tmp_path / "fold", fold_split(whole.groups, "batch", fold))
    assert not left.exists()
