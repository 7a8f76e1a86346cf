# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Persistence against its formula, by hand."""

import numpy as np
import pytest

from bionemo.scale.eval.baselines.persistence import ContextMeans, fit_persistence


@pytest.fixture
def contexts():
    """Four contexts whose perturbed means keep 0.3 of what is their own (0.8 in the last gene)."""
    rng = np.random.default_rng(0)
    own = rng.normal(0, 1, (4, 6))
    kept = np.array([0.3] * 5 + [0.8])
    return {
        "p": {
            ("d", f"t{number}"): ContextMeans(perturbed=7 + kept * own[number], control=5 + own[number])
            for number in range(4)
        }
    }


def test_rho_by_leaving_contexts_out(contexts):
    found = fit_persistence(contexts)
    x = np.array([means.control for means in contexts["p"].values()])
    y = np.array([means.perturbed for means in contexts["p"].values()])
    # A left-out context less the mean of the others is 4/3 of what it is less the mean of all.
    dx, dy = x - x.mean(axis=0), y - y.mean(axis=0)
    assert found.rho == pytest.approx((dx * dy).sum() / (dx**2).sum())
    new = np.full(6, 5.5)
    expected = y.mean(axis=0) + found.rho * (new - x.mean(axis=0))
    np.testing.assert_allclose(found.predict("p", new, by_gene=False), expected)


def test_rho_of_a_gene_lies_between_its_own_and_the_pooled_one(contexts):
    found = fit_persistence(contexts)
    assert found.rho < found.rho_of_gene[5] <= 0.8 + 1e-9
    assert (found.rho_of_gene[:5] <= found.rho + 1e-9).all() and (found.rho_of_gene[:5] >= 0.3 - 1e-9).all()


def test_one_context_leaves_the_additive_effect(contexts):
    found = fit_persistence({"p": dict(list(contexts["p"].items())[:1])})
    means = contexts["p"]["d", "t0"]
    new = np.arange(6.0)
    np.testing.assert_allclose(found.predict("p", new, by_gene=True), new + means.perturbed - means.control)
    assert found.predict("q", new, by_gene=False) is None


def test_no_context_leaves_nothing():
    assert fit_persistence({}) is None
