# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""A shared response must not pass for a specific one."""

import numpy as np
import pytest

from bionemo.scale.eval.metrics.formulas import pearson_delta
from bionemo.scale.eval.metrics.residuals import residual_correlations


@pytest.fixture
def parts():
    """A strong response shared by all perturbations, and a weak one of each."""
    rng = np.random.default_rng(0)
    return 5 * rng.normal(size=80), rng.normal(size=(6, 80))


def test_a_model_of_the_shared_response_alone_has_none_left(parts):
    shared, own = parts
    real, pred = shared + own, np.tile(shared, (6, 1))
    assert pearson_delta(pred, real).min() > 0.9, "PDCorr is fooled"
    assert np.isnan(residual_correlations(pred, real, None).context).all()
    noise = np.random.default_rng(1).normal(size=own.shape)
    assert np.abs(residual_correlations(pred + noise, real, None).context).max() < 0.4
    assert residual_correlations(shared + 0.1 * own, real, None).context == pytest.approx(np.ones(6))


def test_what_a_model_adds_to_the_training_mean(parts):
    trained, own = parts[1], 0.3 * np.random.default_rng(2).normal(size=(6, 80))
    real = trained + own
    found = residual_correlations(trained + 2 * own, real, trained)
    assert found.perturbation == pytest.approx(np.ones(6))
    assert found.both == pytest.approx(np.ones(6))
    assert np.isnan(residual_correlations(trained.copy(), real, trained).perturbation).all()


def test_unseen_perturbations_and_small_contexts_are_undefined(parts):
    real = parts[1]
    trained = real * 0.5
    trained[2] = np.nan
    found = residual_correlations(real * 0.9, real, trained)
    assert np.isnan(found.perturbation).tolist() == [False, False, True, False, False, False]
    assert np.isnan(found.both).tolist() == [False, False, True, False, False, False]
    assert not np.isnan(found.context).any()
    few = residual_correlations(real[:2] * 0.9, real[:2], trained[:2])
    assert np.isnan(few.context).all() and np.isnan(few.both).all() and not np.isnan(few.perturbation).any()
    assert np.isnan(residual_correlations(real, real, None).perturbation).all()
