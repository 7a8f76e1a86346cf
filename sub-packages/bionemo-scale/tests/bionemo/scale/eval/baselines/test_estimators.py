# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Each baseline against its definition, by hand, and on real cells."""

from dataclasses import replace

import numpy as np
import pytest

from bionemo.scale.eval.baselines.estimators import BASELINES, WITHOUT_TRAINING, Targets, match_controls
from bionemo.scale.eval.baselines.training_means import fit
from bionemo.scale.types import Group, GroupMeans


@pytest.fixture
def targets() -> Targets:
    """Three cells of T to predict: perturbation x twice, unseen z once; training has T and B."""
    groups = GroupMeans(
        groups=(
            Group("d", "T", "control", "b1"),
            Group("d", "T", "y", "b1"),
            Group("d", "B", "control", "b1"),
            Group("d", "B", "x", "b1"),
            Group("d", "B", "x", "b2"),
        ),
        means=np.array([[1.0, 1], [1, 3], [2, 2], [6, 0], [2, 0]]),
        counts=np.array([5, 2, 5, 1, 1]),
        cell_sd=np.ones(2),
    )
    return Targets(
        cell_type="T",
        perturbation=np.array(["x", "z", "x"], dtype=object),
        batch=np.array(["b1", "b1", "b9"], dtype=object),
        control_cells=np.array([[0, 0.01], [0.02, 0], [5, 0.01]], dtype=np.float32),
        context_control=np.array([0.5, 0.25]),
        batch_control={"b1": np.array([4.0, 0]), "b9": np.array([5.0, 3])},
        control_groups=GroupMeans(
            groups=(Group("", "T", "control", "b1"),), means=np.array([[4.0, 0]]), counts=np.array([3])
        ),
        training=fit(groups, control="control"),
    )


def test_control(targets):
    found = BASELINES["control"](targets)
    np.testing.assert_array_equal(found.expression, targets.controls)
    assert found.fallbacks == 0


def test_perturbation_mean(targets):
    found = BASELINES["perturbation_mean"](targets)
    # x in B: (6 + 2) / 2; z is unseen: all perturbed training cells, (2*1 + 6 + 2) / 4.
    assert found.expression.tolist() == [[4, 0], [2.5, 1.5], [4, 0]]
    assert found.fallbacks == 1


def test_context_mean(targets):
    found = BASELINES["context_mean"](targets)
    assert found.expression.tolist() == [[1, 3]] * 3
    assert found.fallbacks == 0


def test_context_mean_without_perturbed_training_cells(targets):
    training = replace(targets.training, by_cell_type={})
    found = BASELINES["context_mean"](replace(targets, training=training))
    assert found.expression.tolist() == [[1, 1]] * 3
    assert found.fallbacks == 3
    found = BASELINES["context_mean"](replace(targets, training=replace(training, controls={})))
    assert found.expression.tolist() == [[0.5, 0.25]] * 3


def test_additive(targets):
    found = BASELINES["additive"](targets)
    # x moves B by (+2, -2), from the mean of the batch's controls; none below 0; unseen z does not move.
    np.testing.assert_allclose(found.expression, [[6, 0], [4, 0], [7, 1]], rtol=1e-6)
    assert found.fallbacks == 1


def test_overall_mean(targets):
    found = BASELINES["overall_mean"](targets)
    assert found.expression.tolist() == [[2.5, 1.5]] * 3


def test_batch_mean(targets):
    found = BASELINES["batch_mean"](targets)
    # b1: two cells (1, 3) and one (6, 0); b9 is unseen.
    assert found.expression.tolist() == [[pytest.approx(8 / 3), 2]] * 2 + [[2.5, 1.5]]
    assert found.fallbacks == 1


def test_ridge(targets):
    model = targets.training.ridge
    found = BASELINES["ridge"](targets)
    shift = model.intercept + model.cell_type["T"]
    start = np.stack([targets.batch_control[name] for name in targets.batch])
    expected = np.maximum(start + shift + np.stack([model.perturbation["x"], [0, 0], model.perturbation["x"]]), 0)
    np.testing.assert_allclose(found.expression, expected, atol=1e-6)
    assert found.fallbacks == 1


