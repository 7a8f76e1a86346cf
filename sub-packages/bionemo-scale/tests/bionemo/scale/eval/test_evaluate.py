# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""From files to a result folder, as the API is used."""

import json
from dataclasses import replace
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import polars as pl
import pytest
from scipy import sparse

from bionemo.scale.eval.baselines.estimators import BASELINES, WITH_FEATURES, default_baselines
from bionemo.scale.eval.cells.population_file import PopulationFile
from bionemo.scale.eval.cells.populations import Population
from bionemo.scale.eval.cells.read_population import read_population
from bionemo.scale.eval.evaluate import TrainingData, evaluate, prepare, split_mismatch
from bionemo.scale.eval.output.summary import Summary
from bionemo.scale.eval.scores import discrimination
from bionemo.scale.eval.settings import ScoringSettings
from bionemo.scale.types import DataCard, ExpressionScale, FileLabels, Group, GroupMeans, InputError, ObsKeys


DEFAULTS = default_baselines(with_features=False)


@pytest.fixture
def card(kang) -> DataCard:
    return DataCard(
        genes=tuple(kang.var_names),
        cell_types=("CD8 T", "NK"),
        perturbations=("IFN-beta",),
        batches=tuple(sorted(set(kang.obs["batch"]))),
        control="control",
        scale=ExpressionScale(),
        keys=ObsKeys(),
    )


@pytest.fixture
def files(kang, card, tmp_path):
    """CD8 T is to be predicted; the prediction is the real cells, shrunk."""
    real = kang[kang.obs["cell_type"] == "CD8 T"].copy()
    pred = real[real.obs["perturbation"] != "control"].copy()
    pred.X = pred.X * 0.8
    paths = []
    for name, adata in (("real", real), ("pred", pred)):
        adata.uns["bionemo_scale"] = {"card": card.to_json()}
        adata.write_h5ad(tmp_path / f"{name}.h5ad")
        paths.append(tmp_path / f"{name}.h5ad")
    return tuple(read_population(path) for path in paths)


@pytest.fixture
def training(kang, card, tmp_path) -> TrainingData:
    """NK cells and the controls of CD8 T, genes in another order than in the files."""
    groups, means, counts = [], [], []
    for key, rows in kang.obs.groupby(["cell_type", "perturbation", "batch"]).indices.items():
        if key[:2] != ("CD8 T", "IFN-beta"):
            groups.append(Group("kang", *key))
            means.append(np.asarray(kang.X[rows].mean(axis=0), dtype=np.float64).reshape(-1)[::-1])
            counts.append(len(rows))
    return TrainingData(
        path=tmp_path / "store",
        card=replace(card, genes=card.genes[::-1]),
        means=GroupMeans(groups=tuple(groups), means=np.stack(means), counts=np.array(counts)),
    )


def test_models_and_baselines_side_by_side(files, training, tmp_path):
    real, pred = files
    options = ScoringSettings(plot=True)
    found = evaluate(real=real, predictions={"mine": pred}, out=tmp_path / "out", training=training, options=options)
    assert found.scores["model"].to_list() == ["mine", *DEFAULTS, "ceiling"]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"results.csv", "agg_results.csv", "summary.json", "delta.png", "CD8 T_real_de.csv"} <= names
    stored = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert list(stored["models"]) == ["mine", *DEFAULTS, "ceiling"]
    assert stored["models"]["mine"]["discrimination_score_l1"] == {
        "mean": None,
        "n": 0,
        "undefined": 1,
        "why": {"only one perturbation in the context": 1},
        "interval": None,
        "batch_interval": None,
    }
    assert stored["models"]["mine"]["pearson_delta"]["n"] == 1
    assert Summary.from_dict(stored) == found.result
    assert found.summary == {name: value for name, value in stored.items() if name != "files"}
    assert stored["control_policy"] == "same-real"
    assert stored["paper_names"]["PDCorr"] == "pearson_delta"
    assert stored["inputs"]["real"]["sha256"] == real.sha256
    assert stored["baselines"]["fallback_cells"]["context_mean"] == 79
    assert stored["evaluator"]["versions"]["cell-eval"] == "0.6.6"
    assert "all perturbations x genes of one context" in stored["evaluator"]["conventions"]["fdr"]


