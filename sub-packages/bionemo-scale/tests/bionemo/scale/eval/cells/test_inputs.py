# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Every refusal names the file, what was expected and what was found."""

import json
from dataclasses import replace

import anndata as ad
import numpy as np
import pytest

from bionemo.scale.eval.cells.inputs import (
    ONE_CELL_TYPE,
    align,
    check_controls,
    check_scale,
    choose_controls,
    read_population,
)
from bionemo.scale.eval.cells.stored import StoredMatrix
from bionemo.scale.types import DataCard, ExpressionScale, FileLabels, InputError, ObsKeys


STATED = FileLabels(target_sum=1e4)


def card_of(adata: ad.AnnData, **changes) -> DataCard:
    card = DataCard(
        genes=tuple(adata.var_names),
        cell_types=("CD8 T", "NK"),
        perturbations=("IFN-beta",),
        batches=tuple(sorted(set(adata.obs["batch"]))),
        control="control",
        scale=ExpressionScale(library_size_key="n_counts_full"),
        keys=ObsKeys(),
    )
    return replace(card, **changes)


@pytest.fixture
def write(tmp_path):
    def write(adata: ad.AnnData, name: str, card: DataCard | None = None):
        adata = adata.copy()
        if card is not None:
            adata.uns["bionemo_scale"] = {"card": card.to_json(), "store": "/nowhere"}
        adata.write_h5ad(tmp_path / name)
        return tmp_path / name

    return write


@pytest.fixture
def read(write):
    def read(adata, name="pred.h5ad", card=None, labels=STATED):
        return read_population(write(adata, name, card), labels=labels)

    return read


def perturbed(adata):
    return adata[adata.obs["perturbation"] != "control"].copy()


def test_reads_cells_labels_and_card(read, kang, kang_population):
    file = read(kang, card=card_of(kang))
    np.testing.assert_array_equal(file.population.dense(), kang_population.dense())
    assert file.population.genes == kang_population.genes
    for name in ("perturbation", "cell_type", "batch"):
        assert getattr(file.population, name).tolist() == getattr(kang_population, name).tolist()
    assert (file.store, file.labels.control, file.notes) == ("/nowhere", "control", ())
    assert file.is_control.sum() == 48 + 54
    assert len(file.sha256) == 64


def test_dense_and_sparse_read_alike(read, kang):
    dense = kang.copy()
    dense.X = dense.X.toarray().astype(np.float64)
    np.testing.assert_array_equal(read(dense, "a.h5ad").population.dense(), read(kang, "b.h5ad").population.dense())


def test_labels_of_other_tools(read, kang):
    other = kang.copy()
    other.obs = other.obs.rename(columns={"perturbation": "target", "cell_type": "line", "batch": "gem"})
    other.obs["target"] = other.obs["target"].replace({"control": "non-targeting"})
    labels = FileLabels(
        keys=ObsKeys(perturbation="target", cell_type="line", batch="gem"), control="non-targeting", target_sum=1e4
    )
    real = read(kang, "real.h5ad", card=card_of(kang))
    pred = align(read(other, labels=labels), real)
    assert set(pred.population.perturbation) == {"control", "IFN-beta"}
    with pytest.raises(InputError, match=r"no obs column 'perturbation'; found 'target', 'line', 'gem'"):
        read(other, "again.h5ad")


def test_a_file_with_a_card_keeps_its_labels(read, kang):
    file = read(kang, card=card_of(kang), labels=FileLabels(control="DMSO"))
    assert file.labels.control == "control"
    assert "label options are not used" in file.notes[0]


def test_near_column_names_are_suggested(read, kang):
    other = kang.copy()
    other.obs = other.obs.rename(columns={"cell_type": "celltype"})
    with pytest.raises(InputError, match="no obs column 'cell_type'; did you mean 'celltype'"):
        read(other)


def test_without_cell_types_there_is_one(read, kang):
    """Told, and given the name of the other side's only one; many on the other side cannot be guessed."""
    nk = kang[kang.obs["cell_type"] == "NK"].copy()
    bare = nk.copy()
    bare.obs = bare.obs.drop(columns="cell_type")
    bare.obs["cell_line"] = "K562"
    real, pred = read(nk, "real.h5ad"), read(bare, "pred.h5ad")
    assert set(pred.population.cell_type) == {ONE_CELL_TYPE} and "taken as one cell type" in pred.notes[0]
    assert set(align(pred, real).population.cell_type) == {"NK"}
    assert set(align(real, pred).population.cell_type) == {ONE_CELL_TYPE}
    assert set(align(pred, pred).population.cell_type) == {ONE_CELL_TYPE}
    both = read(kang, "both.h5ad")
    for sides in ((pred, both), (both, pred)):
        with pytest.raises(InputError, match=r"pred.h5ad: no obs column 'cell_type'; .*2 cell types: 'CD8 T', 'NK'"):
            align(*sides)
    with pytest.raises(InputError, match="no obs column 'line'"):
        read(bare, labels=FileLabels(keys=ObsKeys(cell_type="line"), target_sum=1e4))
    with pytest.raises(InputError, match="no obs column 'cell_type'"):
        read(bare, card=card_of(kang))


