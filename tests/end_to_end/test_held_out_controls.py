# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Controls that a split file holds out are no training data, and predictions of their cell type start from them."""

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from bionemo.scale import api
from bionemo.scale.data.store.reader import Store
from bionemo.scale.infer.network_weight import errors_of_pairs
from bionemo.scale.types import Split


pytestmark = pytest.mark.slow

CELL_TYPES, PERTURBATIONS, GENES, CELLS = tuple("ABCDEF"), ("P", "Q"), 40, 20
SPLIT = '[training]\nscreen = "train"\n\n[zeroshot]\n"screen.E" = "val"\n"screen.F" = "test"\n'
CONTROLS = '\n[controls]\n"screen.E" = "val"\n"screen.F" = "test"\n'
TRAINING = dict(size="tiny", max_steps=4, val_interval=4, log_interval=4, blind_share=0, set_size=16)


def _cells() -> anndata.AnnData:
    rng = np.random.default_rng(0)
    rates = {name: np.random.default_rng(number).gamma(1.0, 8.0, GENES) for number, name in enumerate(CELL_TYPES)}
    effects = {"control": np.ones(GENES), "P": np.repeat([4.0, 1.0], 20), "Q": np.repeat([1.0, 4.0], 20)}
    labels = [
        (cell_type, name, f"b{number % 2}")
        for cell_type in CELL_TYPES
        for name in effects
        for number in range(2 * CELLS)
    ]
    counts = np.stack([rng.poisson(rates[cell_type] * effects[name]) for cell_type, name, _ in labels])
    obs = pd.DataFrame(labels, columns=["cell_type", "perturbation", "batch"], index=map(str, range(len(labels))))
    var = pd.DataFrame(index=[f"g{number}" for number in range(GENES)])
    return anndata.AnnData(csr_matrix(counts.astype(np.float32)), obs=obs, var=var)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stores and runs of the same cells, with the controls of two cell types held out and with all of them trained."""
    folder, cells = tmp_path_factory.mktemp("controls"), _cells()
    for name, text in (("held", SPLIT + CONTROLS), ("trained", SPLIT)):
        (folder / f"{name}.toml").write_text(text)
        api.prepare(cells, folder / f"{name}-store", split=folder / f"{name}.toml", datasets=["screen"], num_hvg=0)
        api.train(folder / f"{name}-store", folder / name, **TRAINING)
    return folder


def _measured(folder: Path) -> dict[str, np.ndarray]:
    """Return the measured mean of the test cell type under each perturbation."""
    with Store.open(folder / "held-store") as store:
        truth = store.pseudobulks(store.groups.perturbed_in(Split.TEST))
    names = np.array([group.perturbation for group in truth.groups])
    return {name: truth.means[names == name].mean(axis=0) for name in PERTURBATIONS}


@pytest.mark.parametrize(
    "what",
    [{"split": "test"}, {"perturbations": PERTURBATIONS, "cell_types": ("F",), "out": "screen.h5ad"}],
    ids=["split", "screen"],
)
def test_means_start_from_the_held_out_controls(folder, tmp_path, what):
    """What is known of the cell type is the same, whether its controls were trained or are at hand."""
    truth, errors = _measured(folder), {}
    for name in ("held", "trained"):
        out = tmp_path / name / what.get("out", "split")
        out.parent.mkdir()
        options = {key: value for key, value in what.items() if key != "out"}
        api.infer(folder / name, out, store=folder / f"{name}-store", network_weight=0, **options)
        found = anndata.read_h5ad(out if out.is_file() else out / "adata_pred.h5ad")
        means = {label: np.asarray(found[found.obs["perturbation"] == label].X.mean(axis=0)) for label in truth}
        errors[name] = np.mean([((means[label] - truth[label]) ** 2).mean() for label in truth])
    assert errors["held"] < 1.2 * errors["trained"]


def test_the_network_is_weighed_against_the_estimate_that_predicts(folder):
    held, trained = (
        np.mean([pair.estimate for pair in errors_of_pairs(folder / name, folder / f"{name}-store", blind=None)])
        for name in ("held", "trained")
    )
    assert held < 1.2 * trained
