# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import pickle
import tempfile
from pathlib import Path

import anndata as ad
import numpy as np
import pytest

from bionemo.scale.notebook.cells import each_cells, forget_unfinished, given_files, is_anndata, is_cells
from bionemo.scale.types import InputError


@pytest.fixture
def cells() -> ad.AnnData:
    return ad.AnnData(np.eye(3, 2, dtype=np.float32))


def test_an_object_is_a_file_for_the_time_of_a_call(cells, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with given_files() as files:
        path = files.path(cells, "real", matrix="X")
        np.testing.assert_array_equal(ad.read_h5ad(path).X, cells.X)
        assert files.path("a.h5ad", "pred") == Path("a.h5ad") and not files.is_empty
        assert files.named(f"{path}: no genes") == "real: no genes"
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_names_the_argument(cells):
    with pytest.raises(InputError) as refused, given_files() as files:
        raise InputError(f"{files.path(cells, 'real')}: no obs column")
    assert str(refused.value) == "real: no obs column"


def test_one_or_several(cells):
    assert each_cells("a.h5ad") == ["a.h5ad"] and each_cells(Path("a")) == [Path("a")]
    assert each_cells(cells) == [cells] and each_cells([cells, "b"]) == [cells, "b"]
    assert is_anndata(cells) and not is_anndata(pickle)
    assert is_cells(cells) and is_cells(["b"]) and not is_cells("a.h5ad") and not is_cells(Path("a"))


def test_what_cannot_be_continued_is_removed(tmp_path):
    (tmp_path / ".store.partial").mkdir()
    forget_unfinished(tmp_path / "store")
    assert list(tmp_path.iterdir()) == []