def test_baselines_that_learn_beat_no_change_on_real_cells(files, training, tmp_path):
    """Also says that the store's genes were put in order: with shuffled genes nothing would correlate."""
    real, pred = files
    scores = evaluate(real=real, predictions={"m": pred}, out=tmp_path / "out", training=training).scores
    value = dict(zip(scores["model"], scores["pearson_delta"], strict=True))
    assert value["additive"] > 0.8 > 0.5 > abs(value["control"])
    assert value["ridge"] > 0.8
    spread = dict(zip(scores["model"], scores["sd_ratio"], strict=True))
    assert spread["perturbation_mean"] == pytest.approx(0, abs=1e-6)
    assert spread["control"] > 0.5


def test_vectors_of_perturbations_bring_baselines_that_use_them(files, training, tmp_path):
    real, pred = files
    told = training.described(lambda names: np.arange(2.0 * len(names)).reshape(-1, 2), real)
    assert told.features.names == ("IFN-beta",)
    assert prepare(real=real, predictions={"m": pred}, training=told).task.baselines == tuple(BASELINES)
    options = ScoringSettings(baselines=("kernel_ridge",))
    with pytest.raises(InputError, match="kernel_ridge needs vectors of perturbations; --perturbation-features"):
        prepare(real=real, predictions={"m": pred}, training=training, options=options)
    # One trained perturbation: nothing to compare it with, and its own change is the mean of all.
    options = ScoringSettings(baselines=("additive", *WITH_FEATURES), ceiling=False)
    found = evaluate(real=real, predictions={"m": pred}, out=tmp_path / "out", training=told, options=options)
    assert found.scores["mse"].to_numpy()[2:] == pytest.approx(found.scores["mse"].to_numpy()[1])
    assert found.result.baselines.fallback_cells["kernel_ridge"] == found.result.baselines.cells
    assert found.result.baselines.fallback_cells["mean_of_trained"] == 0


def test_without_training_data_only_control_is_left(files):
    prepared = prepare(real=files[0], predictions={"m": files[1]})
    assert prepared.task.baselines == ("control",)
    assert any("baselines left out: perturbation_mean, context_mean" in note for note in prepared.notes)
    assert prepared.steps == 3
    assert (
        prepare(real=files[0], predictions={"m": files[1]}, options=ScoringSettings(baselines=())).task.baselines == ()
    )


def test_baselines_do_not_see_the_cells_they_predict(files, training, tmp_path):
    real, pred = files
    expression = real.population.dense().copy()
    expression[~real.is_control] = expression[~real.is_control][:, ::-1]
    other = replace(real, population=replace(real.population, expression=expression))
    predicted = []
    for file, name in ((real, "a"), (other, "b")):
        scored = evaluate(real=file, predictions={"m": pred}, out=tmp_path / name, training=training)
        baselines = scored.scores.filter(pl.col("model").is_in(list(DEFAULTS)))
        predicted.append(baselines["de_nsig_counts_pred"].to_list())
        assert len(predicted[-1]) == len(DEFAULTS)
    assert predicted[0] == predicted[1]


def test_evaluated_pairs_in_the_training_split_are_told(files, training):
    groups = (*training.means.groups, Group("kang", "CD8 T", "IFN-beta", "b"))
    means = np.concatenate([training.means.means, training.means.means[:1]])
    counts = np.append(training.means.counts, 5)
    leaky = replace(training, means=GroupMeans(groups=groups, means=means, counts=counts))
    notes = prepare(real=files[0], predictions={"m": files[1]}, training=leaky).notes
    assert any(note.startswith("warning: 1 of 1 evaluated") for note in notes)
    notes = prepare(real=files[0], predictions={"m": files[1]}, training=training).notes
    assert not any(note.startswith("warning: 1 of 1 evaluated") for note in notes)
    assert any("control means of fewer than 50 cells in" in note for note in notes)


