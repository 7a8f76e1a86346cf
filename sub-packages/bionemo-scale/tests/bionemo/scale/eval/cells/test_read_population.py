# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Every refusal names the file, what was expected and what was found."""

import json

import anndata as ad
import numpy as np
import pytest

from bionemo.scale.eval.cells.alignment import align
from bionemo.scale.eval.cells.read_population import ONE_CELL_TYPE, read_population
from bionemo.scale.eval.cells.stored import StoredMatrix
from bionemo.scale.types import FileLabels, InputError, ObsKeys


def test_reads_cells_labels_and_card(card_of, read, kang, kang_population):
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


def test_a_url_is_read_as_the_same_file(card_of, read, kang, tmp_path, web):
    here = read(kang, card=card_of(kang))
    ad.read_h5ad(here.path).write_zarr(tmp_path / "pred.zarr")
    there = read_population(web.url(tmp_path / "pred.zarr"), in_memory=0)
    assert isinstance(there.population.expression, StoredMatrix)
    np.testing.assert_array_equal(there.population.dense(), here.population.dense())
    assert there.population.perturbation.tolist() == here.population.perturbation.tolist()
    assert there.card == here.card and there.sha256 == web.url(tmp_path / "pred.zarr").sha256()


def test_labels_of_other_tools(card_of, read, kang):
    other = kang.copy()
    other.obs = other.obs.rename(columns={"perturbation": "target", "cell_type": "line", "batch": "gem"})
    other.obs["target"] = other.obs["target"].replace({"control": "non-targeting"})
    labels = FileLabels(
        keys=ObsKeys(perturbation="target", cell_type="line", batch="gem"), control="non-targeting", target_sum=1e4
    )
    real = read(kang, "real.h5ad", card=card_of(kang))
    pred = align(read(other, labels=labels), real)
    assert set(pred.population.perturbation) == {"control", "IFN-beta"}
    with pytest.raises(InputError, match=r"obs has no column 'perturbation'; found 'target', 'line', 'gem'"):
        read(other, "again.h5ad")


def test_a_file_with_a_card_keeps_its_labels(card_of, read, kang):
    file = read(kang, card=card_of(kang), labels=FileLabels(control="DMSO"))
    assert file.labels.control == "control"
    assert "label options are not used" in file.notes[0]


def test_near_column_names_are_suggested(read, kang):
    other = kang.copy()
    other.obs = other.obs.rename(columns={"cell_type": "celltype"})
    with pytest.raises(InputError, match="obs has no column 'cell_type'; did you mean 'celltype'"):
        read(other)


def test_without_cell_types_there_is_one(card_of, read, kang):
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
    with pytest.raises(InputError, match="obs has no column 'line'"):
        read(bare, labels=FileLabels(keys=ObsKeys(cell_type="line"), target_sum=1e4))
    with pytest.raises(InputError, match="obs has no column 'cell_type'"):
        read(bare, card=card_of(kang))


def test_a_missing_batch_column_is_one_batch_unless_named(read, kang):
    other = kang.copy()
    del other.obs["batch"]
    file = read(other)
    assert set(file.population.batch) == {"one batch"}
    assert "taken as one batch" in file.notes[0]
    with pytest.raises(InputError, match="obs has no column 'donor'"):
        read(kang, "b.h5ad", labels=FileLabels(keys=ObsKeys(batch="donor")))


def test_missing_labels(read, kang):
    other = kang.copy()
    other.obs["cell_type"] = other.obs["cell_type"].astype(object)
    other.obs.iloc[3, other.obs.columns.get_loc("cell_type")] = np.nan
    with pytest.raises(
        InputError, match=r"obs\['cell_type'\] must label every cell, found 1 of \d+ without a label \(1 missing\)"
    ):
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


@pytest.mark.parametrize("is_sparse", [True, False])
def test_a_large_file_stays_on_disk_and_reads_the_same(card_of, write, kang, is_sparse):
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


def test_blanks_in_labels_are_left_out_and_said(read, kang):
    other = kang.copy()
    other.obs["perturbation"] = [f"{name} " for name in other.obs["perturbation"]]
    file = read(other, labels=FileLabels(control="control ", target_sum=1e4))
    assert set(file.population.perturbation) == set(kang.obs["perturbation"]) and file.is_control.any()
    assert any("blanks at the ends of 2 labels" in note for note in file.notes)


@pytest.mark.parametrize("text", ["5", "[]", "null", '"card"'])
def test_a_card_without_fields_is_refused(read, kang, text):
    other = kang.copy()
    other.uns["bionemo_scale"] = {"card": text}
    with pytest.raises(InputError, match=r"card'\] is no data card .*expected fields with names"):
        read(other)


def test_covariates_are_a_part_of_the_context(read, kang):
    other = kang.copy()
    other.obs["time"] = np.where(np.arange(other.n_obs) % 2, "6h", "24h")
    other.obs["assay"] = "x"
    labels = FileLabels(keys=ObsKeys(covariate="time, assay"), target_sum=1e4)
    file = read(other, labels=labels)
    assert set(file.population.cell_type) == {f"{name}:{time}:x" for name in ("NK", "CD8 T") for time in ("6h", "24h")}
    assert file.covariates["NK:6h:x"] == ("6h", "x")
    assert file.with_shared_controls() is file
    with pytest.raises(InputError, match="obs has no column 'tme'; did you mean 'time'"):
        read(other, "again.h5ad", labels=FileLabels(keys=ObsKeys(covariate="tme")))


def test_contexts_without_controls_have_those_of_their_cell_type(read, kang):
    other = kang.copy()
    is_control = (other.obs["perturbation"] == "control").to_numpy()
    other.obs["time"] = np.where(is_control, "0h", np.where(np.arange(other.n_obs) % 2, "6h", "24h"))
    file = read(other, labels=FileLabels(keys=ObsKeys(covariate="time"), target_sum=1e4)).with_shared_controls()
    cells = file.population
    for name in ("NK:6h", "NK:24h"):
        here = file.is_control & (cells.cell_type == name)
        assert here.sum() == (is_control & (other.obs["cell_type"] == "NK").to_numpy()).sum()
        # They are told apart from controls that were measured at that time.
        assert set(cells.measured_context[here]) == {"NK:0h"} and file.covariates["NK:0h"] == ("0h",)
    assert len(file.row_sums) == len(cells) == other.n_obs + 2 * is_control.sum()
    assert any("NK:6h has no controls; those of its cell type are used" in note for note in file.notes)
