# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Intervals of predicted changes, and what is said of conditions, on plans whose answer is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from bionemo.scale.estimate import mixed_model
from bionemo.scale.estimate.features import AgentFeatures
from bionemo.scale.infer.certainty.certainty import Certainty, describe_interval
from bionemo.scale.infer.certainty.conditions import FAR_CONTEXT, FEW_CONTROLS, NEW_CONTEXT, NEW_PERTURBATION
from bionemo.scale.infer.certainty.training_facts import training_facts
from bionemo.scale.infer.controls.control_cells import ControlCells
from bionemo.scale.infer.plans.controls_plan import ControlsPlan
from bionemo.scale.infer.plans.parts import cut
from bionemo.scale.infer.run_estimate import RunEstimate
from bionemo.scale.infer.trained_model import LoadedModel
from bionemo.scale.types import DataCard, ExpressionScale, Group, GroupMeans, ObsKeys


GENES = 30
CARD = DataCard(
    genes=tuple(f"g{i}" for i in range(GENES)),
    cell_types=("T", "B", "NK", "odd"),
    perturbations=("A", "B", "C", "A+B", "A+D"),
    batches=("1", "2"),
    control="control",
    scale=ExpressionScale(),
    keys=ObsKeys(),
)


@pytest.fixture(scope="module")
def fitted() -> mixed_model.MixedModel:
    """T and B were trained with A, B and C; NK with controls alone."""
    rng = np.random.default_rng(0)
    base, effects = rng.uniform(2.0, 3.0, (3, GENES)), rng.normal(0, 0.4, (3, GENES))
    groups, means = [], []
    for number, cell_type in enumerate(("T", "B", "NK")):
        for batch in ("1", "2"):
            known = [("control", np.zeros(GENES)), *zip("ABC", effects, strict=True)]
            for label, effect in known[: 1 if cell_type == "NK" else 4]:
                groups.append(Group("d", cell_type, label, batch))
                means.append(base[number] + effect + rng.normal(0, 0.05, GENES))
    observed = GroupMeans(
        groups=tuple(groups),
        means=np.array(means),
        counts=np.full(len(groups), 100),
        cell_sd=np.full(GENES, 0.5),
    )
    return mixed_model.fit(
        observed, control="control", parse=lambda label: tuple((name, -1.0) for name in label.split("+"))
    )


def plan_of(fitted, *names, cell_types=("T", "NK"), shift=0.0, num=60) -> ControlsPlan:
    """Controls of two batches around the training controls of their cell type, those of "odd" far from all."""
    rng = np.random.default_rng(1)
    mean = {
        g.cell_type: m
        for g, m in zip(fitted.observed.groups, fitted.observed.means, strict=True)
        if g.perturbation == "control"
    }
    labels = np.repeat(np.array(cell_types, dtype=object), num)
    rows = [mean.get(name, np.zeros(GENES)) + shift + rng.normal(0, 0.5, GENES) for name in labels]
    cells = ControlCells(
        expression=csr_matrix(np.maximum(np.array(rows), 0).astype(np.float32)),
        cell_type=labels,
        batch=np.array([("1", "2")[row % 2] for row in range(len(labels))], dtype=object),
        names=np.array([f"cell{row}" for row in range(len(labels))], dtype=object),
    )
    return ControlsPlan(cells, CARD, names, source=Path("cells.h5ad"), set_size=8, seed=3)


def certainty_of(fitted, plan, make_model, *, predicted=None, **weights) -> Certainty:
    estimate = RunEstimate(model=fitted, **{"network_weight": 0.0, **weights})
    loaded = LoadedModel(model=make_model().eval(), card=CARD, path=Path("run"), estimate=estimate)
    if predicted is None:
        means = estimate.of_plan(plan)
        predicted = np.concatenate([np.repeat(means.of_sets([n]), size, axis=0) for n, size in enumerate(plan.sizes)])
    return Certainty.of_cells(loaded, plan, predicted)[0]