def test_another_donor_of_an_evaluated_pair_is_no_leak_where_donors_are_left_out(files, training):
    groups, means, counts = training.means.groups, training.means.means, np.append(training.means.counts, 5)
    for batch, expected in (("b", False), (files[0].population.batch[0], True)):
        added = (*groups, Group("kang", "CD8 T", "IFN-beta", batch))
        pooled = GroupMeans(groups=added, means=np.concatenate([means, means[:1]]), counts=counts)
        notes = prepare(
            real=files[0], predictions={"m": files[1]}, training=replace(training, means=pooled, by_batch=True)
        ).notes
        assert any("baselines have seen their mean" in note for note in notes) == expected


def test_a_store_of_another_split_genes_or_scale(files, training):
    real, pred = files
    assert split_mismatch(training, {"m": pred}) is None
    trained = replace(pred, card=replace(pred.card, split_sha256="a" * 64))
    assert "has no split, the model of" in split_mismatch(training, {"m": trained})
    other = replace(training, card=replace(training.card, split_sha256="b" * 64))
    assert "has split bbbbbbbbbbbb, the model of" in split_mismatch(other, {"m": trained})
    fewer = replace(training, card=replace(training.card, genes=("X", *training.card.genes[1:])))
    with pytest.raises(InputError, match=r"store: 1 of 200 genes of .* are not in the store"):
        prepare(real=real, predictions={"m": pred}, training=fewer)
    scaled = replace(training, card=replace(training.card, scale=ExpressionScale(target_sum=1e6)))
    with pytest.raises(InputError, match=r"store: expression scale \(target_sum 1e\+06"):
        prepare(real=real, predictions={"m": pred}, training=scaled)


def test_a_model_may_not_be_called_as_a_baseline(files):
    with pytest.raises(InputError, match="'ridge' is the name of a baseline"):
        prepare(real=files[0], predictions={"ridge": files[1]})
    with pytest.raises(InputError, match="'ceiling' is the name of a baseline"):
        prepare(real=files[0], predictions={"ceiling": files[1]})


def test_several_models_and_the_other_policy(files, tmp_path):
    real, pred = files
    models = {"a": real, "b": real}
    options = ScoringSettings(control_policy="predicted", baselines=(), ceiling=False)
    found = evaluate(real=real, predictions=models, out=tmp_path / "out", options=options)
    assert found.scores["pearson_delta"].to_list() == pytest.approx([1, 1])
    assert found.summary["control_policy"] == "predicted"
    with pytest.raises(InputError, match="control policy 'predicted' needs controls"):
        evaluate(real=real, predictions={"a": pred}, out=tmp_path / "other", options=options)
    assert not (tmp_path / "other").exists()


@pytest.fixture(scope="module")
def spoilt(papalexi):
    """Real knock-outs and a spoilt prediction of them, with the card that makes both comparable."""
    card = DataCard(
        genes=tuple(papalexi.var_names),
        cell_types=("THP-1",),
        perturbations=("ATF2", "IFNGR2", "JAK2", "SPI1", "STAT1"),
        batches=("rep_1", "rep_2"),
        control="control",
        scale=ExpressionScale(),
        keys=ObsKeys(),
    )
    pred = papalexi[papalexi.obs["perturbation"] != "control"].copy()
    shuffled = pred.X.toarray()[np.random.default_rng(0).permutation(len(pred))]
    pred.X = (0.6 * pred.X.toarray() + 0.4 * shuffled).astype(np.float32)
    real = papalexi.copy()
    for adata in (real, pred):
        adata.uns["bionemo_scale"] = {"card": card.to_json()}
    return real, pred


