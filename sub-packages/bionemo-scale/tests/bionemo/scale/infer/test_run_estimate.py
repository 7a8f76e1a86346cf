# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Predicted means between the classical estimate and the network's."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from bionemo.scale.estimate import mixed_model, storage
from bionemo.scale.files.network_weight import WEIGHT_NAME, measured_weight
from bionemo.scale.infer.controls.control_cells import ControlCells
from bionemo.scale.infer.generate import encode_controls, perturb
from bionemo.scale.infer.plans.controls_plan import ControlsPlan
from bionemo.scale.infer.predict import predict_all
from bionemo.scale.infer.run_estimate import RunEstimate, read_estimate
from bionemo.scale.infer.trained_model import LoadedModel
from bionemo.scale.types import DataCard, ExpressionScale, Group, GroupMeans, InputError, ObsKeys


CARD = DataCard(
    genes=tuple(f"g{i}" for i in range(24)),
    cell_types=("T", "B", "NK"),
    perturbations=("A", "B", "C", "D"),
    batches=("1", "2"),
    control="control",
    scale=ExpressionScale(),
    keys=ObsKeys(),
)


@pytest.fixture(scope="module")
def fitted() -> mixed_model.MixedModel:
    rng = np.random.default_rng(0)
    base, effects = rng.uniform(0.5, 2, (3, 24)), rng.normal(0, 0.4, (4, 24))
    groups, means = [], []
    for number, cell_type in enumerate(CARD.cell_types):
        for label, effect in (("control", 0.0), *zip(CARD.perturbations, effects, strict=True)):
            groups.append(Group("d", cell_type, label, "1"))
            means.append(np.maximum(base[number] + effect + rng.normal(0, 0.05, 24), 0))
    counts = np.full(len(groups), 100)
    observed = GroupMeans(groups=tuple(groups), means=np.array(means), counts=counts, cell_sd=np.full(24, 0.5))
    return mixed_model.fit(observed, control="control")


@pytest.fixture
def plan() -> ControlsPlan:
    rng = np.random.default_rng(1)
    cells = ControlCells(
        expression=csr_matrix(np.log1p(rng.poisson(1.5, size=(40, 24)).astype(np.float32))),
        cell_type=np.array(["T", "B"] * 20, dtype=object),
        batch=np.array(["1"] * 40, dtype=object),
        names=np.array([f"cell{i}" for i in range(40)], dtype=object),
    )
    return ControlsPlan(cells, CARD, ["A", "C"], source=Path("cells.h5ad"), set_size=6, seed=3)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_mean_lies_between_estimate_and_network(weight, make_model, batch):
    model = make_model(generation="contrast").eval()
    names = ("cell_type", "batch", "seed")
    controls = encode_controls(model, batch["control"], **{name: batch[name] for name in names})
    estimate = torch.rand(3, 24) + 0.5
    alone = perturb(model, controls, batch["perturbation"], estimate=estimate, network_weight=1.0).mean(dim=1)
    found = perturb(model, controls, batch["perturbation"], estimate=estimate, network_weight=weight).mean(dim=1)
    reached = alone > 0.05
    expected = estimate + weight * (alone - estimate)
    torch.testing.assert_close(found[reached], expected[reached], rtol=1e-3, atol=1e-3)


def test_populations_have_the_means_of_the_estimate(fitted, plan, make_model):
    """At weight 0, whatever the network says; controls of the file are what the estimate starts from."""
    estimate = RunEstimate(model=fitted, network_weight=0.0)
    loaded = LoadedModel(model=make_model().eval(), card=CARD, path=Path("run"), estimate=estimate)
    cells, obs = predict_all(loaded, plan), plan.obs
    groups = [Group("d", "T", "A", "1"), Group("d", "B", "C", "1")]
    controls = plan.control_groups()
    assert [group.cell_type for group in controls.groups] == ["T", "B"] and controls.counts.tolist() == [20, 20]
    known = GroupMeans(
        groups=tuple(group._replace(dataset="d") for group in controls.groups),
        means=controls.means,
        counts=controls.counts,
    )
    expected = np.maximum(fitted.predict(groups, controls=known).mean, 0)
    for group, mean in zip(groups, expected, strict=True):
        rows = ((obs["cell_type"] == group.cell_type) & (obs["perturbation"] == group.perturbation)).to_numpy()
        np.testing.assert_allclose(cells[rows].mean(axis=0), mean, atol=2e-3)


def test_the_estimate_of_a_run_is_read_with_its_weight(fitted, tmp_path, make_config):
    checkpoint = tmp_path / "checkpoints" / "last"
    config = make_config(generation="contrast")
    assert read_estimate(checkpoint, config, CARD, network_weight=None) is None
    storage.save(fitted, tmp_path / storage.ESTIMATE_NAME)
    # Not measured: the network predicts as it did without an estimate.
    assert read_estimate(checkpoint, config, CARD, network_weight=None) is None
    (tmp_path / WEIGHT_NAME).write_text(json.dumps({"network_weight": 0.25}))
    found = read_estimate(checkpoint, config, CARD, network_weight=None)
    assert (found.network_weight, found.measured_weight, found.interval_scale) == (0.25, 0.25, 1.0)
    (tmp_path / WEIGHT_NAME).write_text(json.dumps({"network_weight": 0.25, "interval_scale": 1.5}))
    assert read_estimate(checkpoint, config, CARD, network_weight=0.75).interval_scale == 1.5
    assert read_estimate(checkpoint, config, CARD, network_weight=1.0).network_weight == 1
    assert read_estimate(checkpoint, make_config(generation="decode"), CARD, network_weight=None) is None
    with pytest.raises(InputError, match="--network-weight needs the estimate of a run"):
        read_estimate(tmp_path / "other" / "x" / "y", config, CARD, network_weight=0.5)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"network_weight": "x"}',
        '{"network_weight": 2}',
        "[1]",
        '{"network_weight": 1, "interval_scale": 0}',
    ],
)
def test_a_damaged_weight_is_refused(text, tmp_path):
    (tmp_path / WEIGHT_NAME).write_text(text)
    with pytest.raises(InputError, match=WEIGHT_NAME):
        measured_weight(tmp_path)


def test_means_are_found_once_for_the_same_populations(fitted, plan, monkeypatch):
    means, asked = RunEstimate(model=fitted, network_weight=0.5).of_plan(plan), []
    found = mixed_model.Conditional.predict_averages
    monkeypatch.setattr(
        mixed_model.Conditional, "predict_averages", lambda self, averages: asked.append(1) or found(self, averages)
    )
    first = means.of_sets([0, 1])
    assert np.array_equal(means.of_sets([0, 1, 0]), first[[0, 1, 0]]) and len(asked) == 1
    last = len(plan.sizes) - 1
    assert plan.group(last) not in (plan.group(0), plan.group(1))
    assert not np.array_equal(means.of_sets([last]), first[:1]) and len(asked) == 2
