# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Pooling of training pseudobulks, by hand."""

import numpy as np
import pytest

from bionemo.scale.eval.baselines import training_means
from bionemo.scale.eval.baselines.training_means import fit, mean_changes
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


def test_training_needs_the_changes_alone(groups, monkeypatch):
    """A network's table of effects comes from the same means, and no regression is fitted for it."""
    monkeypatch.setattr(training_means, "fit_ridge", lambda changes: pytest.fail("fitted and not used"))
    expected = fit(groups, control="control").changes
    found = mean_changes(groups, control="control")
    assert found.keys() == expected.keys()
    for name, change in expected.items():
        np.testing.assert_array_equal(found[name], change)
    assert mean_changes(group_means(("d", "T", "control", "b", [1.0], 1)), control="control") == {}
    assert mean_changes(group_means(("d", "T", "x", "b", [1.0], 1)), control="control") == {}


@pytest.fixture
def timed() -> GroupMeans:
    """Controls of T at both times, of B at 0h alone."""
    rows = [
        ("T", "control", "6h", [1.0]),
        ("T", "control", "24h", [2.0]),
        ("T", "x", "6h", [4.0]),
        ("T", "x", "24h", [2.0]),
        ("B", "control", "0h", [5.0]),
        ("B", "x", "6h", [7.0]),
    ]
    return GroupMeans(
        groups=tuple(Group("d", cell_type, name, "b", (time,)) for cell_type, name, time, _ in rows),
        means=np.array([mean for *_, mean in rows]),
        counts=np.ones(len(rows), dtype=np.int64),
    )


def test_a_context_is_a_cell_type_at_its_covariates(timed):
    learnt = fit(timed, control="control")
    assert learnt.pairs == {("T:6h", "x"), ("T:24h", "x"), ("B:6h", "x")}
    found = {name: float(change[0]) for (_, name, _), change in learnt.context_changes.items()}
    assert found == {"T:6h": 3.0, "T:24h": 0.0, "B:6h": 2.0}, "B has controls at another time only"
    assert learnt.controls["B:6h"].mean.tolist() == [5.0]
    assert mean_changes(timed, control="control")["x"].tolist() == [5 / 3]
    assert learnt.dataset_of("B") == "d"
