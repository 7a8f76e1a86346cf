# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Control cells of a file that is laid out as the training data was, or as the user says."""

import json
from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from bionemo.scale.data.prepare.preprocess import prepare
from bionemo.scale.data.prepare.settings import PrepareSettings
from bionemo.scale.data.store.reader import Store
from bionemo.scale.files.anndata.checked_anndata import CheckedAnnData
from bionemo.scale.infer.controls.control_cells import CellSource, read_controls
from bionemo.scale.types import DataCard, InputError


@pytest.fixture
def layered(screen, tmp_path):
    """Counts in a layer, log1p at another scale in X, symbols in a var column, two names of controls."""
    screen.layers["counts"] = screen.X.copy()
    total = np.asarray(screen.X.sum(axis=1)).ravel()
    screen.X = csr_matrix(np.log1p(screen.X.toarray() / total[:, None] * 1e6))
    screen.var["symbol"] = [f"S{number}" for number in range(screen.n_vars)]
    is_control = (screen.obs["perturbation"] == "control").to_numpy()
    names = np.where(is_control, np.where(np.arange(screen.n_obs) % 2, "NT1", "NT2"), screen.obs["perturbation"])
    screen.obs["perturbation"] = pd.Categorical(names)
    path = tmp_path / "cells.h5ad"
    screen.write_h5ad(path)
    return path, is_control


@pytest.fixture
def store(layered, tmp_path) -> Store:
    path, _ = layered
    told = dict(matrix="layers/counts", gene_key="symbol", controls=("NT1", "NT2"), num_hvg=0)
    prepare(PrepareSettings(inputs=(path,), out=tmp_path / "store", **told))
    with Store.open(tmp_path / "store") as opened:
        yield opened


def test_the_card_remembers_how_the_inputs_were_read(store):
    card = store.card
    assert (card.matrix, card.gene_key, card.control, card.all_controls) == (
        "layers/counts",
        "symbol",
        "NT1",
        ("NT1", "NT2"),
    )
    assert DataCard.from_json(card.to_json()) == card


def test_the_same_file_gives_the_same_controls(layered, store):
    path, is_control = layered
    cells = read_controls(CellSource(path=path), store.card)
    assert len(cells.names) == is_control.sum()
    rows = np.concatenate([store.groups.rows(i) for i in np.flatnonzero(store.groups.is_control).tolist()])
    stored = dict(zip(store.obs(rows)["cell"], store.read(rows).toarray(), strict=True))
    np.testing.assert_allclose(cells.expression.toarray(), [stored[name] for name in cells.names], rtol=1e-5)


def test_a_url_gives_the_controls_of_the_same_file(layered, store, tmp_path, web):
    path, _ = layered
    ad.read_h5ad(path).write_zarr(tmp_path / "cells.zarr")
    here = read_controls(CellSource(path=path), store.card)
    for name in ("cells.zarr", "cells.h5ad"):
        there = read_controls(CellSource(path=web.url(tmp_path / name)), store.card)
        assert (there.expression != here.expression).nnz == 0 and there.names.tolist() == here.names.tolist()


def test_a_card_of_an_earlier_version_reads_x_and_the_index(store):
    fields = json.loads(store.card.to_json())
    for name in ("matrix", "gene_key", "control_labels"):
        del fields[name]
    card = DataCard.from_dict(fields)
    assert (card.matrix, card.gene_key, card.all_controls) == ("X", None, ("NT1",))


def test_a_file_without_the_layer_or_the_column_is_asked_about(layered, store, tmp_path):
    path, _ = layered
    plain, name = ad.read_h5ad(path), tmp_path / "plain.h5ad"
    plain.X, plain.var_names = plain.layers.pop("counts"), plain.var.pop("symbol").astype(str)
    plain.var["rank"], plain.var.index.name = 1, None
    plain.write_h5ad(name)
    with pytest.raises(InputError, match="in layers/counts, where .* had it, found nothing in layers; .* --matrix X"):
        read_controls(CellSource(path=name), store.card)
    columns = r"in var\['symbol'\], where .* had them, found the columns 'rank'; give --gene-key, which is _index for"
    with pytest.raises(InputError, match=columns):
        read_controls(CellSource(path=name, matrix="X"), store.card)
    expected = read_controls(CellSource(path=path), store.card).expression.toarray()
    found = read_controls(CellSource(path=name, matrix="X", gene_key="_index"), store.card).expression.toarray()
    np.testing.assert_array_equal(found, expected)


