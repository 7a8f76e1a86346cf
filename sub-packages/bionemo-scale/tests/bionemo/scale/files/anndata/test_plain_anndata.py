# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import anndata as ad
import numpy as np
import pandas as pd
import pytest

from bionemo.scale.files.anndata.plain_anndata import plain_anndata


@pytest.fixture
def cells(pandas_cells) -> ad.AnnData:
    return pandas_cells


def test_pandas_strings_can_be_written_and_read(cells, tmp_path):
    small = plain_anndata(cells, columns=["cell_type", "batch", "size", None], matrix="X", gene_key="symbol")
    small.write_h5ad(tmp_path / "cells.h5ad")
    found = ad.read_h5ad(tmp_path / "cells.h5ad")
    assert found.obs["cell_type"].astype(str).tolist() == ["T", "T", "T"]
    assert found.obs["batch"].astype(str).tolist() == ["1", "1", "2"] and found.obs["size"].tolist() == [1.5, 2.5, 3.5]
    assert list(found.obs_names) == ["c0", "c1", "c2"] and list(found.obs.columns) == ["cell_type", "batch", "size"]
    np.testing.assert_array_equal(found.X, cells.X)


def test_a_missing_label_stays_missing(cells):
    cells.obs["cell_type"] = pd.array(["T", pd.NA, "T"], dtype="string")
    small = plain_anndata(cells, columns=["cell_type"], matrix="X")
    assert small.obs["cell_type"].isna().tolist() == [False, True, False]


def test_only_the_matrix_that_is_asked_for_is_kept(cells):
    assert plain_anndata(cells, matrix="layers/counts").X is None
    assert list(plain_anndata(cells, matrix="layers/counts").layers) == ["counts"]
    assert list(plain_anndata(cells, matrix="X").layers) == [] and plain_anndata(cells, matrix="").X is None
    cells.raw = cells
    assert plain_anndata(cells, matrix="raw/X", gene_key="symbol").raw.shape == (3, 2)
    everything = plain_anndata(cells)
    assert everything.raw is not None and list(everything.layers) == ["counts"] and everything.X is not None


def test_what_no_file_can_hold_is_left_out(cells, tmp_path):
    cells.obs["mixed"] = np.array([1, "a", None], dtype=object)
    cells.obs["text"] = np.array(["x", "y", "z"], dtype=object)
    cells.obs["date"] = pd.to_datetime(["2020-01-01", "2020-01-02", "2020-01-03"])
    cells.obs["age_group"] = pd.cut([1, 5, 9], 2)
    cells.obs["nothing"] = np.array([None, None, None], dtype=object)
    cells.obs["kinds"] = pd.Categorical([1, "a", 1])
    cells.uns["anything"] = object()
    cells.uns["log1p"] = {"base": None}
    small = plain_anndata(cells)
    assert "mixed" not in small.obs and "text" in small.obs and list(small.uns) == ["log1p"]
    assert not {"date", "age_group", "nothing", "kinds"} & set(small.obs) and "batch" in small.obs
    small.write_h5ad(tmp_path / "cells.h5ad")
    assert "mixed" in cells.obs


def test_a_backed_file_is_read(cells, tmp_path):
    plain_anndata(cells).write_h5ad(tmp_path / "cells.h5ad")
    small = plain_anndata(ad.read_h5ad(tmp_path / "cells.h5ad", backed="r"), matrix="X")
    np.testing.assert_array_equal(small.X, cells.X)
