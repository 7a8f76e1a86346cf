# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The weight of a network that no group can measure; what is measured is tests/end_to_end/test_estimate.py."""

import pytest

from bionemo.scale import api
from bionemo.scale.infer.run_estimate import WEIGHT_NAME, measured_weight
from bionemo.scale.run.inner.weigh import weigh_network
from bionemo.scale.train.settings import TrainSettings


@pytest.mark.parametrize("blind_share", [0.5, 0.0])
def test_a_network_that_nothing_can_measure_leaves_the_means_to_the_estimate(screen, tmp_path, blind_share, capsys):
    """One cell type: none can be left out, and no perturbation is shown elsewhere."""
    screen.obs["cell_type"] = "T"
    screen.write_h5ad(tmp_path / "screen.h5ad")
    store = api.prepare(tmp_path / "screen.h5ad", tmp_path / "store").out
    (tmp_path / "estimate.npz").write_bytes(b"")
    settings = TrainSettings(store=store, out=tmp_path, max_steps=100, blind_share=blind_share)
    weigh_network(settings, [], is_launched=False)
    if blind_share:
        assert measured_weight(tmp_path).network_weight == 0
        assert "predicted means are the classical estimate's (weight 0)" in capsys.readouterr().out
    else:
        assert not (tmp_path / WEIGHT_NAME).exists()


def test_a_short_run_says_that_nothing_is_measured(tmp_path, capsys):
    (tmp_path / "estimate.npz").write_bytes(b"")
    weigh_network(TrainSettings(store=tmp_path, out=tmp_path, max_steps=99), [], is_launched=False)
    assert "fewer than 100 steps" in capsys.readouterr().out
    assert not (tmp_path / WEIGHT_NAME).exists()