def test_a_missing_batch_column_is_one_batch_unless_named(read, kang):
    other = kang.copy()
    del other.obs["batch"]
    file = read(other)
    assert set(file.population.batch) == {"one batch"}
    assert "taken as one batch" in file.notes[0]
    with pytest.raises(InputError, match="no obs column 'donor'"):
        read(kang, "b.h5ad", labels=FileLabels(keys=ObsKeys(batch="donor")))


def test_missing_labels(read, kang):
    other = kang.copy()
    other.obs["cell_type"] = other.obs["cell_type"].astype(object)
    other.obs.iloc[3, other.obs.columns.get_loc("cell_type")] = np.nan
    with pytest.raises(
        InputError, match=r"obs\['cell_type'\] must label every cell, found 1 of \d+ without a label \(1 missing\)"
    ):
        read(other)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda x: np.expm1(x).round(), "whole numbers only"),
        (lambda x: np.expm1(x), "without a logarithm"),
        (lambda x: x / np.log(2), r"log2\(1 \+ x\)"),
        (lambda x: np.log1p(x), "log1p taken twice"),
        (lambda x: x - 0.5, "negative values down to -0.5"),
        (lambda x: np.where(x == x.max(), np.nan, x), "1 NaN or infinite"),
        (lambda x: np.where(x == x.max(), np.inf, x), "1 NaN or infinite"),
        (lambda x: x * 0, "every value is 0"),
    ],
)
@pytest.mark.parametrize("is_sparse", [True, False])
def test_values_that_are_no_log1p(read, kang, change, found, is_sparse):
    other = kang.copy()
    values = change(kang.X.toarray()).astype(np.float32)
    other.X = type(kang.X)(values) if is_sparse else values
    with pytest.raises(InputError, match=rf"pred.h5ad: .*{found}"):
        read(other)


def test_files_that_are_no_h5ad(tmp_path, read, kang):
    with pytest.raises(InputError, match="no such file"):
        read_population(tmp_path / "missing.h5ad")
    (tmp_path / "text.h5ad").write_text("cells")
    with pytest.raises(InputError, match=r"text.h5ad: expected an h5ad file \(HDF5\), found something else"):
        read_population(tmp_path / "text.h5ad")
    with pytest.raises(InputError, match=r"X must have cells and genes, found the shape \(0, "):
        read(kang[:0], "empty.h5ad")


def test_a_broken_card(write, kang):
    adata = kang.copy()
    adata.uns["bionemo_scale"] = {"card": json.dumps({"genes": []})}
    with pytest.raises(InputError, match=r"uns\['bionemo_scale'\]\['card'\] is no data card"):
        read_population(write(adata, "pred.h5ad"))


def test_gene_names_must_be_unique(read, kang):
    other = kang.copy()
    other.var_names = [other.var_names[1], *other.var_names[1:]]
    with pytest.warns(UserWarning), pytest.raises(InputError, match="gene names must be unique"):
        read(other)


def test_genes_in_another_order_are_aligned_and_reported(read, kang):
    real = read(kang, "real.h5ad")
    pred = align(read(kang[:, ::-1].copy()), real)
    np.testing.assert_array_equal(pred.population.dense(), real.population.dense())
    assert any("put into the order of real.h5ad by name" in note for note in pred.notes)


def test_other_genes(read, kang):
    other = kang[:, 1:].copy()
    other.var_names = ["NOVEL", *other.var_names[1:]]
    with pytest.raises(InputError, match=rf"genes differ .*2 missing \('{kang.var_names[0]}'.*1 unknown \('NOVEL'\)"):
        align(read(other), read(kang, "real.h5ad"))


def test_perturbations_missing_on_either_side(read, kang):
    renamed = kang.copy()
    renamed.obs["perturbation"] = renamed.obs["perturbation"].replace({"IFN-beta": "IFN-gamma"})
    real = read(kang, "real.h5ad")
    with pytest.raises(InputError, match=r"pred.h5ad: no cells with perturbation 'IFN-beta', .*found 'IFN-gamma'"):
        align(read(renamed), real)
    both = ad.concat([kang, renamed[renamed.obs["perturbation"] == "IFN-gamma"]])
    with pytest.raises(InputError, match=r"real.h5ad: no cells with perturbation 'IFN-gamma'"):
        align(read(both), real)


