# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""A submission of known counts: what is mended, what is refused, and what the challenge's own tools say of it."""

import importlib.util
import shutil
import subprocess

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csc_matrix, csr_matrix

from bionemo.scale import api
from bionemo.scale.files.anndata import anndata_file
from bionemo.scale.run.submit import main
from bionemo.scale.submit.settings import SubmitSettings
from bionemo.scale.submit.write import submit
from bionemo.scale.types import InputError, ObsKeys


GENES = ["G0", "G1", "G2", "G3"]
LABELS = [(context, name) for context in ("A", "B") for name in ("control", "P", "Q", "R")]
EACH = 5


@pytest.fixture
def predicted() -> anndata.AnnData:
    """Counts of 2 contexts x (control, P, Q, R), 5 cells each in random order, of more genes in another order."""
    rng = np.random.default_rng(0)
    labels = [LABELS[row] for row in rng.permutation(len(LABELS) * EACH) // EACH]
    obs = pd.DataFrame(labels, columns=["cell_type", "perturbation"])
    obs["batch"] = "b"
    obs.index = [f"cell{row}" for row in range(len(obs))]
    counts = rng.poisson(2.0, size=(len(obs), 5)).astype(np.float32)
    counts[:, 1] += 1
    return anndata.AnnData(csr_matrix(counts), obs=obs, var=pd.DataFrame(index=["G2", "G0", "X", "G3", "G1"]))


@pytest.fixture
def panel(tmp_path):
    """Lists of the challenge."""
    (tmp_path / "gene_names.csv").write_text("gene_name\n" + "\n".join(GENES) + "\n")
    (tmp_path / "pert_counts.csv").write_text("target_gene\nP\nQ\n")
    (tmp_path / "manifest.json").write_text('{"contexts": ["A", "B"], "partition": "validation"}')
    return {"genes": tmp_path / "gene_names.csv", "perturbations": tmp_path / "pert_counts.csv"}


def settings(adata, panel, **options) -> SubmitSettings:
    folder = panel["genes"].parent
    if adata is not None:
        adata.write_h5ad(folder / "pred.h5ad")
    return SubmitSettings.make(
        **{"inputs": [folder / "pred.h5ad"], "out": folder / "out.h5ad", "cells_per_condition": 3, **panel, **options}
    )


def written(adata, panel, **options):
    chosen = settings(adata, panel, **options)
    done = submit(chosen)
    return anndata.read_h5ad(chosen.out), done


def assert_refused(match, adata, panel, **options):
    before = sorted(panel["genes"].parent.iterdir())
    with pytest.raises(InputError, match=match):
        submit(settings(adata, panel, **options))
    assert [path.name for path in sorted(panel["genes"].parent.iterdir()) if path not in before] in ([], ["pred.h5ad"])


def test_it_has_the_cells_and_genes_that_are_asked_for(predicted, panel, monkeypatch):
    monkeypatch.setattr(anndata_file, "CHUNK_ENTRIES", 30)
    found, done = written(predicted, panel)
    assert found.var_names.tolist() == GENES and list(found.obs.columns) == ["target_gene", "context"]
    assert not found.uns and not found.obsm and not found.layers
    assert found.X.format == "csr" and found.X.dtype == np.float32
    sizes = found.obs.groupby(["context", "target_gene"], observed=True).size()
    assert dict(sizes) == {(context, name): 3 for context in "AB" for name in "PQ"}
    assert (done.num_cells, done.num_genes, done.num_conditions) == (12, 4, 4) and done.num_values == found.X.nnz
    assert done.contexts == ("A", "B")
    # Each row is a cell of its condition, gene by gene.
    own = predicted[:, GENES]
    for row, (name, context) in enumerate(found.obs.itertuples(index=False)):
        same = own[(own.obs["cell_type"] == context) & (own.obs["perturbation"] == name)].X.toarray()
        assert (same == found.X[row].toarray()).all(axis=1).any(), row


def test_what_was_mended_is_said(predicted, panel):
    notes = written(predicted, panel)[1].notes
    assert [note.removeprefix("pred.h5ad: ") for note in notes] == [
        "1 genes left out, which gene_names.csv does not list",
        "genes put in the order of gene_names.csv",
        "10 control cells left out",
        "10 cells left out: 'R in A', 'R in B' not asked for",
        "8 cells left out of conditions with more than are asked for; the rest were drawn with the seed 0",
    ]


def test_the_seed_draws_the_cells(predicted, panel):
    first, again, other = (written(predicted, panel, overwrite=True, seed=seed)[0] for seed in (1, 1, 2))
    assert (first.X != again.X).nnz == 0 and (first.X != other.X).nnz > 0
    # As many as there are need no draw.
    done = written(predicted, panel, overwrite=True, cells_per_condition=EACH)[1]
    assert done.num_cells == 20 and not any("drawn" in note for note in done.notes)


def test_several_files_and_layouts_are_one_submission(predicted, panel, tmp_path):
    whole = written(predicted, panel, cells_per_condition=EACH)[0]
    parts = [predicted[predicted.obs["cell_type"] == context].copy() for context in "AB"]
    parts[0].X, parts[1].X = parts[0].X.toarray().astype(np.int64), csc_matrix(parts[1].X)
    for part, name in zip(parts, "ab", strict=True):
        part.write_h5ad(tmp_path / f"{name}.h5ad")
    inputs = [tmp_path / "a.h5ad", tmp_path / "b.h5ad"]
    both = written(None, panel, inputs=inputs, overwrite=True, cells_per_condition=EACH)[0]
    assert both.obs["context"].tolist() == ["A"] * 10 + ["B"] * 10
    np.testing.assert_array_equal(both.X.sum(axis=0), whole.X.sum(axis=0))
    assert_refused("expected each file of predictions once", None, panel, inputs=[inputs[0], inputs[0]])


def test_lists_of_single_contexts_and_numbers(predicted, panel):
    panel["perturbations"].write_text("target_gene,context,n_cells\nP,A,2\nR,B,\nQ,B,4\n")
    found, done = written(predicted, panel, contexts=("A", "B"))
    sizes = found.obs.groupby(["context", "target_gene"], observed=True).size()
    assert dict(sizes) == {("A", "P"): 2, ("B", "Q"): 4, ("B", "R"): 3}
    panel["genes"].with_name("manifest.json").unlink()
    assert written(predicted, panel, overwrite=True)[1].contexts == ("A", "B")


def test_broken_rules_are_one_line(predicted, panel):
    assert_refused("expected 6 cells of 'P' in the context 'A', found 5, and too few of 2 of 2", predicted, panel,
            cells_per_condition=6)  # fmt: skip
    assert_refused("expected cells of the context 'D', found none", predicted, panel, contexts=("D", "A"))
    assert_refused(
        "--max-cells: expected at most 11 cells, found that the list asks for 12", predicted, panel, max_cells=11
    )
    assert_refused("--max-values: expected at most 9 counts above 0, found more", predicted, panel, max_values=9)
    assert_refused("expected at most 3 counts of a cell, found", predicted, panel, max_counts=3)
    missing = predicted[(predicted.obs["perturbation"] != "Q") | (predicted.obs["cell_type"] != "B")].copy()
    assert_refused("expected all 2 perturbations in the context 'B', found no 'Q'", missing, panel)
    assert_refused(
        r"expected every gene of .*gene_names.csv, found no 'G1'; make the store", predicted[:, :4].copy(), panel
    )


@pytest.mark.parametrize(("value", "shown"), [(0.5, "0.5"), (-1.0, "-1"), (np.nan, "nan"), (np.inf, "inf")])
def test_what_is_no_count_is_refused(predicted, panel, value, shown):
    predicted.X = predicted.X.toarray()
    predicted.X[np.flatnonzero(predicted.obs["perturbation"] == "P"), 1] = value
    assert_refused(f"X must hold whole counts, found {shown}; predict with", predicted, panel)


def test_several_times_in_a_context_are_refused(predicted, panel):
    predicted.obs["time"] = ["6h", "24h"] * (len(predicted.obs) // 2)
    assert_refused(
        r"expected one value of obs\['time'\], found '6h', '24h'", predicted, panel, keys=ObsKeys(covariate="time")
    )


def test_a_perturbation_of_zeros_is_refused(predicted, panel):
    predicted.X = predicted.X.toarray() * (predicted.obs["perturbation"] != "Q").to_numpy()[:, None]
    assert_refused("found only zeros of 'Q in A', 'Q in B'", predicted, panel)


def test_measured_cells_are_refused(predicted, panel, card):
    predicted.uns["bionemo_scale"] = {"card": card.to_json()}
    assert_refused("expected predicted cells, found measured ones", predicted, panel)
    predicted.uns["bionemo_scale"]["checkpoint"] = "run"
    done = written(predicted, panel)[1]
    assert done.num_cells == 12 and not any("label options" in note for note in done.notes)
    notes = written(predicted, panel, overwrite=True, control="ntc")[1].notes
    assert "pred.h5ad says itself how its cells are labelled; label options are not used for it" in notes


@pytest.fixture
def card():
    from bionemo.scale.types import DataCard, ExpressionScale

    labels = {"cell_types": ("A", "B"), "perturbations": ("P", "Q", "R"), "batches": ("b",), "control": "control"}
    scale = ExpressionScale(target_sum=1e4, source="counts", library_size_key=None)
    return DataCard(genes=("G2", "G0", "X", "G3", "G1"), scale=scale, keys=ObsKeys(), **labels)


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("gene_names.csv", "gene\n", "expected one gene a line, found none"),
        ("gene_names.csv", "G0\nG1\nG0\n", "genes must be there once, found 'G0' again"),
        ("pert_counts.csv", "gene\nP\n", "expected a column 'target_gene', found 'gene'"),
        ("pert_counts.csv", "target_gene\n", "expected perturbations, found none"),
        ("pert_counts.csv", "target_gene\nP\nP\n", "each perturbation once, found 'P' again in row 3"),
        ("pert_counts.csv", "target_gene,n_cells\nP,many\n", "row 2: expected a number of cells in 'n_cells', found"),
        ("pert_counts.csv", "target_gene,n_cells\nP\n", "expected 2 columns as the header has, found 1 in row 2"),
        ("pert_counts.csv", "target_gene,context\nP,C\n", "expected perturbations of the context 'A', found none"),
        ("pert_counts.csv", 'target_gene\n"P', "expected CSV, found"),
        ("manifest.json", '{"contexts": []}', "expected a list of labels under 'contexts', found"),
        ("manifest.json", "{", "expected JSON"),
    ],
)
def test_lists_that_are_none(predicted, panel, name, text, match):
    panel["genes"].with_name(name).write_text(text)
    assert_refused(match, predicted, panel)


