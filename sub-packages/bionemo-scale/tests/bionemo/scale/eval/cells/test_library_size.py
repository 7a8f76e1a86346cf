# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Files of counts are the cells that the same files of log1p values are."""

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

from bionemo.scale.eval.cells.library_size import counts_again
from bionemo.scale.eval.cells.read_population import read_population
from bionemo.scale.types import FileLabels, InputError


@pytest.fixture
def counts(pytestconfig) -> ad.AnnData:
    adata = ad.read_h5ad(pytestconfig.rootpath / "examples/data/kang2018_pbmc_ifnb.h5ad")
    adata = adata[adata.obs["cell_type"] == "NK", :300].copy()
    adata.obs["library_size"] = adata.obs["n_counts_full"].astype(float)
    return ad.AnnData(X=sparse.csr_matrix(adata.X), obs=adata.obs, var=adata.var[[]])


@pytest.mark.parametrize("is_sparse", [True, False])
@pytest.mark.parametrize("in_memory", [0, 1 << 28])
def test_counts_are_scaled_once_and_come_back(counts, write, is_sparse, in_memory):
    expected = np.log1p(counts.X.toarray() / counts.obs["library_size"].to_numpy()[:, None] * 1e4)
    if not is_sparse:
        counts.X = counts.X.toarray()
    file = read_population(write(counts, "c.h5ad"), labels=FileLabels(target_sum=1e4), in_memory=in_memory)
    np.testing.assert_allclose(file.population.dense(), expected, rtol=1e-6)
    np.testing.assert_allclose(file.row_sums, expected.sum(axis=1), rtol=1e-6)
    some = file.population.select(np.array([5, 2, 9]))
    raw = counts.X[[5, 2, 9]]
    np.testing.assert_array_equal(counts_again(some.dense(), some.unit).toarray(), raw.toarray() if is_sparse else raw)


@pytest.mark.parametrize("sizes", [np.nan, "many", -1.0])
def test_nobody_asks_log1p_values_for_library_sizes(counts, read, sizes):
    size = counts.obs["library_size"].to_numpy()
    counts.X = sparse.csr_matrix(np.log1p(counts.X.toarray() / size[:, None] * 1e4).astype(np.float32))
    counts.obs["library_size"] = sizes
    np.testing.assert_array_equal(read(counts).population.dense(), counts.X.toarray())


def test_large_counts_come_back():
    unit = 1e4 / np.array([5e5, 2e3])
    counts = np.array([[200_000, 1, 0], [0, 7, 1_999]])
    scaled = np.log1p(counts * unit[:, None]).astype(np.float32)
    np.testing.assert_array_equal(counts_again(scaled, unit).toarray(), counts)


def test_counts_need_a_library_size_and_a_target_sum(counts, read):
    with pytest.raises(InputError, match="found counts; expected --target-sum"):
        read(counts, labels=FileLabels())
    counts.obs.loc[counts.obs.index[3], "library_size"] = 0.0
    with pytest.raises(InputError, match=r"obs\['library_size'\] must be positive, found 0 and 1 such cells"):
        read(counts)
    counts.obs["library_size"] = "many"
    with pytest.raises(InputError, match=r"obs\['library_size'\] must hold numbers"):
        read(counts)
    counts.obs["library_size"] = np.log1p(counts.obs["n_counts_full"])
    with pytest.raises(InputError, match=r"obs\['library_size'\]: expected .* sum \(median\), as logarithms"):
        read(counts)
    del counts.obs["library_size"]
    with pytest.raises(InputError, match=r"raw counts; counts are scored where obs\['library_size'\]"):
        read(counts)