@pytest.mark.parametrize("name", BASELINES)
def test_shape_type_and_sign(targets, name):
    found = BASELINES[name](replace(targets, training=None if name in WITHOUT_TRAINING else targets.training))
    assert found.expression.shape == (3, 2)
    assert found.expression.dtype == np.float32
    assert (found.expression >= 0).all()
    assert BASELINES[name].__doc__.startswith("Predict")


def test_controls_are_matched_by_batch_and_else_by_cell_type():
    batch = np.array(["a", "b", "z", "a"] * 50, dtype=object)
    control_batch = np.array(["a", "b", "a", "b", "c"], dtype=object)
    matches = match_controls(batch, control_batch, np.random.default_rng(0))
    drawn = control_batch[matches.rows]
    assert set(drawn[batch == "a"]) == {"a"}
    assert set(drawn[batch == "b"]) == {"b"}
    assert set(drawn[batch == "z"]) == {"a", "b", "c"}
    assert matches.fallbacks == 50
    again = match_controls(batch, control_batch, np.random.default_rng(0))
    np.testing.assert_array_equal(matches.rows, again.rows)
    other = match_controls(batch, control_batch, np.random.default_rng(1))
    assert (matches.rows != other.rows).any()


def test_additive_predicts_a_held_out_cell_type(kang):
    """On real cells: the interferon response of CD8 T, learnt from NK alone, beats no change."""
    means = {
        (cell_type, name): np.asarray(
            kang[(kang.obs["cell_type"] == cell_type) & (kang.obs["perturbation"] == name)].X.mean(axis=0)
        ).reshape(-1)
        for cell_type in ("NK", "CD8 T")
        for name in ("control", "IFN-beta")
    }
    groups = GroupMeans(
        groups=tuple(Group("kang", "NK", name, "b") for name in ("control", "IFN-beta")),
        means=np.stack([means["NK", "control"], means["NK", "IFN-beta"]]),
        counts=np.array([48, 55]),
    )
    control = means["CD8 T", "control"].astype(np.float32)[None]
    targets = Targets(
        cell_type="CD8 T",
        perturbation=np.array(["IFN-beta"], dtype=object),
        batch=np.array(["b"], dtype=object),
        control_cells=control,
        context_control=control[0].astype(np.float64),
        batch_control={"b": control[0].astype(np.float64)},
        training=fit(groups, control="control"),
    )
    errors = {
        name: np.square(BASELINES[name](targets).expression[0] - means["CD8 T", "IFN-beta"]).mean()
        for name in ("control", "additive", "ridge")
    }
    assert errors["additive"] < errors["control"]
    assert errors["ridge"] < errors["control"]


def test_nearest_context_takes_the_change_of_the_most_similar_controls():
    means = {"near": ([1.0, 1], [2.0, 5]), "far": ([9.0, 9], [19.0, 9]), "without": (None, [7.0, 7])}
    groups, rows = [], []
    for name, (control, perturbed) in means.items():
        for label, mean in (("control", control), ("x", perturbed)):
            if mean is not None:
                groups.append(Group("d", name, label, "b"))
                rows.append(mean)
    training = fit(
        GroupMeans(groups=tuple(groups), means=np.array(rows), counts=np.ones(5, dtype=np.int64)), control="control"
    )
    targets = Targets(
        cell_type="T",
        perturbation=np.array(["x", "z"], dtype=object),
        batch=np.array(["b", "b"], dtype=object),
        control_cells=np.array([[0, 0.01], [0.02, 0]], dtype=np.float32),
        context_control=np.array([2.0, 2.0]),
        batch_control={"b": np.array([0.0, 1])},
        training=training,
    )
    found = BASELINES["nearest_context"](targets)
    np.testing.assert_allclose(found.expression, [[1, 5], [0, 1]], rtol=1e-6)
    assert found.fallbacks == 1
    other = BASELINES["nearest_context"](replace(targets, context_control=np.array([8.0, 8.0])))
    np.testing.assert_allclose(other.expression, [[10, 1], [0, 1]], rtol=1e-6)
    # Which averages both.
    np.testing.assert_allclose(BASELINES["additive"](targets).expression, [[5.5, 3], [0, 1]], rtol=1e-6)