def test_the_interval_is_the_estimates_over_the_batches_of_a_pair(fitted, make_model):
    plan = plan_of(fitted, "A", "C")
    found = certainty_of(fitted, plan, make_model)
    varm, pairs = found.columns(), found.pairs
    assert (
        pairs.labels == (("T", "A"), ("NK", "A"), ("T", "C"), ("NK", "C")) and pairs.num_controls.tolist() == [60] * 4
    )
    expected = found._means.of_averages(
        [{Group("", cell_type, name, batch): 30.0 for batch in "12"} for cell_type, name in pairs.labels]
    )
    np.testing.assert_allclose(varm["change_sd"], expected.sd.T, rtol=1e-5)
    np.testing.assert_allclose(varm["change"], (expected.mean - pairs.control_mean).T, atol=1e-5)
    np.testing.assert_allclose(varm["change_high"] - varm["change"], 1.645 * varm["change_sd"], rtol=1e-4, atol=1e-6)
    # A context that was never seen perturbed is known less well.
    assert varm["change_sd"][:, 1].mean() > varm["change_sd"][:, 0].mean()


def test_an_average_of_batches_is_known_better_than_one_but_not_as_if_they_were_strangers(fitted):
    conditional = mixed_model.Conditional(fitted)
    one, other = Group("d", "NK", "A", "1"), Group("d", "NK", "A", "2")
    single = conditional.predict([one, other])
    both = conditional.predict_averages([{one: 3.0, other: 1.0}])
    np.testing.assert_allclose(both.mean[0], 0.75 * single.mean[0] + 0.25 * single.mean[1], rtol=1e-9)
    strangers = np.sqrt((0.75 * single.sd[0]) ** 2 + (0.25 * single.sd[1]) ** 2)
    assert (both.sd[0] <= np.maximum(*single.sd) + 1e-9).all() and (both.sd[0] > 1.05 * strangers).all()


@pytest.mark.parametrize(("weight", "measured"), [(0.5, 0.5), (1.0, 0.5), (0.0, 0.5), (0.4, 0.0)])
def test_the_interval_is_of_what_is_predicted(fitted, weight, measured):
    estimate = mixed_model.Estimate(mean=np.full((1, 3), 2.0), sd=np.full((1, 3), 0.1))
    network = np.array([[2.0, 2.5, 1.0]])
    run = RunEstimate(model=fitted, network_weight=weight, measured_weight=measured, interval_scale=2.0)
    found = run.sd(estimate.mean + weight * (network - estimate.mean), estimate)
    scale = 2.0 if weight else 1.0
    moved = (weight - measured) * (network - 2.0) if weight else 0.0
    np.testing.assert_allclose(found, np.sqrt((scale * 0.1) ** 2 + np.square(moved) + np.zeros((1, 3))))
    assert ("0.5 times network - estimate" in describe_interval(run)) == (weight == 1.0)


def test_no_interval_loses_more_than_there_is(fitted, make_model):
    plan = plan_of(fitted, "A", cell_types=("odd",), shift=-5.0)
    silent = certainty_of(fitted, plan, make_model, predicted=np.zeros((60, GENES), dtype=np.float32))
    varm = silent.columns()
    np.testing.assert_array_equal(varm["change_low"], -silent.pairs.control_mean.T)


def test_each_condition_names_the_trained_perturbation_with_the_nearest_vector(fitted, make_model):
    vectors = np.array([[0.0], [2.0], [4.0], [3.5]])
    told = replace(fitted, features=AgentFeatures.of(tuple("ABCD"), vectors).fitted_to(set("ABC")))
    found = certainty_of(told, plan_of(told, "A", "A+B", "A+D", cell_types=("T",), num=40), make_model)
    found.columns()
    table = found.table().set_index("perturbation")
    # Of the centred vectors -2, 0, 2 and 1.5, A+B is A's, and A+D is -0.5.
    assert table["nearest_features"].to_dict() == {"A": "A", "A+B": "A", "A+D": "B"}
    assert table["features_distance"].to_dict() == {"A": 0.0, "A+B": 0.0, "A+D": 0.25}


