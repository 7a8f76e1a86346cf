# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Perturbations, cell types and batches that a model was not trained on, from a run that was told of features."""

import os
import subprocess
import sys
from pathlib import Path

import anndata
import numpy as np
import pytest
import torch

from bionemo.scale import api


pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"
PAPALEXI = EXAMPLES / "data" / "papalexi2021_thp1_eccite.h5ad"


@pytest.fixture(scope="module")
def controls() -> anndata.AnnData:
    """Sixty control cells of the second replicate."""
    cells = anndata.read_h5ad(PAPALEXI)
    chosen = (cells.obs["perturbation"] == "control") & (cells.obs["batch"] == "rep_2")
    return cells[np.flatnonzero(chosen)[:60]].copy()


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random vectors of every knocked-out gene of the screen and of one that is not in it."""
    genes = sorted(set(anndata.read_h5ad(PAPALEXI, backed="r").obs["perturbation"]) - {"control"})
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("features") / "genes.csv"
    rows = [f"{gene},{','.join(f'{value:.4f}' for value in rng.normal(size=6))}" for gene in [*genes, "ISG20"]]
    path.write_text("\n".join(["gene,a,b,c,d,e,f", *rows]) + "\n")
    return path


@pytest.fixture(scope="module")
def predictor(features: Path, tmp_path_factory: pytest.TempPathFactory) -> api.Predictor:
    folder = tmp_path_factory.mktemp("papalexi")
    store = folder / "store"
    keys = api.ObsKeys(cell_type="batch", batch="batch")
    api.prepare([PAPALEXI], store, split=EXAMPLES / "splits" / "papalexi.toml", datasets=["papalexi"], keys=keys)
    run = api.train(
        store,
        folder / "run",
        size="tiny",
        max_steps=6,
        val_interval=6,
        perturbation_features=features,
        model={"combination_separator": "+"},
    )
    return api.Predictor.from_checkpoint(run)


def test_new_perturbations_are_predicted(predictor, controls, features):
    names = ["STAT1", "ISG20", "STAT1+JAK2", "JAK2+ISG20"]
    predicted = predictor.predict(controls, names, perturbation_features=features)
    assert list(dict.fromkeys(predicted.obs["perturbation"])) == names
    assert predicted.n_obs == 4 * controls.n_obs
    values = {name: predicted[predicted.obs["perturbation"] == name].X for name in names}
    assert all(np.isfinite(x).all() and x.min() >= 0 for x in values.values())
    assert not np.allclose(values["ISG20"], values["STAT1"])
    assert not np.allclose(values["STAT1+JAK2"], values["STAT1"])
    # Known labels are predicted as before once new ones are there.
    again = predictor.predict(controls, ["STAT1"])
    np.testing.assert_allclose(again.X, values["STAT1"], rtol=1e-5, atol=1e-5)


def test_a_gene_without_a_row_has_the_mean_of_the_trained_rows(predictor):
    loaded = predictor._loaded
    encoder = loaded.model.condition_encoder.perturbation
    rows = encoder.embedding.weight
    assert loaded.card.untrained_agents == () and encoder.num_agents == 25
    torch.testing.assert_close(rows[encoder.num_agents + 1], rows[: encoder.num_agents].mean(dim=0))


def test_the_classical_estimate_knows_the_vectors_too(predictor, controls, features, tmp_path):
    """With no weight of the network, a new gene with the vector of a trained one changes what that one does."""
    rows = features.read_text().splitlines()
    stat1 = next(row for row in rows if row.startswith("STAT1,"))
    twins = tmp_path / "twins.csv"
    twins.write_text("\n".join([*rows, stat1.replace("STAT1", "TWIN")]) + "\n")
    alone = api.Predictor.from_checkpoint(predictor._loaded.path, network_weight=0.0)
    found = alone.predict(controls, ["STAT1", "TWIN", "ISG20"], perturbation_features=twins)
    means = [found.X[found.obs["perturbation"] == name].mean(axis=0) for name in ("STAT1", "TWIN", "ISG20")]
    assert np.abs(means[0] - means[1]).mean() < np.abs(means[0] - means[2]).mean()
    assert alone._loaded.estimate.model.features.names[-2:] == ("TWIN", "ISG20")


def test_new_perturbations_without_features_are_refused(predictor, controls):
    with pytest.raises(api.InputError, match=r"unknown perturbation 'GATA1'.*perturbation_features"):
        predictor.predict(controls, ["GATA1"])


def test_labels_with_commas_and_one_string_instead_of_a_list(predictor, controls, tmp_path):
    tahoe, names = "[('Dabrafenib', 0.05, 'uM')]", tmp_path / "names.txt"
    with pytest.raises(api.InputError, match=r"unknown perturbation \"\[\('Dabrafenib', 0\.05, 'uM'\)\]\""):
        predictor.predict(controls, tahoe)
    names.write_text("STAT1\nJAK2\n")
    found = [
        list(dict.fromkeys(predictor.predict(controls[:4], given).obs["perturbation"]))
        for given in ("STAT1", "STAT1,JAK2", f"@{names}", names, ["STAT1", "JAK2"])
    ]
    assert found == [["STAT1"]] + [["STAT1", "JAK2"]] * 4
    controls.write_h5ad(tmp_path / "controls.h5ad")
    options = ["--checkpoint", str(predictor._loaded.path), "--adata", str(tmp_path / "controls.h5ad")]
    labels = ["--perturbations", tahoe, "--perturbations", "STAT1", "--cell-types", "rep_2"]
    command = [
        sys.executable,
        "-m",
        "bionemo.scale.run.infer",
        *options,
        *labels,
        "--out",
        tmp_path / "predicted.h5ad",
    ]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 2 and f"unknown perturbation {tahoe!r}" in done.stderr


def test_blanks_at_the_ends_of_labels_change_no_prediction(predictor, controls):
    expected = predictor.predict(controls, "STAT1").X
    other = controls.copy()
    other.obs["batch"] = [f"{name} " for name in other.obs["batch"]]
    other.obs["perturbation"] = " control"
    with pytest.warns(UserWarning, match=r"^adata: obs\['(batch|perturbation)'\]: blanks at the ends of 1 labels"):
        np.testing.assert_array_equal(predictor.predict(other, "STAT1").X, expected)


def test_new_batches_are_predicted_where_it_is_asked_for(predictor, controls):
    other = controls.copy()
    other.obs["batch"] = "rep_9"
    with pytest.raises(api.InputError, match=r"'rep_9'.*allow_unknown=True"):
        predictor.predict(other, ["STAT1"])
    predicted = predictor.predict(other, ["STAT1"], allow_unknown=True)
    assert set(predicted.obs["batch"]) == {"rep_9"}
    assert not np.allclose(predicted.X, predictor.predict(controls, ["STAT1"]).X)


def test_features_must_name_every_perturbation(features, tmp_path, predictor):
    lines = features.read_text().splitlines()
    short = tmp_path / "short.csv"
    short.write_text("\n".join(line for line in lines if not line.startswith("STAT1")) + "\n")
    with pytest.raises(api.InputError, match=r"short.csv: expected a row for each of 25 .* 'STAT1'"):
        api.train(Path(predictor._loaded.path).parents[2] / "store", tmp_path / "run", perturbation_features=short)