@pytest.mark.parametrize("name", ["additive", "ridge", "nearest_context"])
def test_populations_have_the_predicted_mean_and_their_zeros(kang, name):
    """Whatever controls were drawn; also of populations that are moved in pieces."""
    cells = kang[(kang.obs["cell_type"] == "CD8 T") & (kang.obs["perturbation"] == "control")].X.toarray()
    rng = np.random.default_rng(0)
    mean, change = cells.mean(axis=0, dtype=np.float64), rng.normal(0, 0.1, cells.shape[1])
    groups = GroupMeans(
        groups=(Group("d", "NK", "control", "b"), Group("d", "NK", "x", "b")),
        means=np.stack([mean + 1, mean + 1 + change]),
        counts=np.array([5, 5]),
    )
    training = fit(groups, control="control")
    drawn = cells[rng.choice(len(cells), size=700)]
    targets = Targets(
        cell_type="CD8 T",
        perturbation=np.full(700, "x", dtype=object),
        batch=np.full(700, "b", dtype=object),
        control_cells=drawn,
        context_control=mean,
        batch_control={"b": mean},
        training=training,
    )
    found = BASELINES[name](targets).expression
    predicted = np.maximum(mean + change, 0)
    off = found.mean(axis=0, dtype=np.float64) - predicted
    assert np.abs(off).max() < 1e-3 < np.abs(drawn.mean(axis=0) - mean).mean()
    smallest = np.where(drawn > 0, drawn, np.inf).min(axis=1, keepdims=True) * (1 - 1e-6)
    # A gene with less than one count in a piece of the population has one value below one count there.
    impossible = (found > 0) & (found < smallest)
    assert impossible.mean() < 1e-3 and (found == 0).mean() > 0.5
    again = BASELINES[name](targets).expression
    np.testing.assert_array_equal(found, again)
    assert (BASELINES[name](replace(targets, seed=1)).expression != found).any()


@pytest.fixture
def pairs() -> Targets:
    """A pair and a single of T to predict; training has the singles a and b, and c in a pair only."""
    groups = GroupMeans(
        groups=tuple(Group("d", "T", name, "b1") for name in ("control", "a", "b", "b+c")),
        means=np.array([[1.0, 1], [2, 1], [1, 4], [5, 5]]),
        counts=np.array([50, 50, 50, 50]),
        cell_sd=np.ones(2),
    )
    return Targets(
        cell_type="T",
        perturbation=np.array(["a+b", "a+c", "b+c"], dtype=object),
        batch=np.array(["b1"] * 3, dtype=object),
        control_cells=np.array([[1, 1], [1, 1], [1, 1]], dtype=np.float32),
        context_control=np.array([1.0, 1.0]),
        batch_control={"b1": np.array([1.0, 1.0])},
        training=fit(groups, control="control", parse=lambda label: tuple((name, -1.0) for name in label.split("+"))),
    )


def test_sum_of_singles(pairs):
    found = BASELINES["sum_of_singles"](pairs)
    # a + b; c was never alone: no change known of a+c, the label's own of b+c.
    np.testing.assert_allclose(found.expression, [[2, 4], [1, 1], [5, 5]], rtol=1e-6)
    assert found.fallbacks == 2


def test_same_type_mean(targets):
    found = BASELINES["same_type_mean"](replace(targets, cell_type="B"))
    # Every training cell of x in B weighs the same; z is unseen.
    assert found.expression.tolist() == [[4, 0], [2.5, 1.5], [4, 0]]
    assert found.fallbacks == 1
    assert BASELINES["same_type_mean"](targets).fallbacks == 3


def test_persistence_of_one_context_is_additive(targets):
    for name in ("persistence", "persistence_by_gene"):
        found = BASELINES[name](targets)
        np.testing.assert_allclose(found.expression, [[6, 0], [4, 0], [7, 1]], rtol=1e-6)
        assert found.fallbacks == 1


def test_mixed_model_moves_controls_to_its_conditional_mean(targets):
    found = BASELINES["mixed_model"](targets)
    training = targets.training
    controls = replace(targets.control_groups, groups=(Group("d", "T", "control", "b1"),))
    expected = training.mixed_model.predict([Group("d", "T", "x", "b1")], controls=controls).mean[0]
    np.testing.assert_allclose(found.expression[0], np.maximum(expected, 0), atol=0.05)
    assert found.fallbacks == 0