def cells_of(adata: ad.AnnData) -> Population:
    labels = {name: adata.obs[name].astype(str).to_numpy(object) for name in ("perturbation", "cell_type", "batch")}
    return Population(expression=adata.X, genes=tuple(adata.var_names), **labels)


def in_memory(adata) -> PopulationFile:
    card = DataCard.from_json(adata.uns["bionemo_scale"]["card"])
    sums = np.asarray(adata.X.sum(axis=1), dtype=np.float64).reshape(-1)
    return PopulationFile(
        path=Path("memory"),
        population=cells_of(adata),
        labels=FileLabels(),
        card=card,
        store=None,
        sha256="0" * 64,
        row_sums=sums,
    )


def test_a_baseline_that_only_falls_back_is_never_the_best(spoilt, tmp_path):
    """Of perturbations that training has never seen, most baselines know no effect."""
    real, pred = (in_memory(adata) for adata in spoilt)
    cells = real.population.dense()
    groups = tuple(Group("papalexi", "THP-1", name, "rep_1") for name in ("control", "other"))
    means = np.stack([cells[real.is_control].mean(axis=0), cells[~real.is_control].mean(axis=0)]).astype(np.float64)
    training = TrainingData(
        path=tmp_path, card=real.card, means=GroupMeans(groups=groups, means=means, counts=np.array([9, 9]))
    )
    models, options = {"m": replace(pred, sha256="1" * 64)}, ScoringSettings(ceiling=False)
    found = evaluate(real=real, predictions=models, out=tmp_path / "out", training=training, options=options)
    silent = {*DEFAULTS} - {"control", "context_mean", "overall_mean", "batch_mean"}
    marked = [line for line in found.table.splitlines() if "[-] " in line and not line.startswith("[-]")]
    assert {line.split(" [-]")[0] for line in marked} == silent
    assert not any("*" in line for line in marked)
    rivals = {item["baseline"] for item in found.summary["against_best_baseline"]["m"].values()}
    assert rivals and not rivals & silent
    assert set(found.result.unranked_baselines) == silent


@pytest.mark.parametrize("form", ["dense", "csr", "csc", "chunked"])
@pytest.mark.parametrize("limit", [0, 1 << 30])
def test_scores_from_memory_equal_scores_from_a_file(spoilt, tmp_path, form, limit):
    """The paper finds scores to differ between export paths (section 5); here not a bit does."""
    real, pred = spoilt
    options = ScoringSettings(baselines=("control",), ceiling=False)
    expected = evaluate(
        real=in_memory(real),
        predictions={"m": replace(in_memory(pred), sha256="1" * 64)},
        out=tmp_path / "memory",
        options=options,
    )
    files = []
    for name, adata in (("real", real), ("pred", pred)):
        adata, dense = adata.copy(), adata.X if isinstance(adata.X, np.ndarray) else adata.X.toarray()
        adata.X = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix}.get(form, np.array)(dense)
        adata.write_h5ad(tmp_path / f"{name}.h5ad")
        if form == "chunked":
            with h5py.File(tmp_path / f"{name}.h5ad", "r+") as file:
                attributes = dict(file["X"].attrs)
                del file["X"]
                file.create_dataset("X", data=dense, chunks=(7, 13), compression="gzip").attrs.update(attributes)
        files.append(read_population(tmp_path / f"{name}.h5ad", in_memory=limit))
    found = evaluate(real=files[0], predictions={"m": files[1]}, out=tmp_path / "out", options=options)
    assert found.scores.equals(expected.scores)
    assert 0.2 < found.scores["pearson_delta"][1] < 1 and found.scores["de_nsig_counts_pred"].sum() > 0


def test_many_perturbations_score_the_same_by_arrays(spoilt, tmp_path, monkeypatch):
    real, pred = (in_memory(adata) for adata in spoilt)
    pred = replace(pred, sha256="1" * 64)
    tables = []
    for limit in (128, 2):
        monkeypatch.setattr(discrimination, "AT_ONCE", limit)
        tables.append(evaluate(real=real, predictions={"m": pred}, out=tmp_path / str(limit)).scores)
    for name in tables[0].columns[3:]:
        few, many = (table[name].cast(pl.Float64).to_numpy() for table in tables)
        np.testing.assert_allclose(few, many, rtol=1e-6, atol=1e-6, equal_nan=True, err_msg=name)


