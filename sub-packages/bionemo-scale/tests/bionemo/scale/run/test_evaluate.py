# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The command, with a real store made of the Kang data: what it writes, prints and refuses."""

import json
import re
import resource
import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import polars as pl
import pytest

from bionemo.scale import api
from bionemo.scale.counts.counted import whole_counts
from bionemo.scale.data.prepare.preprocess import prepare
from bionemo.scale.data.prepare.settings import PrepareSettings
from bionemo.scale.data.store.reader import Store
from bionemo.scale.eval.baselines.estimators import default_baselines
from bionemo.scale.eval.settings import EvaluateSettings, model_names
from bionemo.scale.run.evaluate import main
from bionemo.scale.run.report import main as report
from bionemo.scale.types import FileLabels, InputError, ObsKeys


KANG = Path(__file__).parents[6] / "examples" / "data" / "kang2018_pbmc_ifnb.h5ad"
HELD_OUT = "CD8 T"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A store that holds IFN-beta in CD8 T out, the real cells of that split, and a prediction of them."""
    folder = tmp_path_factory.mktemp("evaluate")
    cells = ad.read_h5ad(KANG)
    cells[cells.obs["cell_type"].isin([HELD_OUT, "NK", "CD4 T"])].write_h5ad(folder / "kang.h5ad")
    (folder / "split.toml").write_text(f'[training]\nkang = "train"\n[zeroshot]\n"kang.{HELD_OUT}" = "test"\n')
    config = PrepareSettings(
        inputs=(folder / "kang.h5ad",),
        out=folder / "store",
        split=folder / "split.toml",
        num_hvg=300,
        library_size_key="n_counts_full",
    )
    prepare(config)
    with Store.open(folder / "store") as store:
        labels = store.obs(np.arange(store.num_cells))
        rows = np.flatnonzero(labels["cell_type"] == HELD_OUT)
        obs = labels.iloc[rows].set_index("cell").astype(str)
        real = ad.AnnData(X=store.read(rows), obs=obs)
        real.var_names = list(store.card.genes)
        real.uns["bionemo_scale"] = {"card": store.card.to_json(), "store": str(folder / "store")}
    real.write_h5ad(folder / "real.h5ad")
    pred = real[real.obs["perturbation"] != "control"].copy()
    pred.X = pred.X.toarray() * 0.8
    pred.write_h5ad(folder / "pred.h5ad")
    return folder


@pytest.fixture
def evaluate(folder, tmp_path, capfd):
    """Run the command; return exit code, standard output and standard error."""

    def evaluate(*options, pred="pred.h5ad", real="real.h5ad"):
        files = [str(folder / name) if isinstance(name, str) else str(name) for name in (pred, real)]
        out = [] if "--out" in options else ["--out", str(tmp_path / "out")]
        code = main(["--pred", files[0], "--real", files[1], *out, *map(str, options)])
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return evaluate


def changed(folder, tmp_path, change, name="pred.h5ad") -> Path:
    adata = ad.read_h5ad(folder / name)
    result = change(adata)
    adata = adata if result is None else result
    adata.write_h5ad(tmp_path / f"changed_{name}")
    return tmp_path / f"changed_{name}"


def test_scores_next_to_all_baselines(evaluate, tmp_path):
    code, out, err = evaluate("--plot", "--name", "scale")
    assert code == 0
    assert "control policy same-real, scale: real controls on both sides" in out
    assert "controls: same-real (the real ones on both sides); means over 1 (cell type, perturbation) pairs" in out
    table = pl.read_csv(tmp_path / "out" / "results.csv")
    models = ["scale", *default_baselines(with_features=False), "ceiling"]
    assert table["model"].to_list() == models
    assert table["context"].unique().to_list() == [HELD_OUT]
    for model in models:
        assert any(line.startswith(f"{model} ") for line in out.splitlines())
    assert "PDS undefined (only one perturbation in the context): 1 of 1 pairs" in out.replace("[a] ", "").replace(
        "[b] ", ""
    )
    assert "note: context_mean uses its fallback for 79 of 79 cells" in out
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert sorted(summary["files"]) == sorted(path.name for path in (tmp_path / "out").iterdir())
    assert (tmp_path / "out" / "delta.png").stat().st_size > 10_000
    correlation = {name: found["pearson_delta"]["mean"] for name, found in summary["models"].items()}
    assert correlation["ceiling"] > correlation["additive"] > correlation["control"] + 0.3
    first, *scored = without_waits(err)
    assert first.startswith(f"scoring {len(models)} times")
    assert [line.split(" (")[0] for line in scored] == [f"scored {i}/{len(models)}" for i in range(1, len(models) + 1)]
    # The same command writes the same bytes.
    assert evaluate("--plot", "--name", "scale", "--out", tmp_path / "again")[0] == 0
    for path in (tmp_path / "out").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_vectors_must_name_every_perturbation(evaluate, tmp_path):
    (tmp_path / "vectors.csv").write_text("name,x\nIFN-alpha,1\n")
    code, _, err = evaluate("--perturbation-features", tmp_path / "vectors.csv")
    assert code == 2 and not (tmp_path / "out").exists()
    assert "vectors.csv: expected a row for each of 1 perturbations, found none for 1, the first is 'IFN-beta'" in err


def test_state_names_its_files_so(evaluate, tmp_path):
    evaluate("--no-baselines")
    names = {f"{HELD_OUT}_{kind}.csv" for kind in ("results", "agg_results", "real_de", "pred_de")}
    assert names <= {path.name for path in (tmp_path / "out").iterdir()}
    header = (tmp_path / "out" / f"{HELD_OUT}_results.csv").read_text().splitlines()[0]
    assert header.startswith("perturbation,pearson_delta,mse,mae")
    assert "sd_ratio" not in header


def test_pdex_gives_the_same_table(evaluate, tmp_path):
    tables = []
    for engine in ("fast", "pdex"):
        evaluate("--no-baselines", "--de-engine", engine, "--out", tmp_path / engine)
        tables.append(pl.read_csv(tmp_path / engine / "results.csv"))
    for column in tables[0].columns[5:]:
        ours, theirs = (table[column].cast(pl.Float64).to_numpy() for table in tables)
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6, equal_nan=True, err_msg=column)


def test_several_predictions(evaluate, folder, tmp_path):
    code, out, _ = evaluate("--pred", folder / "real.h5ad", "--name", "m", "--name", "truth", "--no-baselines")
    assert code == 0
    table = pl.read_csv(tmp_path / "out" / "results.csv")
    assert table["model"].to_list() == ["m", "truth"]
    assert table["mse"][1] == 0 < table["mse"][0]
    assert "truth: real controls on both sides; 54 control cells in real.h5ad dropped" in out


def test_files_of_other_tools(evaluate, folder, tmp_path):
    def relabel(adata):
        adata.obs = adata.obs.rename(columns={"perturbation": "target", "cell_type": "line", "batch": "gem"})
        names = {"control": "non-targeting", "IFN-beta": "IFN+beta (1 uM)"}
        adata.obs["target"] = adata.obs["target"].astype(str).replace(names)
        adata.obs["line"] = "HepG2/C3A x"
        del adata.uns["bionemo_scale"]

    files = [changed(folder, tmp_path, relabel, name) for name in ("pred.h5ad", "real.h5ad")]
    labels = ("--perturbation-key", "target", "--cell-type-key", "line", "--batch-key", "gem")
    labels = (*labels, "--control", "non-targeting")
    refuse(evaluate(*labels, pred=files[0], real=files[1]), "scale unknown", "--target-sum")
    refuse(
        evaluate("--target-sum", 0, pred=files[0], real=files[1]),
        "--target-sum must be at least 1 and at most 1e+09, found 0.0",
    )
    code, out, _ = evaluate(*labels, "--target-sum", 10000, pred=files[0], real=files[1])
    assert code == 0
    assert "no training data: baselines left out: perturbation_mean" in out
    assert pl.read_csv(tmp_path / "out" / "results.csv")["model"].to_list() == ["changed_pred", "control", "ceiling"]
    assert (tmp_path / "out" / "HepG2-C3A x_results.csv").read_text().splitlines()[1].startswith("IFN+beta (1 uM),")
    code, _, err = evaluate(pred=files[0], real=files[1])
    assert code == 2
    assert "obs has no column 'perturbation'" in err


def test_a_store_that_is_gone_or_of_another_split(evaluate, folder, tmp_path):
    def move(adata):
        adata.uns["bionemo_scale"]["store"] = "/nowhere/store"

    def retrain(adata):
        own = adata.uns["bionemo_scale"]
        card = json.loads(str(own["card"]))
        own["card"] = json.dumps({**card, "split_sha256": "a" * 64})

    code, out, _ = evaluate(pred=changed(folder, tmp_path, move))
    assert code == 0
    assert "baselines left out" in out
    given = ("--store", folder / "store", "--baselines", "additive")
    assert evaluate(*given, pred=changed(folder, tmp_path, move))[0] == 0
    retrained = changed(folder, tmp_path, retrain)
    code, out, _ = evaluate(pred=retrained)
    assert code == 0
    assert "was trained with split aaaaaaaaaaaa: not used for baselines" in out
    refuse(evaluate("--store", folder / "store", pred=retrained), "was trained with split aaaaaaaaaaaa")


def without_waits(text: str) -> list[str]:
    """Lines but those that a slow machine adds, as "reading real.h5ad: 5 s"."""
    return [line for line in text.splitlines() if not re.search(r": \d+ s$", line)]


def refuse(result, *expected) -> None:
    code, _, err = result
    assert code == 2, err
    err = "\n".join(without_waits(err))
    assert len(err.splitlines()) == 1, err
    assert err.startswith("error: ")
    for text in expected:
        assert text in err, err


def _integers(adata):
    adata.X = np.rint(np.expm1(np.asarray(adata.X)))


def _unlogged(adata):
    adata.X = np.expm1(np.asarray(adata.X))


def _negative(adata):
    adata.X = np.asarray(adata.X) - 1


def _nan(adata):
    values = np.array(adata.X)
    values[0, 0] = np.nan
    adata.X = values


def _other_genes(adata):
    adata.var_names = ["NOVEL", *adata.var_names[1:]]


def _other_perturbation(adata):
    adata.obs["perturbation"] = adata.obs["perturbation"].astype(str).replace({"IFN-beta": "IFN-gamma"})


def _other_cell_type(adata):
    adata.obs["cell_type"] = "NK"


def _no_cells(adata):
    return adata[:0].copy()


def _tenth(adata):
    adata.X = np.asarray(adata.X) / 10


def _other_scale(adata):
    own = adata.uns["bionemo_scale"]
    card = json.loads(str(own["card"]))
    own["card"] = json.dumps({**card, "scale": {**card["scale"], "target_sum": 1e6}})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_integers, "whole numbers only"),
        (_unlogged, "normalised without a logarithm"),
        (_negative, "negative values down to -1"),
        (_nan, "1 NaN or infinite"),
        (_other_genes, "1 unknown ('NOVEL')"),
        (_other_perturbation, "no cells with perturbation 'IFN-beta'"),
        (_other_cell_type, "no cells with cell_type 'CD8 T'"),
        (_no_cells, "X must have cells and genes, found the shape (0, "),
        (_other_scale, "target_sum 1e+06"),
        (_tenth, "what a division by 10 looks like"),
    ],
)
def test_bad_predictions_are_refused_and_nothing_is_left(evaluate, folder, tmp_path, change, expected):
    path = changed(folder, tmp_path, change)
    refuse(evaluate(pred=path), str(path), expected)
    assert list(tmp_path.iterdir()) == [path]


def test_other_refusals(evaluate, folder, tmp_path):
    refuse(evaluate(pred="missing.h5ad"), "missing.h5ad: no such file")
    refuse(evaluate(pred="split.toml"), "split.toml: expected an h5ad file (HDF5), found something else")
    refuse(evaluate(real="pred.h5ad"), "pred.h5ad: obs['perturbation'] has no control cells 'control'")
    refuse(evaluate("--control-policy", "predicted"), "pred.h5ad: control policy 'predicted' needs controls")
    refuse(evaluate("--store", tmp_path / "none"), str(tmp_path / "none"))
    refuse(evaluate("--name", "ridge"), "'ridge' is the name of a baseline")
    refuse(evaluate("--name", "a", "--name", "b"), "expected one for each --pred (1), found 2")
    refuse(evaluate("--seed", -1), "--seed must be at least 0 and below 4294967296, found -1")
    refuse(evaluate("--out", folder / "pred.h5ad"), "expected a folder for the results")
    refuse(evaluate("--baselines", "additive,magic"), "expected names of control, perturbation_mean", "found 'magic'")
    refuse(evaluate("--de", "pydeseq2"), "--de pydeseq2 and --replicate-key go together")
    refuse(evaluate("--de", "pydeseq2", "--replicate-key", "donor"), "obs has no column 'donor'")
    expected = "pred.h5ad: --de pydeseq2 scores counts, found log1p values"
    refuse(evaluate("--de", "pydeseq2", "--replicate-key", "batch", "--no-baselines"), expected)
    expected = "pred.h5ad: --evaluator cell-eval2 scores counts, found log1p values; counts are scored where"
    refuse(evaluate("--evaluator", "cell-eval2", "--no-baselines"), expected)
    refuse(evaluate("--no-baselines", "--write-baselines", tmp_path / "b"), "--no-baselines: cannot be combined")
    refuse(evaluate("--write-baselines", folder / "pred.h5ad"), "expected a folder for the baselines, found a file")
    assert list(tmp_path.iterdir()) == []


def test_target_genes_are_left_out_of_every_metric(evaluate, folder, tmp_path):
    """A gene that is predicted all wrong counts for nothing where a perturbation has its name."""

    def named(adata):
        adata.obs["perturbation"] = adata.obs["perturbation"].astype(str).replace("IFN-beta", adata.var_names[7])

    def spoilt(adata):
        named(adata)
        adata.X = np.asarray(adata.X)
        adata.X[:, 7] += 3

    real, scores = changed(folder, tmp_path, named, "real.h5ad"), []
    for change in (named, spoilt):
        pred = changed(folder, tmp_path, change)
        code, out, _ = evaluate("--no-baselines", "--leave-out-targets", pred=pred, real=real)
        assert code == 0 and "--leave-out-targets: 1 genes are left out of every metric" in out
        scores.append(pl.read_csv(tmp_path / "out" / "results.csv"))
    assert scores[0].equals(scores[1])


@pytest.fixture
def counts(folder, tmp_path) -> Path:
    """The real cells and a prediction of them, half of the molecules, as counts."""
    adata = ad.read_h5ad(folder / "real.h5ad")
    matrix, sizes = whole_counts(adata.X.tocsr(), 1e4)
    adata.X, adata.obs["library_size"] = matrix, sizes
    adata.write_h5ad(tmp_path / "real.h5ad")
    pred = adata[adata.obs["perturbation"] != "control"].copy()
    pred.X = pred.X.copy()
    pred.X.data = np.random.default_rng(0).binomial(pred.X.data.astype(int), 0.5).astype(np.float32)
    pred.X.eliminate_zeros()
    pred.write_h5ad(tmp_path / "pred.h5ad")
    return tmp_path


def test_counts_are_scored_as_their_log1p_values_are(evaluate, counts, folder):
    options = ("--baselines", "additive", "--store", folder / "store")
    assert evaluate(*options, pred=counts / "pred.h5ad", real=counts / "real.h5ad")[0] == 0
    found = pl.read_csv(counts / "out" / "results.csv")
    adata = ad.read_h5ad(counts / "pred.h5ad")
    log1p = np.log1p(adata.X.toarray() / adata.obs["library_size"].to_numpy()[:, None] * 1e4)
    adata.X = log1p.astype(np.float32)
    adata.write_h5ad(counts / "log1p.h5ad")
    assert evaluate(*options, pred=counts / "log1p.h5ad", real=folder / "real.h5ad")[0] == 0
    expected = pl.read_csv(counts / "out" / "results.csv")
    for name in ("pearson_delta", "mse", "overlap_at_N", "sd_ratio"):
        assert found[name][0] == pytest.approx(expected[name][0], rel=1e-4), name
    # A baseline of counts has its mean but for sampling, and the spread of cells.
    additive = [table.filter(pl.col("model") == "additive") for table in (found, expected)]
    assert additive[0]["pearson_delta"][0] == pytest.approx(additive[1]["pearson_delta"][0], abs=0.1)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_counts_by_cell_eval2_and_by_replicates(evaluate, counts):
    options = ("--no-baselines", "--evaluator", "cell-eval2", "--de", "pydeseq2", "--replicate-key", "batch")
    code, out, err = evaluate(*options, pred=counts / "pred.h5ad", real=counts / "real.h5ad")
    assert code == 0, err
    assert "their counts scored by cell-eval2 0.20.0" in out and "tests of replicates" in out
    results = pl.read_csv(counts / "out" / "results.csv")
    assert 0 <= results["ce2_de_wilcoxon_sig_jaccard"][0] <= 1
    assert results["deseq2_nsig_real"][0] > 0 and results["deseq2_confirms"][0] > 0
    assert (counts / "out" / "cell_eval2.csv").is_file() and (counts / "out" / "CD8 T_real_deseq2.csv").is_file()
    assert report([str(counts / "out"), "--out", str(counts / "page.html")]) == 0
    page = (counts / "page.html").read_text()
    assert "Their counts, cell-eval2 0.20.0" in page and "Conventions of cell-eval2" in page


def test_gene_sets_are_scored_on_both_sides(evaluate, folder, tmp_path):
    pytest.importorskip("decoupler")
    genes, path = ad.read_h5ad(folder / "real.h5ad").var_names, tmp_path / "sets.gmt"
    others = ["\t".join([f"every third from {first}", "-", *genes[first::3]]) for first in range(2)]
    path.write_text((KANG.parents[1] / "gene_sets" / "immune.gmt").read_text() + "\n".join(others))
    code, out, err = evaluate("--baselines", "context_mean,additive", "--gene-sets", str(path))
    assert code == 0, err
    assert "sets have at least 5 of the genes that are scored" in out and "scores of gene sets" in out
    results = pl.read_csv(tmp_path / "out" / "results.csv")
    row = dict(zip(results["model"], results.rows(named=True), strict=True))
    # The prediction is the truth, every value a fifth smaller.
    assert row["pred"]["sets_real"] >= 1 and row["pred"]["sets_direction"] == 1
    assert row["pred"]["sets_correlation"] > 0.3 and row["additive"]["sets_correlation"] > 0.8
    assert row["context_mean"]["sets_correlation"] is None, "it predicts the mean of the controls: no change"
    sets = pl.read_csv(tmp_path / "out" / "gene_sets.csv")
    first = sets.sort("score_real", descending=True).row(0, named=True)
    # Killer cells under interferon fill their granules; few of the interferon genes are among these 300.
    assert first["gene_set"] == "Cytotoxic granules" and first["fdr_real"] < 1e-3 and first["same_direction"]
    assert set(sets["model"]) == {"pred"} and set(sets["context"]) == {HELD_OUT}
    assert report([str(tmp_path / "out"), "--out", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    assert "<h3>Gene sets</h3>" in page and f"<h3>{HELD_OUT}, IFN-beta</h3>" in page and "SetCorr" in page
    # The same from Python, and without sets nothing of them.
    named = {"pred": folder / "pred.h5ad"}
    options = {"store": folder / "store", "baselines": (), "ceiling": False}
    found = api.evaluate(named, folder / "real.h5ad", tmp_path / "api", gene_sets=path, **options)
    assert (tmp_path / "api" / "gene_sets.csv").read_text() == (tmp_path / "out" / "gene_sets.csv").read_text()
    assert found.scores.filter(pl.col("model") == "pred")["sets_direction"].to_list() == [1.0]
    found = api.evaluate(named, folder / "real.h5ad", tmp_path / "api", **options)
    assert "sets_real" not in found.scores.columns and not (tmp_path / "api" / "gene_sets.csv").exists()


def test_a_refusal_keeps_the_earlier_results(evaluate, tmp_path):
    evaluate("--no-baselines")
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    refuse(evaluate(pred="missing.h5ad"))
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_baselines_as_files_score_as_the_baselines_do(evaluate, folder, tmp_path, capfd):
    """Each baseline in one command, as the h5ad of a model; through the evaluator it gives its row of the table."""
    command = ["--real", str(folder / "real.h5ad"), "--store", str(folder / "store")]
    assert main([*command, "--write-baselines", str(tmp_path / "files"), "--baselines", "additive,control"]) == 0
    assert [line.rsplit("/", 1)[1] for line in capfd.readouterr().out.splitlines() if line.startswith("wrote")] == [
        "additive.h5ad",
        "control.h5ad",
    ]
    evaluate("--name", "file", "--baselines", "additive", pred=tmp_path / "files" / "additive.h5ad")
    table = pl.read_csv(tmp_path / "out" / "results.csv")
    for column in table.columns[2:]:
        mine, row = (table.filter(pl.col("model") == name)[column].to_list() for name in ("file", "additive"))
        assert mine == row, column
    refuse(evaluate(real=tmp_path / "files" / "additive.h5ad"), "holds predicted cells (of additive")


def test_both_control_policies_side_by_side(evaluate, folder, tmp_path):
    """Nothing but the controls differs, and that alone moves the scores: peers disagree on little else."""

    def smooth_controls(adata):
        values, control = adata.X.toarray(), (adata.obs["perturbation"] == "control").to_numpy()
        values[control] = 0.6 * values[control] + 0.5 * values[control].mean(axis=0)
        values[~control] *= 0.9
        adata.X = values

    pred = changed(folder, tmp_path, smooth_controls, "real.h5ad")
    code, out, _ = evaluate("--control-policy", "both", "--no-baselines", "--name", "m", pred=pred)
    assert code == 0
    assert "control policy same-real, m:" in out and "control policy predicted, m:" in out
    table = pl.read_csv(tmp_path / "out" / "results.csv")
    assert table["model"].to_list() == ["m", "m (own controls)"]
    assert table["mse"][0] == table["mse"][1]
    assert table["de_nsig_counts_pred"][0] != table["de_nsig_counts_pred"][1]
    assert table["paper_pdcorr"][0] == pytest.approx(table["pearson_delta"][0], abs=1e-6)
    assert table["paper_pdcorr"][1] != pytest.approx(table["pearson_delta"][1], abs=1e-6)
    refuse(evaluate("--control-policy", "both"), "pred.h5ad: control policy 'predicted' needs controls")


def test_the_real_file_against_itself_is_told(evaluate):
    assert "is the real file: it is scored against itself" in evaluate("--no-baselines", pred="real.h5ad")[1]


def test_a_table_or_baselines_must_be_asked_for(folder, capfd):
    for options, missing in (([], "--pred (or --write-baselines)"), (["--pred", "p.h5ad"], "--out")):
        assert main(["--real", str(folder / "real.h5ad"), *options]) == 2
        assert f"the following arguments are required: {missing}" in capfd.readouterr().err


def test_files_of_another_tool(evaluate, folder, tmp_path, capfd):
    """Other columns and control names on either side, no cell types, no card: the same scores, and a page of them."""

    def foreign(adata, perturbation, control):
        names = adata.obs["perturbation"].astype(str).replace({"control": control})
        adata = ad.AnnData(X=adata.X, obs=adata.obs[["batch"]].assign(**{perturbation: names}), var=adata.var)
        return adata

    options = ["--no-baselines", "--control-policy", "predicted", "--name", "m"]
    real = folder / "real.h5ad"
    pred = changed(folder, tmp_path, lambda adata: setattr(adata, "X", adata.X * 0.9), "real.h5ad")
    assert evaluate(*options, pred=pred, real=real)[0] == 0
    expected = pl.read_csv(tmp_path / "out" / "results.csv")
    theirs = {}
    for name, path, labels in (("real", real, ("gene", "NT")), ("pred", pred, ("condition", "ctrl"))):
        theirs[name] = tmp_path / f"their_{name}.h5ad"
        foreign(ad.read_h5ad(path), *labels).write_h5ad(theirs[name])
    labels = ["--perturbation-key", "gene", "--control", "NT", "--target-sum", 10000]
    labels += ["--pred-perturbation-key", "condition", "--pred-control", "ctrl"]
    code, out, _ = evaluate(*options, *labels, pred=theirs["pred"], real=theirs["real"])
    assert code == 0
    assert "their_real.h5ad has no obs column 'cell_type': taken as one cell type" in out
    found = pl.read_csv(tmp_path / "out" / "results.csv")
    assert found["context"].to_list() == ["all cells"]
    for column in found.columns[2:16]:
        assert found[column].to_list() == pytest.approx(expected[column].to_list(), nan_ok=True), column

    assert report([str(tmp_path / "out"), "--out", str(tmp_path / "page.html")]) == 0
    rerun = " ".join(map(str, labels)).replace("10000", "10000.0")
    page = (tmp_path / "page.html").read_text()
    for part in (
        "--perturbation-key gene",
        "--control NT",
        "--pred-control ctrl",
        "--pred-perturbation-key condition",
    ):
        assert part in page and part in rerun
    scored = api.evaluate(
        {"m": theirs["pred"]}, theirs["real"], tmp_path / "api", keys=ObsKeys(perturbation="gene"), control="NT",
        target_sum=1e4, pred_labels=FileLabels(
            keys=ObsKeys(perturbation="condition"), control="ctrl", target_sum=1e4
        ), baselines=(), ceiling=False, control_policy="predicted",
    )  # fmt: skip
    assert scored.scores["pearson_delta"].to_list() == pytest.approx(expected["pearson_delta"].to_list())
    with pytest.raises(InputError, match="pred_labels: no prediction 'x'; did you mean|found 'm'"):
        api.evaluate({"m": pred}, real, tmp_path / "no", pred_labels={"x": FileLabels()})
    with pytest.raises(InputError, match="expected target_sum, such as 10000"):
        api.evaluate(
            theirs["pred"],
            theirs["real"],
            tmp_path / "no",
            keys=ObsKeys(perturbation="gene"),
            control="NT",
            pred_labels=FileLabels(keys=ObsKeys(perturbation="condition"), control="ctrl"),
        )


def test_model_names():
    paths = [Path("a/pred.h5ad"), Path("b/other.h5ad")]
    assert model_names(paths, []) == ["pred", "other"]
    assert model_names(paths, ["x", "y"]) == ["x", "y"]
    with pytest.raises(InputError, match="distinct names, found 'x' 2 times"):
        model_names(paths, ["x", "x"])


def seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_is_quick_and_imports_nothing_heavy():
    code = (
        "import sys\nfrom bionemo.scale.run.evaluate import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "assert not {'torch', 'anndata', 'scanpy', 'polars', 'numpy'} & set(sys.modules)\n"
    )
    # Of a processor: others may be at work on the machine.
    begin = seconds_of_children()
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert seconds_of_children() - begin < 2
    assert "--control-policy" in done.stdout


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        (("time,time",), "--pred-covariate-key must be distinct names of columns with commas between them"),
        (("time", "none"), "--pred-covariate-key must be names of columns, found 'none'"),
        (("gene",), "--pred-covariate-key must be other columns than the perturbation, found 'gene'"),
    ],
)
def test_covariates_of_predictions_are_checked_as_those_of_the_real_file(columns: tuple[str, ...], found: str):
    pred = tuple(Path(f"{number}.h5ad") for number in range(len(columns)))
    files = {"pred": pred, "real": Path("real.h5ad"), "out": Path("out"), "pred_perturbation_key": ("gene",)}
    with pytest.raises(InputError, match=f"^{found}"):
        EvaluateSettings.make(**files, pred_covariate_key=columns)
    assert EvaluateSettings.make(**files, pred_covariate_key=("time, dose",)).pred_labels[0].keys.covariate