def test_each_condition_says_what_it_rests_on(fitted, make_model):
    found = certainty_of(fitted, plan_of(fitted, "A", "A+B", "A+D", cell_types=("T", "NK"), num=40), make_model)
    found.columns()
    table = found.table().set_index(["cell_type", "perturbation"])
    assert table["trained_contexts"].loc["T"].to_dict() == {"A": 2, "A+B": 0, "A+D": 0}
    assert table["nearest_label"].loc["T"].to_dict() == {"A": "A", "A+B": "A", "A+D": "A"}
    assert table["label_distance"].loc["T"].to_dict() == {"A": 0.0, "A+B": 0.5, "A+D": 0.5}
    assert table["nearest_effect"]["T", "A"] == "A" and table["effect_distance"]["T", "A"] < 0.3
    assert table["nearest_context"]["T", "A"] == "T" and table["context_distance"]["T", "A"] < 0.1
    assert table["nearest_context"]["NK", "A"] in ("T", "B") and table["context_distance"]["NK", "A"] > 0.2
    assert table["warnings"]["T", "A"] == FEW_CONTROLS
    assert {FEW_CONTROLS, NEW_CONTEXT, NEW_PERTURBATION} <= set(table["warnings"]["NK", "A+B"].split("; "))
    lines = found.lines()
    assert any("never trained: 2 perturbations ('A+B', 'A+D')" in line for line in lines)
    assert any("never trained with perturbed cells: 1 cell type ('NK')" in line for line in lines)
    assert found.notes()["warnings"].splitlines()[-len(lines) :] == lines


def test_a_context_unlike_all_training_contexts_is_named(fitted, make_model):
    near, far = (certainty_of(fitted, plan_of(fitted, "A", cell_types=(name,)), make_model) for name in ("T", "odd"))
    assert not any("unlike" in line for line in near.lines())
    (line,) = (line for line in far.lines() if "unlike" in line)
    assert line.startswith("cell type 'odd': unlike all training contexts") and "\n" not in line
    far.columns()
    assert FAR_CONTEXT in far.table()["warnings"].iloc[0]


def test_perturbations_that_are_predicted_alike_are_named(fitted, make_model):
    plan = plan_of(fitted, "A", "C", cell_types=("T",))
    apart = certainty_of(fitted, plan, make_model)
    apart.columns()
    assert apart.lines_after() == []
    # The same change for all, but for a hundredth of it.
    is_c = (plan.obs["perturbation"] == "C").to_numpy()[:, None]
    cells = np.full((120, GENES), 4.0, dtype=np.float32) + 0.01 * is_c
    alike = certainty_of(fitted, plan, make_model, predicted=cells)
    alike.columns()
    (line,) = alike.lines_after()
    assert line.startswith("cell type 'T': the 2 perturbations are predicted alike")
    assert alike.table()["warnings"].str.contains("alike").all()


def test_values_that_were_lowered_are_counted(fitted, make_model):
    found = certainty_of(fitted, plan_of(fitted, "A"), make_model)
    found.num_bounded = 1234
    found.columns()
    (line,) = found.lines_after()
    assert line.startswith("1,234 predicted values were above what a cell can hold (about 9.21")
    assert line in found.notes()["warnings"].splitlines()


def test_a_run_without_an_estimate_has_changes_alone(fitted, make_model):
    plan = plan_of(fitted, "A")
    loaded = LoadedModel(model=make_model().eval(), card=CARD, path=Path("run"))
    found, varm = Certainty.of_cells(loaded, plan, np.ones((120, GENES), dtype=np.float32))
    assert list(varm) == ["change"] and found.lines() == []
    assert list(found.table()) == ["cell_type", "perturbation", "num_cells", "num_controls", "warnings"]
    assert found.notes()["interval"].startswith("none")


def test_parts_add_up(fitted, make_model):
    plan = plan_of(fitted, "A", "C")
    cells = np.random.default_rng(2).uniform(0, 3, (240, GENES)).astype(np.float32)
    whole = certainty_of(fitted, plan, make_model, predicted=cells)
    loaded = LoadedModel(model=make_model().eval(), card=CARD, path=Path("run"))
    pieces, first = Certainty(loaded, plan, None), 0
    for part in cut(plan.sizes, plan.population, 20):
        pieces.totals.add_cells(part, cells[first : first + part.num_cells])
        first += part.num_cells
    np.testing.assert_allclose(pieces.columns()["change"], whole.columns()["change"], atol=1e-5)


def test_training_without_perturbed_groups_says_nothing(fitted):
    kept = [row for row, group in enumerate(fitted.observed.groups) if group.perturbation == "control"]
    observed = replace(
        fitted.observed,
        groups=tuple(fitted.observed.groups[row] for row in kept),
        means=fitted.observed.means[kept],
        counts=fitted.observed.counts[kept],
    )
    assert training_facts(replace(fitted, observed=observed)) is None