def test_summary_says_how_far_to_trust(spoilt, tmp_path):
    real, pred = (in_memory(adata) for adata in spoilt)
    names = np.array(["a", "b", "c", "d"], dtype=object)
    real, pred = (
        replace(f, population=replace(f.population, batch=names[np.arange(len(f.population)) % 4]))
        for f in (real, pred)
    )
    summary = evaluate(real=real, predictions={"m": replace(pred, sha256="1" * 64)}, out=tmp_path / "out").summary
    found = summary["models"]["m"]["pearson_delta"]
    for kind, unit, units in (("interval", "perturbation", 5), ("batch_interval", "batch", 4)):
        interval = found[kind]
        assert (interval["unit"], interval["units"]) == (unit, units)
        assert interval["low"] < found["mean"] < interval["high"] and interval["high"] - interval["low"] < 0.8
    assert summary["models"]["m"]["overlap_at_N"]["batch_interval"] is None, "differential expression is not repeated"
    against = summary["against_best_baseline"]["m"]["pearson_delta"]
    assert (against["baseline"], against["verdict"]) == ("control", "better")
    assert summary["models"]["m"]["paper_diragr"]["why"].keys() <= {
        "no significant real gene",
        "no significant predicted gene",
        "no gene significant on both sides",
    }
    assert summary["paper_metrics"]["MSE"]["equals cell-eval"].startswith("no, because: ")
    assert summary["paper_metrics"]["PDCorr"]["equals cell-eval"].startswith("yes, except: ")


def test_predicted_cells_of_other_batches_have_no_interval_over_batches(spoilt, tmp_path):
    real, pred = (in_memory(adata) for adata in spoilt)
    names = np.array(["a", "b", "c"], dtype=object)
    real = replace(real, population=replace(real.population, batch=names[np.arange(len(real.population)) % 3]))
    pred = replace(pred, sha256="1" * 64)
    summary = evaluate(real=real, predictions={"m": pred}, out=tmp_path / "out").summary
    assert summary["models"]["m"]["mse"]["batch_interval"] is None
    assert summary["models"]["control"]["mse"]["batch_interval"] is not None


def test_combinations_are_matched_in_any_order(spoilt, tmp_path):
    """Of the prediction, of the truth and of the training data; a control in a label says nothing."""
    spellings = {
        "real": {"STAT1": "A+B", "JAK2": "JAK2+control"},
        "pred": {"STAT1": "B+A", "JAK2": "control+JAK2"},
    }
    files = []
    for name, adata in zip(("real", "pred"), (in_memory(adata) for adata in spoilt), strict=True):
        labels = [spellings[name].get(label, label) for label in adata.population.perturbation.tolist()]
        population = replace(adata.population, perturbation=np.array(labels, dtype=object))
        card = replace(adata.card, combination_separator="+")
        files.append(replace(adata, population=population, card=card, sha256=name))
    real, pred = files
    groups = tuple(Group("d", "THP-1", name, "rep_1") for name in ("control", "B+A", "JAK2"))
    means = GroupMeans(groups=groups, means=np.random.default_rng(0).random((3, 120)), counts=np.array([5, 5, 5]))
    training = TrainingData(path=tmp_path, card=real.card, means=means)
    options = ScoringSettings(baselines=("additive",), ceiling=False)
    prepared = prepare(real=real, predictions={"m": pred}, training=training, options=options)
    expected = {"A+B", "JAK2", "ATF2", "IFNGR2", "SPI1"}
    assert set(prepared.task.cells.perturbation) == set(prepared.task.models[0].cells.perturbation) == expected
    assert set(prepared.task.training.changes) == {"A+B", "JAK2"}