def test_what_the_user_says_goes_before_the_card(layered, store):
    path, _ = layered
    card = replace(store.card, matrix="X", gene_key=None)
    found = read_controls(CellSource(path=path, matrix="layers/counts", gene_key="symbol"), card).expression.toarray()
    np.testing.assert_array_equal(found, read_controls(CellSource(path=path), store.card).expression.toarray())
    with pytest.raises(InputError, match="no layer 'count'; did you mean 'counts'"):
        read_controls(CellSource(path=path, matrix="layers/count", gene_key="symbol"), card)


def test_genes_of_another_naming_are_shown_with_the_option(layered, store):
    path, _ = layered
    found = r"found \d+ missing, the first are .*; genes of the file are NAME, .* give --gene-key if a var column has"
    with pytest.raises(InputError, match=found.replace("NAME", repr(str(ad.read_h5ad(path).var_names[0])))):
        read_controls(CellSource(path=path), replace(store.card, gene_key=None))


def test_every_control_label_is_in_the_refusal(layered, store, tmp_path):
    path, is_control = layered
    ad.read_h5ad(path)[~is_control].copy().write_h5ad(tmp_path / "treated.h5ad")
    with pytest.raises(InputError, match="= 'NT1' or 'NT2', found none"):
        read_controls(CellSource(path=tmp_path / "treated.h5ad"), store.card)


@pytest.fixture
def renamed(screen, tmp_path, store):
    """Write the cells of a file that does not have the model's perturbation column, and read them."""

    def run(card=None, **columns):
        screen.obs = screen.obs.drop(columns="perturbation", errors="ignore").assign(**columns)
        screen.write_h5ad(tmp_path / "renamed.h5ad")
        return read_controls(CellSource(path=tmp_path / "renamed.h5ad"), card or store.card)

    return run


def test_perturbed_cells_under_another_column_are_not_taken_for_controls(renamed, screen, layered):
    _, is_control = layered
    found = rf"expected obs\['perturbation'\].*{(~is_control).sum()} cells of .*'p0'.* in obs\['gene'\]"
    with pytest.raises(InputError, match=found):
        renamed(gene=screen.obs["perturbation"])


def test_a_file_without_the_column_is_all_controls_and_says_so_where_another_column_differs(renamed, screen, layered):
    _, is_control = layered
    cells = renamed(drug=np.where(is_control, "NT1", "new drug"), lot=np.arange(screen.n_obs))
    assert len(cells.names) == screen.n_obs
    (note,) = cells.notes
    assert (
        f"all {screen.n_obs} cells are taken for controls; obs['drug'] calls only {is_control.sum()} of them" in note
    )


def test_a_file_of_controls_needs_no_column(renamed, screen):
    assert renamed(drug="NT1", donor=np.where(np.arange(screen.n_obs) % 2, "d1", None)).notes == ()


def test_numbered_clusters_are_not_taken_for_numbered_perturbations(renamed, screen, store):
    """A model whose guides are called 1 and 2, and controls in clusters 0 to 3."""
    numbered = replace(store.card, perturbations=("1", "2"), control="0", control_labels=("0",))
    clusters = np.arange(screen.n_obs) % 4
    (note,) = renamed(numbered, leiden=pd.Categorical(clusters.astype(str))).notes
    assert f"obs['leiden'] calls {np.isin(clusters, [1, 2]).sum()} of them '1', '2', as the model calls" in note


def test_a_few_labels_that_are_called_like_perturbations_are_told(renamed, screen):
    assert "calls 1 of them 'p0', as the model" in renamed(lot=["p0", *map(str, range(1, screen.n_obs))]).notes[0]
    with pytest.raises(InputError, match="rename that column"):
        renamed(lot=["p0", "NT1", *map(str, range(2, screen.n_obs))])
    with pytest.raises(InputError, match="rename that column"):
        renamed(lot=["p0", *["new"] * (screen.n_obs - 2), "p1"])


def test_columns_of_a_file_without_the_perturbation_are_read_once(renamed, screen, monkeypatch):
    names, read = [], CheckedAnnData.column

    def column(self, frame, name):
        names.append(name)
        return read(self, frame, name)

    monkeypatch.setattr(CheckedAnnData, "column", column)
    renamed(barcode=[f"cell {number}" for number in range(screen.n_obs)])
    assert names.count("barcode") == 1