def test_cell_types_missing_on_either_side(read, kang):
    real = read(kang, "real.h5ad")
    one = read(kang[kang.obs["cell_type"] == "NK"].copy(), "one.h5ad")
    with pytest.raises(InputError, match=r"one.h5ad: no cells with cell_type 'CD8 T'"):
        align(one, real)
    with pytest.raises(InputError, match=r"one.h5ad: no cells with cell_type 'CD8 T'"):
        align(real, one)


def test_pairs_missing(read, kang):
    relabelled = kang.copy()
    relabelled.obs.loc[relabelled.obs["cell_type"] == "NK", "perturbation"] = relabelled.obs["perturbation"].replace(
        {"IFN-beta": "other"}
    )
    both = ad.concat([kang, relabelled[relabelled.obs["perturbation"] == "other"]])
    both.obs_names_make_unique()
    lacking = both[~((both.obs["cell_type"] == "NK") & (both.obs["perturbation"] == "IFN-beta"))].copy()
    with pytest.raises(InputError, match=r"no cells of 1 \(cell type x perturbation\) pairs .*'NK x IFN-beta'"):
        align(read(lacking), read(both, "real.h5ad"))


@pytest.mark.parametrize("scale", [ExpressionScale(target_sum=1e6), ExpressionScale(source="log1p")])
def test_another_scale(read, kang, scale):
    real = read(kang, "real.h5ad", card=card_of(kang))
    with pytest.raises(InputError, match=r"pred.h5ad: expression scale .* is not that of .*real.h5ad"):
        align(read(kang, card=card_of(kang, scale=scale)), real)


def test_a_division_by_ten_on_one_side_is_refused(read, kang):
    """The paper's "rescaled by a constant factor of 10" belongs into the model; metrics are in log1p space."""
    predicted, real = kang.copy(), kang.copy()
    predicted.X = kang.X.multiply(np.random.default_rng(0).uniform(0.08, 0.12, kang.shape)).tocsr()
    with pytest.raises(InputError, match=r"pred.h5ad: mean expression is 0.1 times .* division by 10"):
        align(read(predicted), read(kang, "real.h5ad"))
    real.X = kang.X / 10
    with pytest.raises(InputError, match=r"real.h5ad: .*looks like log1p divided by 10"):
        read(real, "real.h5ad")


def test_another_constant_factor_is_a_warning(read, kang):
    other = kang.copy()
    other.X = other.X / 4
    notes = align(read(other), read(kang, "real.h5ad")).notes
    assert notes[-1] == "warning: pred.h5ad: mean expression is 0.25 times that of real.h5ad: on the same scale?"


def test_measured_cells_must_be_on_the_scale_that_is_said_of_them(read, kang):
    """Predictions show no trace of how they were scaled, and need none."""
    noise = np.random.default_rng(0).uniform(0.8, 1.2, kang.shape)
    smooth = kang.copy()
    smooth.X = kang.X.multiply(noise).tocsr().astype(np.float32)
    assert check_scale(read(smooth), is_measured=False) is None
    with pytest.raises(InputError, match="pred.h5ad: .*SoupX.* give --values log1p with --target-sum"):
        check_scale(read(smooth))
    check_scale(read(smooth, labels=FileLabels(target_sum=1e4, values="log1p")))
    check_scale(read(smooth, card=card_of(kang)))
    whole = kang.copy()
    linear = np.expm1(kang.X.toarray())
    whole.X = np.log1p(linear / linear.sum(axis=1, keepdims=True) * 5e3).astype(np.float32)
    with pytest.raises(InputError, match="scaled to 10000, found .* 5000; give --target-sum 5000"):
        check_scale(read(whole))
    check_scale(read(whole, labels=FileLabels(target_sum=5e3)))


def test_a_scale_that_nobody_states_is_refused(read, kang):
    stated = read(kang, "real.h5ad", card=card_of(kang))
    unstated = read(kang, labels=None)
    with pytest.raises(InputError, match=r"pred.h5ad: scale unknown: .* expected --target-sum"):
        align(unstated, stated)
    with pytest.raises(InputError, match=r"pred.h5ad: scale unknown"):
        check_scale(unstated)
    assert align(read(kang), stated).target_sum == 1e4
    with pytest.raises(
        InputError, match=r"scale \(target_sum 1e\+06\) is not that of .* \(target_sum 10000, from counts"
    ):
        align(read(kang, labels=FileLabels(target_sum=1e6)), stated)


