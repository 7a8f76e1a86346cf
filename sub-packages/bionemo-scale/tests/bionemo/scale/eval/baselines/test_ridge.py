# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The ridge baseline against direct solutions of the same problem."""

import time

import numpy as np
import pytest

from bionemo.scale.eval.baselines.ridge import DEFAULT_PENALTY, PENALTIES, fit_ridge


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


def one_hot(labels) -> np.ndarray:
    names = list(dict.fromkeys(labels))
    return np.array([[label == name for name in names] for label in labels], dtype=float)


def direct(features, targets, penalty):
    """Intercept and effects from the eigenvalues of the whole centred Gram matrix."""
    mean, centred = features.mean(axis=0), features - features.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    projected = vectors.T @ (centred.T @ (targets - targets.mean(axis=0)))
    effects = vectors @ (projected / (np.maximum(values, 0) + penalty)[:, None])
    return targets.mean(axis=0) - mean @ effects, effects


@pytest.mark.parametrize("shape", [(7, 3), (3, 7), (4, 4), (1, 3), (40, 5)])
@pytest.mark.parametrize("seed", range(3))
def test_eliminating_a_factor_changes_no_number(shape, seed):
    """Gaps in the design, two datasets that share cell types, and labels that only the left-out context has."""
    rng = np.random.default_rng([seed, *shape])
    changes = {
        (dataset, f"c{c}", f"p{p}"): rng.normal(size=6)
        for dataset in ("d1", "d2")
        for c in range(shape[1])
        for p in range(shape[0])
        if rng.random() < 0.6
    }
    changes["d1", "c0", "p0"] = rng.normal(size=6)
    changes["d1", "c1", "p0"] = rng.normal(size=6)
    keys, targets = list(changes), np.stack(list(changes.values()))
    perturbation, cell_type = one_hot([key[2] for key in keys]), one_hot([key[1] for key in keys])
    features = np.hstack([perturbation, cell_type])
    errors = dict.fromkeys(PENALTIES, 0.0)
    for context in dict.fromkeys(key[:2] for key in keys):
        out = np.array([key[:2] == context for key in keys])
        for penalty in PENALTIES:
            intercept, effects = direct(features[~out], targets[~out], penalty)
            errors[penalty] += ((intercept + features[out] @ effects - targets[out]) ** 2).sum()
    model = fit_ridge(changes)
    assert errors[model.penalty] == pytest.approx(min(errors.values()), rel=1e-9)
    intercept, effects = direct(features, targets, model.penalty)
    np.testing.assert_allclose(model.intercept, intercept, rtol=0, atol=1e-10)
    found = [*model.perturbation.values(), *model.cell_type.values()]
    np.testing.assert_allclose(np.stack(found), effects, rtol=0, atol=1e-10)
    assert list(model.perturbation) == list(dict.fromkeys(key[2] for key in keys))
    assert list(model.cell_type) == list(dict.fromkeys(key[1] for key in keys))


def test_a_penalty_that_nothing_prefers_is_the_default():
    """One perturbation, every context once: what is left out is predicted by the mean under any penalty."""
    rng = np.random.default_rng(0)
    assert fit_ridge({("d", c, "x"): rng.normal(size=50) for c in "ABCDE"}).penalty == DEFAULT_PENALTY


def test_thousands_of_perturbations_take_no_minute():
    """Cubic in perturbations this took minutes."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3, 5000, 4))
    changes = {("d", f"c{c}", f"p{p}"): values[c, p] for c in range(3) for p in range(5000)}
    begin = time.perf_counter()
    assert len(fit_ridge(changes).perturbation) == 5000
    assert time.perf_counter() - begin < 5