def test_contexts_must_be_named(predicted, panel):
    panel["genes"].with_name("manifest.json").unlink()
    assert_refused("--contexts: expected the contexts of the challenge", predicted, panel)
    with pytest.raises(InputError, match="^contexts: expected the contexts of the challenge"):
        api.submit(predicted, panel["genes"].with_name("api.h5ad"), **panel)


def test_the_command_says_what_it_did(predicted, panel, capsys):
    predicted.write_h5ad(panel["genes"].with_name("pred.h5ad"))
    folder = panel["genes"].parent
    words = ["pred.h5ad", "--out", "sub.h5ad", "--genes", "gene_names.csv", "--perturbations", "pert_counts.csv"]
    words = [str(folder / word) if "." in word else word for word in words]
    assert main([*words, "--cells-per-condition", "3"]) == 0
    out = capsys.readouterr().out
    assert "note: pred.h5ad: 10 control cells left out" in out
    assert "12 cells of 4 conditions in 2 contexts, 4 genes" in out and "vcc prep" in out
    assert main([*words, "--cells-per-condition", "3"]) == 2
    assert "exists already" in capsys.readouterr().err


def test_cells_of_a_notebook(predicted, panel, tmp_path):
    done = api.submit(predicted, tmp_path / "sub.h5ad", cells_per_condition=2, **panel)
    assert done.num_cells == 8 and done.notes[0].startswith("inputs-0.h5ad: ")
    assert sorted(predicted.obs.columns) == ["batch", "cell_type", "perturbation"]


@pytest.mark.skipif(importlib.util.find_spec("cell_eval2") is None, reason="cell-eval2 is not installed here")
def test_cell_eval2_takes_it_for_counts(predicted, panel):
    from cell_eval2.norm import check_scale_limit, validate_input_type

    found = written(predicted, panel)[0]
    validate_input_type(found, "counts")
    check_scale_limit(found, "counts", 1e6)
    with pytest.raises(ValueError, match="max_counts_per_cell|exceed"):
        check_scale_limit(found, "counts", 2.0)


@pytest.mark.skipif(shutil.which("vcc") is None, reason="the challenge's vcc-cli is not on the PATH")
def test_vcc_takes_it(predicted, panel):
    chosen = settings(predicted, panel)
    submit(chosen)
    words = ("-g", chosen.genes, "--perts", chosen.perturbations, "--cells-per-pert", 3, "--dry-run")
    done = subprocess.run(["vcc", "prep", chosen.out, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "verified against the official list" in done.stdout and "reordered" not in done.stdout
