# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What the command refuses before it imports a network."""

import os
from dataclasses import replace
from pathlib import Path

import anndata
import pytest

from bionemo.scale.data.store.format import MANIFEST_NAME
from bionemo.scale.files.provenance import hash_file
from bionemo.scale.infer.output.measured_cells import STORE_CONTENT, keeps_measured_cells, settle, unsettled_path
from bionemo.scale.infer.settings import InferSettings
from bionemo.scale.run.infer import _check_absent, main
from bionemo.scale.types import InputError


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    path = tmp_path / "cells.h5ad"
    path.write_bytes(b"cells")
    return path


def infer(capsys, *options: object) -> str:
    assert main(["--checkpoint", "run", *map(str, options)]) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("more", [(), ("--overwrite",)])
def test_an_input_is_never_replaced(capsys, cells, tmp_path, more):
    link = tmp_path / "link.h5ad"
    link.symlink_to(cells)
    for out in (cells, link):
        assert f"error: {out}: would replace the input {cells}" in infer(capsys, "--adata", cells, "--out", out, *more)
    assert cells.read_bytes() == b"cells" and sorted(tmp_path.iterdir()) == [cells, link]


def test_predictions_are_replaced_only_where_that_is_asked_for(cells, tmp_path):
    out = tmp_path / "out.h5ad"
    out.write_bytes(b"mine")
    chosen = InferSettings(checkpoint=Path("run"), adata=cells, out=out)
    with pytest.raises(InputError, match="exists already; choose another --out or give --overwrite"):
        _check_absent(chosen)
    _check_absent(replace(chosen, overwrite=True))


def test_measured_cells_of_the_same_split_are_no_hindrance(tmp_path):
    store, other, real = tmp_path / "store", tmp_path / "other", tmp_path / "adata_real.h5ad"
    for folder in (store, other):
        folder.mkdir()
        (folder / MANIFEST_NAME).write_text(folder.name)
    real.write_bytes(b"mine")
    chosen = InferSettings(checkpoint=Path("run"), store=store, out=tmp_path)
    with pytest.raises(InputError, match="adata_real.h5ad: exists already"):
        _check_absent(chosen)
    notes = {"split": "test", STORE_CONTENT: hash_file(store / MANIFEST_NAME)}
    anndata.AnnData(uns={"bionemo_scale": notes}).write_h5ad(real)
    _check_absent(chosen)
    assert keeps_measured_cells(chosen) and not keeps_measured_cells(replace(chosen, overwrite=True))
    for change in ({"split": "val"}, {"store": other}):
        with pytest.raises(InputError, match="adata_real.h5ad: exists already"):
            _check_absent(replace(chosen, **change))


@pytest.mark.parametrize("is_older", [True, False])
def test_measured_cells_have_their_name_when_the_prediction_is_whole(tmp_path, is_older):
    """What a killed command left is no hindrance, and none beside a prediction that was there before."""
    measured, out = tmp_path / "real.h5ad", tmp_path / "pred.h5ad"
    unsettled = unsettled_path(measured)
    settle(measured, out)
    unsettled.write_bytes(b"cells")
    settle(measured, out)
    assert list(tmp_path.iterdir()) == []
    for number, path in enumerate((out, unsettled) if is_older else (unsettled, out)):
        path.write_bytes(b"cells")
        os.utime(path, ns=(number, number))
    settle(measured, out)
    assert sorted(tmp_path.iterdir()) == ([out] if is_older else [out, measured])


@pytest.mark.parametrize("option", ["--matrix", "--gene-key"])
def test_a_store_has_one_matrix(capsys, option):
    assert "go with --adata" in infer(capsys, "--store", "store", "--out", "out.h5ad", option, "X")
