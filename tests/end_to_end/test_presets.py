# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""A run of the preset "paper", from the Python API to a prediction."""

from pathlib import Path

import anndata
import pytest

from bionemo.scale import api
from bionemo.scale.types import InputError


@pytest.fixture(scope="module")
def run(api_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained at a learning rate of zero, so that it ends as it began."""
    out = tmp_path_factory.mktemp("paper") / "run"
    options = dict(size="tiny", max_steps=2, val_interval=2, log_interval=1, lr=0.0)
    return api.train(api_store, out, preset="paper", model={"condition_size": 8}, **options)


def test_the_run_says_its_preset_and_what_was_set_beside_it(run: Path):
    config = api.Run(run).config
    assert (config["run"]["preset"], config["run"]["weighting"], config["run"]["blind_share"]) == (
        "paper",
        "proportional",
        0,
    )
    found = {name: config["model"][name] for name in ("label_scale", "latent_norm", "generation", "condition_size")}
    assert found == {"label_scale": 1.0, "latent_norm": False, "generation": "decode", "condition_size": 8}
    # There is nothing to weigh the network against.
    assert not list(run.glob("estimate*")) and api.Run(run).network_weight is None


def test_the_decoders_bias_begins_at_zero_and_the_network_decodes(
    run: Path, api_run: Path, api_store: Path, tmp_path: Path
):
    biases = [
        api.Predictor.from_checkpoint(path)._loaded.model.expression_decoder.mlp.linear_fc2.bias
        for path in (run, api_run)
    ]
    assert not biases[0].any() and biases[1].mean() > 0
    predicted = anndata.read_h5ad(api.infer(run, tmp_path / "predicted", store=api_store, split="test"))
    assert predicted.n_obs > 0 and predicted.X.min() >= 0


def test_a_run_does_not_go_on_with_another_preset(run: Path, api_store: Path):
    with pytest.raises(InputError, match="holds another run: expected preset paper, found default"):
        api.train(api_store, run, size="tiny", max_steps=4)
