# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
from itertools import pairwise

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
from scipy.sparse import csr_matrix

from bionemo.scale.data.prepare.conversion.hvg import GeneMoments, select_genes
from bionemo.scale.data.prepare.preprocess import prepare
from bionemo.scale.data.prepare.settings import PrepareSettings
from bionemo.scale.data.store.reader import Store
from bionemo.scale.types import ObsKeys, Split


def normalised(adata, library_size):
    values = csr_matrix(adata.X).astype(np.float64)
    values.data *= np.repeat(1e4 / library_size, np.diff(values.indptr))
    np.log1p(values.data, out=values.data)
    return ad.AnnData(values.astype(np.float32), obs=adata.obs, var=adata.var)


def moments_of(adata, library_size, pieces):
    moments = GeneMoments(adata.n_vars)
    edges = np.linspace(0, adata.n_obs, pieces + 1).astype(int)
    for first, last in pairwise(edges):
        moments.add(csr_matrix(adata.X[first:last]), 1e4 / library_size[first:last])
    return moments


@pytest.mark.parametrize("num_genes", [1, 50, 500, 1000, 2000, 4000])
def test_selection_is_scanpys_on_kang(kang_file, num_genes):
    adata = ad.read_h5ad(kang_file)
    library_size = adata.obs["n_counts_full"].to_numpy(dtype=np.float64)
    found = select_genes(moments_of(adata, library_size, pieces=7), num_genes)
    table = sc.pp.highly_variable_genes(normalised(adata, library_size), n_top_genes=num_genes, inplace=False)
    assert set(adata.var_names[found]) == set(table.index[table["highly_variable"]])


@pytest.mark.parametrize("num_genes", [30, 100, 298])
def test_selection_is_scanpys_on_papalexi(papalexi_file, num_genes):
    adata = ad.read_h5ad(papalexi_file)
    library_size = np.asarray(adata.X.sum(axis=1), dtype=np.float64).ravel()
    found = select_genes(moments_of(adata, library_size, pieces=3), num_genes)
    table = sc.pp.highly_variable_genes(normalised(adata, library_size), n_top_genes=num_genes, inplace=False)
    assert set(adata.var_names[found]) == set(table.index[table["highly_variable"]])


def test_store_has_scanpys_genes_of_the_training_cells(kang_file, kang_store):
    """Held-out perturbed cells must not decide; all controls may."""
    adata = ad.read_h5ad(kang_file)
    held_out = adata.obs["cell_type"].isin(["CD4 T", "NK", "T activated"]) & (adata.obs["perturbation"] != "control")
    assert held_out.sum() == sum(
        kang_store.groups.num_cells[kang_store.groups.perturbed_in(split)].sum() for split in (Split.VAL, Split.TEST)
    )
    training = adata[~held_out]
    library_size = training.obs["n_counts_full"].to_numpy(dtype=np.float64)
    table = sc.pp.highly_variable_genes(normalised(training, library_size), n_top_genes=2000, inplace=False)
    assert set(kang_store.card.genes) == set(table.index[table["highly_variable"]])
    everything = sc.pp.highly_variable_genes(
        normalised(adata, adata.obs["n_counts_full"].to_numpy(dtype=np.float64)), n_top_genes=2000, inplace=False
    )
    assert set(kang_store.card.genes) != set(everything.index[everything["highly_variable"]])


@pytest.mark.parametrize("factor", [10.0, 0.1])
def test_a_factor_of_log1p_values_acts_as_in_scanpy(papalexi_file, tmp_path, factor):
    """Scanpy takes the logarithm back before it looks at dispersions, so that they change."""
    settings = {"inputs": [papalexi_file], "keys": ObsKeys(cell_type="batch"), "num_hvg": 100}
    chosen = {}
    for name, more in (("plain", {}), ("scaled", {"hvg_factor": factor})):
        prepare(PrepareSettings.make(out=tmp_path / name, **settings, **more))
        chosen[name] = Store.open(tmp_path / name)
    adata = ad.read_h5ad(papalexi_file)
    scaled = normalised(adata, np.asarray(adata.X.sum(axis=1), dtype=np.float64).ravel())
    scaled.X = scaled.X.astype(np.float64) * factor
    table = sc.pp.highly_variable_genes(scaled, n_top_genes=100, inplace=False)
    genes = {name: set(store.card.genes) for name, store in chosen.items()}
    assert genes["scaled"] == set(table.index[table["highly_variable"]]) != genes["plain"]
    # Stored values are those of log1p, whatever the factor.
    shared = sorted(genes["scaled"] & genes["plain"])
    plain, factored = (
        store.read(np.arange(50))[:, [store.card.genes.index(gene) for gene in shared]].toarray()
        for store in chosen.values()
    )
    np.testing.assert_array_equal(plain, factored)


def test_moments_match_numpy():
    rng = np.random.default_rng(0)
    counts = rng.poisson(2.0, size=(40, 6))
    scale = rng.random(40)
    whole, first, second = (GeneMoments(6) for _ in range(3))
    whole.add(csr_matrix(counts), scale)
    first.add(csr_matrix(counts[:15]), scale[:15])
    second.add(csr_matrix(counts[15:][:, ::-1]), scale[15:])
    first.add_moments(second, np.arange(6)[::-1])
    scaled = counts * scale[:, None]
    for moments in (whole, first):
        np.testing.assert_allclose(moments.mean, scaled.mean(axis=0))
        np.testing.assert_allclose(moments.variance, scaled.var(axis=0, ddof=1))


def test_genes_without_expression_are_never_chosen():
    counts = np.random.default_rng(0).poisson(2.0, size=(30, 10))
    counts[:, 4] = 0
    moments = GeneMoments(10)
    moments.add(csr_matrix(counts), np.ones(30))
    assert 4 not in select_genes(moments, 10)
    nothing = GeneMoments(3)
    nothing.add(csr_matrix((5, 3), dtype=np.float32), np.ones(5))
    assert len(select_genes(nothing, 2)) == 0
