# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import anndata as ad
import pandas as pd
import pytest

from bionemo.scale.infer.controls.notebook_cells import keep_obs, keep_var, matrix_of
from bionemo.scale.types import DataCard, ExpressionScale, InputError, ObsKeys


CARD = DataCard(
    genes=("b", "a"), cell_types=("T",), perturbations=("p",), batches=("1",), control="control",
    scale=ExpressionScale(), keys=ObsKeys(), matrix="layers/counts", gene_key="symbol",
)  # fmt: skip


@pytest.fixture
def cells(pandas_cells) -> ad.AnnData:
    return pandas_cells


def test_expression_is_where_the_training_data_had_it_or_in_x(cells):
    assert matrix_of(cells, CARD, None) == "layers/counts"
    assert matrix_of(cells, CARD, "X") == "X"
    del cells.layers["counts"]
    with pytest.raises(InputError, match="adata: expected expression in layers/counts, .* found nothing in layers"):
        matrix_of(cells, CARD, None)
    cells.layers["count"] = cells.X
    with pytest.raises(InputError, match="adata: no layers 'counts'; did you mean 'count'"):
        matrix_of(cells, CARD, "layers/counts")


def test_predicted_cells_keep_what_is_known_of_their_controls(cells):
    predicted = pd.DataFrame({"cell_type": ["T", "T"], "control_cell": ["c2", "c0"]}, index=["p0", "p1"])
    kept = keep_obs(predicted, cells.obs)
    assert list(kept.columns) == ["cell_type", "control_cell", "batch", "donor", "size"]
    assert kept.loc["p0", ["batch", "donor", "size"]].tolist() == ["2", "x", 3.5]
    twice = cells.obs.set_axis(["c0", "c0", "c2"])
    assert keep_obs(predicted, twice) is predicted


def test_genes_keep_what_is_known_of_them(cells):
    var = keep_var(CARD.genes, cells, matrix="X", gene_key="symbol")
    assert list(var.index) == ["b", "a"] and var["rank"].tolist() == [2, 1]
