# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""An object gives what its file gives, is refused where its file is, stays as it is, and is written nowhere."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csc_matrix, csr_matrix

from bionemo.scale.files.anndata.anndata_file import H5adSource
from bionemo.scale.files.anndata.held_anndata import HeldAnnData
from bionemo.scale.types import InputError


pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")


@pytest.fixture
def cells() -> ad.AnnData:
    values = np.random.default_rng(0).poisson(0.7, size=(40, 6)).astype(np.float32)
    adata = ad.AnnData(csr_matrix(values), layers={"dense": values, "columns": csc_matrix(values)})
    adata.var_names = [f"gene{number}" for number in range(6)]
    adata.var["symbol"] = [f"S{number}" for number in range(6)]
    adata.raw = adata.copy()
    adata.obsm["X_hvg"] = values[:, :2]
    adata.uns = {"hvg_names": np.array(["gene0", "gene1"]), "log1p": {"base": 2.0}}
    adata.obs["line"] = pd.Categorical(np.array(["A", "B"])[np.arange(40) % 2])
    adata.obs["text"] = [f"t{number % 3}" for number in range(40)]
    adata.obs["number"] = np.arange(40) % 4
    adata.obs["depth"] = values.sum(axis=1)
    return adata


def read(source, matrix="X", gene_key=None):
    with H5adSource(source, matrix=matrix, gene_key=gene_key) as file:
        rows = np.concatenate([chunk.matrix.toarray() for chunk in file.chunks()])
        labels = [file.labels(key).of_cells().tolist() for key in ("line", "text", "number", "line,number")]
        numbers = file.numbers("depth").tolist()
        names = file.genes.tolist(), file.cell_names().tolist(), sorted(file.columns()), file.log_base()
        return rows.tolist(), labels, numbers, *names, file.name_column().to_pylist()


@pytest.mark.parametrize("matrix", ["X", "layers/dense", "layers/columns", "raw/X", "obsm/X_hvg"])
@pytest.mark.parametrize("gene_key", [None, "symbol", "_index"])
def test_an_object_gives_what_its_file_gives(cells, tmp_path, matrix, gene_key):
    cells.write_h5ad(tmp_path / "cells.h5ad")
    before = cells.copy()
    assert read(HeldAnnData(cells, "adata"), matrix, gene_key) == read(tmp_path / "cells.h5ad", matrix, gene_key)
    for slot in (cells.X, cells.layers["columns"]):
        assert slot.nnz == before.X.nnz
    np.testing.assert_array_equal(cells.layers["dense"], before.layers["dense"])
    assert cells.obs.equals(before.obs)


def test_a_view_and_a_backed_object_are_read(cells, tmp_path):
    cells.write_h5ad(tmp_path / "cells.h5ad")
    whole, view = read(HeldAnnData(cells, "adata")), read(HeldAnnData(cells[10:], "adata"))
    assert view[0] == whole[0][10:]
    assert read(HeldAnnData(ad.read_h5ad(tmp_path / "cells.h5ad", backed="r"), "adata")) == whole


def test_what_is_read_may_be_changed(cells):
    """Duplicated entries of a sparse matrix are added up in the copy."""
    cells.X = csr_matrix((np.ones(80, np.float32), np.zeros(80, np.int32), np.arange(0, 81, 2)), shape=(40, 6))
    assert read(HeldAnnData(cells, "adata"))[0] == [[2.0, 0, 0, 0, 0, 0]] * 40
    assert cells.X.nnz == 80 and set(cells.X.data) == {1.0}


def set_index(cells):
    cells.X.indices[3] = 6


@pytest.mark.parametrize(
    ("change", "matrix", "line"),
    [
        (lambda cells: setattr(cells, "X", None), "X", "expected an expression matrix X, found none; .*layers/dense"),
        (lambda cells: setattr(cells, "X", cells.X * 1j), "X", "X must hold real numbers, found the type complex"),
        (set_index, "X", "X must be a valid sparse matrix, found that"),
        (lambda cells: None, "layers/dens", "no layer 'dens'; did you mean 'dense'"),
        (lambda cells: None, "obsm/none", "no obsm matrix 'none'"),
        (lambda cells: cells.obs.pop("line"), "X", "obs has no column 'line'"),
        (lambda cells: setattr(cells, "raw", None), "raw/X", "no raw matrix 'X'"),
    ],
    ids=["no X", "complex", "indices beyond", "layer", "obsm", "column", "raw"],
)
def test_what_does_not_fit_is_refused_by_the_name_of_the_argument(cells, change, matrix, line):
    change(cells)
    with pytest.raises(InputError, match=f"^adata: {line}") as error:
        read(HeldAnnData(cells, "adata"), matrix)
    assert "\n" not in str(error.value)
