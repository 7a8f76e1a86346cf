# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Small slices of the real datasets, normalised to 1e4 and log1p."""

from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

from bionemo.scale.eval.cells.populations import Population


DATA = Path(__file__).parents[6] / "examples" / "data"


def load(name: str, *, num_genes: int) -> ad.AnnData:
    """Read a dataset and keep its most variable genes."""
    adata = ad.read_h5ad(DATA / name)
    library = adata.obs.get("n_counts_full", np.asarray(adata.X.sum(axis=1)).reshape(-1))
    values = np.log1p(adata.X.toarray() / np.asarray(library)[:, None] * 1e4).astype(np.float32)
    genes = np.sort(np.argsort(-values.var(axis=0))[:num_genes])
    return ad.AnnData(
        X=sparse.csr_matrix(values[:, genes]),
        obs=adata.obs[["perturbation", "cell_type", "batch"]].astype(str),
        var=adata.var.iloc[genes][[]],
    )


def as_population(adata: ad.AnnData) -> Population:
    return Population(
        expression=adata.X,
        genes=tuple(adata.var_names),
        perturbation=adata.obs["perturbation"].to_numpy(object),
        cell_type=adata.obs["cell_type"].to_numpy(object),
        batch=adata.obs["batch"].to_numpy(object),
    )


@pytest.fixture(scope="session")
def kang() -> ad.AnnData:
    """Two cell types, controls and IFN-beta, 200 genes."""
    adata = load("kang2018_pbmc_ifnb.h5ad", num_genes=200)
    return adata[adata.obs["cell_type"].isin(["NK", "CD8 T"])].copy()


@pytest.fixture(scope="session")
def papalexi() -> ad.AnnData:
    """One cell line, controls and five knock-outs (two of them genes of the panel), 120 genes, 1,000 cells."""
    adata = load("papalexi2021_thp1_eccite.h5ad", num_genes=299)
    targets = ["control", "STAT1", "JAK2", "SPI1", "ATF2", "IFNGR2"]
    panel = [*dict.fromkeys(["STAT1", "IFNGR2", *adata.var_names[:118]])]
    rows = np.random.default_rng(0).permutation(np.flatnonzero(adata.obs["perturbation"].isin(targets)))[:1000]
    return adata[np.sort(rows), panel].copy()


@pytest.fixture(scope="session")
def kang_population(kang: ad.AnnData) -> Population:
    return as_population(kang)


@pytest.fixture(scope="session")
def papalexi_population(papalexi: ad.AnnData) -> Population:
    return as_population(papalexi)
