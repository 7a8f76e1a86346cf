# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Pooling of training pseudobulks, by hand."""

import numpy as np
import pytest

from bionemo.scale.eval.baselines.training_means import DEFAULT_PENALTY, fit, fit_ridge
from bionemo.scale.types import Group, GroupMeans


def group_means(*rows: tuple[str, str, str, str, list[float], int]) -> GroupMeans:
    return GroupMeans(
        groups=tuple(Group(*row[:4]) for row in rows),
        means=np.array([row[4] for row in rows], dtype=np.float64),
        counts=np.array([row[5] for row in rows]),
    )


@pytest.fixture
def groups() -> GroupMeans:
    return group_means(
        ("d", "T", "control", "b1", [1.0, 0.0], 3),
        ("d", "T", "control", "b2", [5.0, 4.0], 1),
        ("d", "T", "x", "b1", [4.0, 2.0], 1),
        ("d", "T", "x", "b2", [0.0, 2.0], 3),
        ("d", "B", "control", "b1", [2.0, 2.0], 10),
        ("d", "B", "x", "b1", [8.0, 2.0], 4),
        ("d", "B", "y", "b1", [2.0, 4.0], 2),
    )


def test_pools_weigh_cells_and_contexts_as_defined(groups):
    learnt = fit(groups, control="control")
    # Controls of T: (3*1 + 1*5)/4, (3*0 + 1*4)/4.
    assert learnt.controls["T"].mean.tolist() == [2, 1]
    assert learnt.controls["T"].count == 4
    assert learnt.by_cell_type["T"].mean.tolist() == [1, 2]
    # B: four cells of x, two of y.
    assert learnt.by_cell_type["B"].mean.tolist() == [6, 8 / 3]
    assert learnt.by_batch["b2"].mean.tolist() == [0, 2]
    assert learnt.overall.mean == pytest.approx([40 / 10, 24 / 10])
    assert learnt.overall.count == 10
    # x: T and B weigh the same although T has four cells and B four in one batch.
    assert learnt.means["x"].tolist() == [4.5, 2]
    assert learnt.changes["x"].tolist() == [((1 - 2) + (8 - 2)) / 2, ((2 - 1) + (2 - 2)) / 2]
    assert learnt.changes["y"].tolist() == [0, 2]
    assert learnt.pairs == {("T", "x"), ("B", "x"), ("B", "y")}


def test_contexts_of_two_datasets_keep_their_own_controls():
    learnt = fit(
        group_means(
            ("d1", "T", "control", "b", [0.0], 1),
            ("d1", "T", "x", "b", [1.0], 1),
            ("d2", "T", "control", "b", [10.0], 1),
            ("d2", "T", "x", "b", [13.0], 9),
        ),
        control="control",
    )
    assert learnt.changes["x"].tolist() == [2]
    assert learnt.means["x"].tolist() == [7]
    assert learnt.by_cell_type["T"].mean.tolist() == [(1 + 9 * 13) / 10]


def test_a_context_without_controls_gives_no_change():
    learnt = fit(group_means(("d", "T", "x", "b", [1.0], 1)), control="control")
    assert learnt.changes == {}
    assert learnt.ridge is None
    assert learnt.means["x"].tolist() == [1]


def test_nothing_perturbed_is_nothing_to_learn():
    assert fit(group_means(("d", "T", "control", "b", [1.0], 1)), control="control") is None


def test_ridge_solves_its_normal_equations():
    """Against a direct least-squares solution with the penalty as extra rows."""
    rng = np.random.default_rng(0)
    changes = {("d", c, p): rng.normal(size=4) for c in ("A", "B", "C") for p in ("x", "y", "z")}
    del changes["d", "C", "z"]
    model = fit_ridge(changes)
    features = np.array([[p == q for q in "xyz"] + [c == k for k in "ABC"] for _, c, p in changes], dtype=float)
    targets = np.array(list(changes.values()))
    padded = np.vstack([np.c_[np.ones(len(features)), features], np.c_[np.zeros(6), np.eye(6) * model.penalty**0.5]])
    expected = np.linalg.lstsq(padded, np.vstack([targets, np.zeros((6, 4))]), rcond=None)[0]
    np.testing.assert_allclose(model.intercept, expected[0], atol=1e-9)
    for row, name in enumerate("xyz", start=1):
        np.testing.assert_allclose(model.perturbation[name], expected[row], atol=1e-9)
    for row, name in enumerate("ABC", start=4):
        np.testing.assert_allclose(model.cell_type[name], expected[row], atol=1e-9)


def test_ridge_picks_the_penalty_that_transfers():
    """Equal effects in all contexts ask for little shrinkage, effects that are noise for much."""
    rng = np.random.default_rng(0)
    effects = {p: rng.normal(size=5) for p in "vwxyz"}
    shared = {("d", c, p): effects[p] for c in "ABCD" for p in effects}
    noise = {("d", c, p): rng.normal(size=300) for c in "ABCD" for p in effects}
    assert fit_ridge(shared).penalty == 0.1
    assert fit_ridge(noise).penalty >= 10
    assert fit_ridge({("d", "A", p): effects[p] for p in effects}).penalty == DEFAULT_PENALTY
