# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Figures of real cells: the measured ones of the first half stand for a prediction of the second."""

from pathlib import Path

import anndata as ad
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from bionemo.scale import api
from bionemo.scale.eval.page.sources import find_scores


KANG = Path(__file__).parents[6] / "examples" / "data" / "kang2018_pbmc_ifnb.h5ad"
mpl.use("Agg")
plot = api.plot


@pytest.fixture(scope="module")
def cells() -> ad.AnnData:
    """Two cell types, 60 genes, log1p."""
    adata = ad.read_h5ad(KANG)
    adata = adata[adata.obs["cell_type"].isin(["NK", "B"]).to_numpy()].copy()
    scale = 1e4 / adata.obs["n_counts_full"].to_numpy()[:, None]
    values = np.log1p(adata.X.toarray() * scale).astype(np.float32)
    chosen = np.sort(np.argsort(-values.var(axis=0))[:60])
    return ad.AnnData(values[:, chosen], obs=adata.obs, var=adata.var.iloc[chosen][[]])


@pytest.fixture(scope="module")
def halves(cells):
    """Every other treated cell is predicted, the others are measured; the prediction says how sure it is."""
    order = np.arange(len(cells)) % 2 == 0
    treated = (cells.obs["perturbation"] != "control").to_numpy()
    pred = cells[treated & order].copy()
    table = pd.DataFrame({"cell_type": ["B", "NK"], "perturbation": ["IFN-beta"] * 2}, index=["0", "1"])
    kinds = [(cells.obs["cell_type"] == name).to_numpy() for name in table["cell_type"]]
    means = [cells[kind & treated & order].X.mean(axis=0) for kind in kinds]
    before = [cells[kind & ~treated].X.mean(axis=0) for kind in kinds]
    change = (np.stack(means) - np.stack(before)).T
    pred.varm["change"], pred.varm["change_sd"] = change, np.full_like(change, 0.1)
    pred.varm["change_low"], pred.varm["change_high"] = change - 0.1645, change + 0.1645
    pred.uns["conditions"] = table
    return pred, cells[~treated | ~order].copy()


@pytest.fixture(scope="module")
def scored(halves, tmp_path_factory):
    out = tmp_path_factory.mktemp("scores") / "scores"
    return api.evaluate(*halves, out, target_sum=1e4, baselines=("control",), ceiling=False)


def test_cells_of_a_notebook_are_scored_and_leave_no_file(scored):
    assert set(scored.scores["model"]) == {"prediction", "control"}
    inputs = scored.summary["inputs"]
    assert (inputs["real"]["path"], inputs["pred"]["prediction"]["path"]) == ("real", "pred")


def test_delta_draws_the_gene_table(scored):
    table = find_scores(scored.out, None).genes
    ax = plot.delta(scored, context="NK")
    own = table.filter((table["model"] == "prediction") & (table["context"] == "NK"))
    points = ax.collections[0].get_offsets()
    np.testing.assert_array_equal(points, np.stack([own["real"], own["pred"]], axis=1))
    assert "NK, IFN-beta" in ax.get_title() and ax.get_ylabel() == "change predicted by prediction"


def test_volcano_of_predicted_and_measured_changes(scored, halves):
    ax = plot.volcano(halves[0], context="B")
    heights = np.concatenate([each.get_offsets()[:, 1] for each in ax.collections])
    change = np.asarray(halves[0].varm["change"][:, 0])
    np.testing.assert_allclose(np.sort(heights), np.sort(np.abs(change) / 0.1), rtol=1e-5)
    assert ax.texts[0].get_text() in set(halves[0].var_names)
    measured = plot.volcano(scored, side="measured", context="NK")
    assert measured.get_ylabel() == "-log10 adjusted p-value" and len(measured.collections) == 2


def test_genes_have_intervals(scored, halves):
    ax = plot.genes(halves[0], number=5, context="NK")
    strongest = np.argsort(-np.abs(halves[0].varm["change"][:, 1]))[:5][::-1]
    assert [text.get_text() for text in ax.get_yticklabels()] == halves[0].var_names[strongest].tolist()
    (spans,) = ax.containers[0].lines[2]
    np.testing.assert_allclose([np.ptp(each[:, 0]) for each in spans.get_segments()], 0.329, rtol=1e-4)
    both = plot.genes(scored, number=7)
    assert len(both.get_yticklabels()) == 7 and len(both.containers) == 2


def test_populations_are_drawn_as_three_kinds(halves):
    ax = plot.populations(*halves, context="NK", labels=api.FileLabels(target_sum=1e4))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["control", "measured", "predicted"]
    assert "of variance" in ax.get_xlabel()


def test_history_has_training_and_validation(tmp_path):
    (tmp_path / "config.yaml").write_text("run: {}\nmodel: {}\n")
    (tmp_path / "metrics.csv").write_text("step,loss,val_loss\n1,9.0,\n2,4.0,\n2,,5.0\n")
    ax = plot.history(tmp_path)
    drawn = {line.get_label(): line.get_xydata().tolist() for line in ax.get_lines()}
    assert drawn == {"training": [[1, 9], [2, 4]], "validation": [[2, 5]]}
    assert plot.history(api.Run(tmp_path), ax=ax) is ax


@pytest.mark.parametrize(
    ("call", "found"),
    [
        (lambda scored, pred: plot.delta(pred), "found an AnnData|found a prediction"),
        (lambda scored, pred: plot.delta(scored, model="predicton"), "did you mean 'prediction'"),
        (lambda scored, pred: plot.genes(pred, context="NKT"), "context 'NKT' is not here; did you mean 'NK'"),
        (lambda scored, pred: plot.genes(pred, perturbation="IFN"), "perturbation 'IFN' is not here"),
        (lambda scored, pred: plot.volcano(pred, side="real"), "side must be predicted or measured, found 'real'"),
        (lambda scored, pred: plot.volcano(pred, side="measured"), "nothing was measured"),
    ],
)
def test_what_is_not_there_is_refused(scored, halves, call, found):
    with pytest.raises(api.InputError, match=found):
        call(scored, halves[0])


def test_a_volcano_needs_a_prediction_that_says_how_sure_it_is(halves):
    unsure = halves[0].copy()
    del unsure.varm["change_sd"]
    with pytest.raises(api.InputError, match="with intervals, found none"):
        plot.volcano(unsure)


def test_a_run_without_losses_is_refused(tmp_path):
    (tmp_path / "config.yaml").write_text("run: {}\nmodel: {}\n")
    with pytest.raises(api.InputError, match="no losses 'loss' are here"):
        plot.history(tmp_path)
