# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from bionemo.scale.data.prepare.conversion.knockdown import cells_with_knockdown
from bionemo.scale.data.prepare.conversion.layout import read_labels
from bionemo.scale.data.prepare.settings import Knockdown
from bionemo.scale.files.anndata import anndata_file as h5ad
from bionemo.scale.files.anndata.anndata_file import H5adSource
from bionemo.scale.files.labels.grammar import Grammar
from bionemo.scale.types import ObsKeys


def make_crispri(seed=0):
    """Two cell types; g0 is down in both, g1 in none, g2 in A alone; g9 is not measured, g3 not expressed."""
    rng = np.random.default_rng(seed)
    labels = [(ct, p) for ct in "AB" for p in ("control", "g0", "g1", "g2", "g3", "g9") for _ in range(60)]
    obs = pd.DataFrame(labels, columns=["cell_type", "perturbation"]).iloc[rng.permutation(len(labels))]
    obs["batch"] = "b"
    obs.index = [f"cell{number}" for number in range(len(obs))]
    counts = rng.poisson(20.0, size=(len(obs), 8))
    counts[:, 3] = 0
    for column, cell_types in ((0, "AB"), (2, "A")):
        down = (obs["perturbation"] == f"g{column}") & obs["cell_type"].isin(list(cell_types))
        counts[down, column] = rng.poisson(3.0, size=down.sum())
    return ad.AnnData(
        csr_matrix(counts.astype(np.float32)), obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(8)])
    )


def keep(path, limits, library_size=None):
    with H5adSource(path) as source:
        labels = read_labels(source, "d", ObsKeys(), grammar=Grammar(controls=("control",)))
        return cells_with_knockdown(
            source, labels, limits, control="control", library_size=library_size, progress=lambda cells: None
        )


@pytest.mark.parametrize("log1p", [False, True])
def test_groups_and_cells_below_the_limits_are_kept(tmp_path, monkeypatch, log1p):
    monkeypatch.setattr(h5ad, "CHUNK_ENTRIES", 500)
    adata = make_crispri()
    linear = adata.X.toarray() / adata.X.toarray().sum(axis=1, keepdims=True)
    if log1p:
        adata.X = csr_matrix(np.log1p(linear * 1e4).astype(np.float32))
    adata.write_h5ad(tmp_path / "a.h5ad")
    found = keep(tmp_path / "a.h5ad", Knockdown(group=0.3, cell=0.25))
    expected = (adata.obs["perturbation"] == "control").to_numpy()
    for cell_type, column in (("A", 0), ("B", 0), ("A", 2)):
        here = (adata.obs["cell_type"] == cell_type).to_numpy()
        control = linear[here & (adata.obs["perturbation"] == "control").to_numpy(), column].mean()
        members = here & (adata.obs["perturbation"] == f"g{column}").to_numpy()
        assert linear[members, column].mean() < 0.3 * control
        expected |= members & (linear[:, column] < 0.25 * control)
    np.testing.assert_array_equal(found, expected)
    assert 0 < expected.sum() < 420


def test_a_weaker_limit_keeps_more(tmp_path):
    make_crispri().write_h5ad(tmp_path / "a.h5ad")
    counts = [keep(tmp_path / "a.h5ad", Knockdown(group=0.3, cell=cell)).sum() for cell in (0.1, 0.3, 1.0)]
    assert counts[0] < counts[1] < counts[2] == 120 + 180


def test_given_library_sizes_are_used(tmp_path):
    adata = make_crispri()
    adata.write_h5ad(tmp_path / "a.h5ad")
    sizes = np.where(adata.obs["perturbation"] == "g0", 1e9, 100.0)
    found = keep(tmp_path / "a.h5ad", Knockdown(group=0.3, cell=0.3), library_size=sizes)
    assert found[adata.obs["perturbation"] == "g0"].all()
