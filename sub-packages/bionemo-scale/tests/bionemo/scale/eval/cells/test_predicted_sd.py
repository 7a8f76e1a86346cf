# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a prediction's file says of how sure it is."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from bionemo.scale.eval.cells.alignment import align
from bionemo.scale.eval.cells.read_population import read_population
from bionemo.scale.files.labels.grammar import Grammar
from bionemo.scale.types import FileLabels, InputError


LABELS = FileLabels(target_sum=1e4, values="log1p")
SD = np.arange(6.0).reshape(3, 2) / 10


def write(path, *, sd=SD, labels=(("T", "A+B"), ("T", "C")), **uns):
    """Cells of one type with three genes, and a standard deviation for each gene and pair."""
    values = np.random.default_rng(0).uniform(0.1, 2.0, (9, 3)).astype(np.float32)
    names = np.repeat(["control", "A+B", "C"], 3)
    obs = pd.DataFrame({"perturbation": names, "cell_type": "T", "batch": "1"}, index=[f"c{row}" for row in range(9)])
    table = pd.DataFrame(
        labels, columns=["cell_type", "perturbation"], index=[f"n{row}" for row in range(len(labels))]
    )
    adata = ad.AnnData(
        X=values,
        obs=obs,
        var=pd.DataFrame(index=["g1", "g2", "g3"]),
        varm={"change_sd": sd},
        uns={"conditions": table, **uns},
    )
    adata.write_h5ad(path)
    return path


def test_it_is_read_and_follows_genes_and_names(tmp_path):
    pred = read_population(write(tmp_path / "pred.h5ad"), labels=LABELS)
    np.testing.assert_array_equal(pred.predicted_sd.of_pair["T", "C"], SD[:, 1])
    spelled = pred.spelled(Grammar(combination="+"))
    assert set(spelled.predicted_sd.of_pair) == {("T", "A+B"), ("T", "C")}
    turned = ad.read_h5ad(tmp_path / "pred.h5ad")[:, ["g3", "g1", "g2"]].copy()
    turned.write_h5ad(tmp_path / "real.h5ad")
    aligned = align(pred, read_population(tmp_path / "real.h5ad", labels=LABELS))
    np.testing.assert_array_equal(aligned.predicted_sd.of_pair["T", "C"], SD[[2, 0, 1], 1])


def test_tables_of_other_tools_are_left_alone(tmp_path):
    path = write(tmp_path / "a.h5ad", labels=(("T", "C"),), sd=SD)
    with pytest.raises(InputError, match=r"a.h5ad: expected varm\['change_sd'\] of shape \(3, 1\)"):
        read_population(path, labels=LABELS)
    adata = ad.read_h5ad(path)
    adata.uns["conditions"] = "none"
    adata.write_h5ad(path)
    assert read_population(path, labels=LABELS).predicted_sd.of_pair == {}


@pytest.mark.parametrize("value", [np.nan, -0.1, np.inf])
def test_other_numbers_are_refused(tmp_path, value):
    bad = SD.copy()
    bad[1, 1] = value
    with pytest.raises(InputError, match="expected standard deviations of at least 0"):
        read_population(write(tmp_path / "a.h5ad", sd=bad), labels=LABELS)
