# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Counts of a baseline have its means and the library sizes of its controls, and are the controls where it says so."""

import numpy as np
import pytest

from bionemo.scale.eval.baselines.counted import as_counts
from bionemo.scale.eval.baselines.estimators import BaselinePrediction, Targets, control


@pytest.fixture
def targets() -> Targets:
    rng = np.random.default_rng(0)
    unit = 1e4 / rng.uniform(1500, 4000, 600)
    counts = rng.poisson(rng.gamma(2.0, 1.0, (1, 30)) / unit[:, None] / 10)
    return Targets(
        cell_type="T",
        perturbation=np.repeat(["A", "B"], 300).astype(object),
        batch=np.tile(["x", "y"], 300).astype(object),
        control_cells=np.log1p(counts * unit[:, None]).astype(np.float32),
        context_control=np.zeros(30),
        batch_control={},
        training=None,
    ), unit


def test_no_change_keeps_the_counts(targets):
    targets, unit = targets
    np.testing.assert_allclose(as_counts(control(targets), targets, unit), targets.controls, rtol=1e-6)


def test_means_are_kept_and_values_are_whole_counts(targets):
    targets, unit = targets
    mean = targets.controls.mean(axis=0)
    moved = np.where((targets.perturbation == "A")[:, None], 1.3 * mean, 0.6 * mean).astype(np.float32)
    drawn = as_counts(BaselinePrediction(expression=moved), targets, unit)
    for name in "AB":
        rows = targets.perturbation == name
        np.testing.assert_allclose(drawn[rows].mean(axis=0), moved[rows].mean(axis=0), rtol=0.15, atol=0.05)
    counts = np.expm1(drawn.astype(np.float64)) / unit[:, None]
    np.testing.assert_allclose(counts, counts.round(), atol=1e-2)
    np.testing.assert_array_equal(as_counts(BaselinePrediction(expression=moved), targets, unit), drawn)