def test_another_logarithm_is_refused(read, kang):
    other = kang.copy()
    other.uns["log1p"] = {"base": 2.0}
    with pytest.raises(InputError, match=r"uns\['log1p'\]\['base'\] = 2"):
        read(other)
    other.uns["log1p"] = {}
    read(other)


@pytest.mark.parametrize("key", ["checkpoint", "baseline"])
def test_predicted_cells_cannot_be_the_truth(write, kang, key):
    adata = kang.copy()
    adata.uns["bionemo_scale"] = {"card": card_of(kang).to_json(), key: "run-7"}
    with pytest.raises(InputError, match=r"real.h5ad: holds predicted cells \(of run-7"):
        check_controls(read_population(write(adata, "real.h5ad")))


@pytest.mark.parametrize("is_sparse", [True, False])
def test_a_large_file_stays_on_disk_and_reads_the_same(write, kang, is_sparse):
    adata = kang.copy()
    adata.X = kang.X if is_sparse else kang.X.toarray()
    path = write(adata, "pred.h5ad", card_of(kang))
    whole, stored = (read_population(path, in_memory=limit) for limit in (1 << 30, 0))
    assert isinstance(stored.population.expression, StoredMatrix)
    np.testing.assert_array_equal(whole.row_sums, stored.row_sums)
    rows = np.random.default_rng(0).permutation(len(adata))[:50]
    genes = tuple(reversed(adata.var_names))
    for population in (whole.population, stored.population):
        np.testing.assert_array_equal(population.dense(), kang.X.toarray())
        np.testing.assert_array_equal(
            population.with_genes(genes).select(rows).dense(), kang.X.toarray()[rows][:, ::-1]
        )


def test_column_compressed_files_are_read(write, kang):
    adata = kang.copy()
    adata.X = kang.X.tocsc()
    found = read_population(write(adata, "pred.h5ad"), in_memory=0).population
    np.testing.assert_array_equal(found.dense(), kang.X.toarray())


def test_controls_must_be_in_the_real_file(read, kang):
    with pytest.raises(InputError, match=r"has no control cells 'contrl'; did you mean 'control'"):
        check_controls(read(kang, labels=FileLabels(control="contrl")))
    with pytest.raises(InputError, match="no control cells 'control'; found 'IFN-beta'"):
        check_controls(read(perturbed(kang), "b.h5ad"))
    with pytest.raises(InputError, match="every cell is a control"):
        check_controls(read(kang[kang.obs["perturbation"] == "control"].copy(), "c.h5ad"))
    partial = kang[(kang.obs["perturbation"] != "control") | (kang.obs["cell_type"] == "NK")].copy()
    with pytest.raises(InputError, match=r"no control cells \('control'\) in cell_type 'CD8 T'"):
        check_controls(read(partial, "d.h5ad"))


def test_same_real_controls_replace_those_of_the_prediction(read, kang):
    real = read(kang, "real.h5ad")
    smoothed = kang.copy()
    smoothed.X = smoothed.X * 0.5
    controls, line = choose_controls(read(smoothed), real, "same-real")
    np.testing.assert_array_equal(controls.dense(), real.population.select(real.is_control).dense())
    assert line == "real controls on both sides; 102 control cells in pred.h5ad dropped"
    assert choose_controls(read(perturbed(kang), "b.h5ad"), real, "same-real")[1] == "real controls on both sides"


def test_predicted_controls(read, kang):
    real = read(kang, "real.h5ad")
    smoothed = kang.copy()
    smoothed.X = smoothed.X * 0.5
    controls, line = choose_controls(read(smoothed), real, "predicted")
    np.testing.assert_array_equal(controls.dense(), real.population.select(real.is_control).dense() * 0.5)
    assert line == "102 control cells of pred.h5ad on the predicted side"
    with pytest.raises(InputError, match=r"b.h5ad: control policy 'predicted' needs controls .*'CD8 T', 'NK'"):
        choose_controls(read(perturbed(kang), "b.h5ad"), real, "predicted")


def test_blanks_in_labels_are_left_out_and_said(read, kang):
    other = kang.copy()
    other.obs["perturbation"] = [f"{name} " for name in other.obs["perturbation"]]
    file = read(other, labels=FileLabels(control="control ", target_sum=1e4))
    assert set(file.population.perturbation) == set(kang.obs["perturbation"]) and file.is_control.any()
    assert any("blanks at the ends of 2 labels" in note for note in file.notes)
