# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Estimators by vectors of perturbations, each against its formula in plain numpy."""

from dataclasses import replace

import numpy as np
import pytest

from bionemo.scale.estimate.features import AgentFeatures
from bionemo.scale.estimate.labels import whole_label
from bionemo.scale.eval.baselines import by_features
from bionemo.scale.eval.baselines.by_features import PENALTIES, ChangesByFeatures


def split_plus(label):
    return tuple((name, -1.0) for name in label.split("+"))


@pytest.fixture
def known():
    """Seven trained genes with effects that are linear in their vectors, and one that was never trained."""
    rng = np.random.default_rng(0)
    names = tuple("ABCDEFGX")
    vectors = rng.normal(size=(8, 3))
    effects = vectors @ rng.normal(size=(3, 30)) + 0.3 * rng.normal(size=(8, 30))
    features = AgentFeatures.of(names, vectors).fitted_to(set("ABCDEFG"))
    changes = dict(zip("ABCDEFG", effects[:7], strict=True))
    return ChangesByFeatures.of(changes, features=features, parse=whole_label), vectors, effects


def test_the_nearest_neighbour_is_the_nearest_by_its_vector(known):
    model, vectors, effects = known
    row = int(np.linalg.norm(vectors[:7] - vectors[7], axis=1).argmin())
    np.testing.assert_array_equal(model.nearest_neighbour("X"), effects[row])
    assert model.nearest("X") == "ABCDEFG"[row] and model.nearest("C") == "C"


def kernel_ridge(kernel, cross, changes, penalty):
    """Ridge regression with an intercept, as generalised least squares: the intercept first, then the rest."""
    inverse = np.linalg.inv(kernel + penalty * np.eye(len(kernel)))
    one = np.ones(len(kernel))
    intercept = one @ inverse @ changes / (one @ inverse @ one)
    return intercept + cross @ inverse @ (changes - intercept)


def test_kernel_ridge_is_its_formula_with_the_penalty_that_predicts_left_out_perturbations(known):
    model, vectors, effects = known
    distances = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    width = np.median(distances[:7, :7][np.triu_indices(7, k=1)])
    kernel, changes = np.exp(-distances / width), effects[:7]

    def left_out_error(penalty):
        error = 0.0
        for row in range(7):
            others = [other for other in range(7) if other != row]
            found = kernel_ridge(kernel[np.ix_(others, others)], kernel[row, others], changes[others], penalty)
            error += ((found - changes[row]) ** 2).sum()
        return error

    best = min(PENALTIES, key=left_out_error)
    expected = kernel_ridge(kernel[:7, :7], kernel[7, :7], changes, best)
    np.testing.assert_allclose(model.kernel_ridge("X"), expected, rtol=1e-8)


def bilinear(vectors, new, changes, penalty, gene_penalty, rank):
    """W = (P'P + a)^-1 P' Y G (G'G + b)^-1 with vectors P, genes G and changes Y, both centred."""
    mean = changes.mean(axis=0)
    _, values, genes = np.linalg.svd(changes - mean, full_matrices=False)
    genes = (genes * values[:, None])[:rank].T
    unit = gene_penalty * (values[:rank] ** 2).mean()
    left = np.linalg.solve(vectors.T @ vectors + penalty * np.eye(vectors.shape[1]), vectors.T @ (changes - mean))
    weights = left @ genes @ np.linalg.inv(genes.T @ genes + unit * np.eye(genes.shape[1]))
    return mean + new @ weights @ genes.T


def test_the_bilinear_model_is_its_formula_with_penalties_by_left_out_perturbations(known, monkeypatch):
    model, vectors, effects = known
    monkeypatch.setattr(by_features, "RANK", 4)
    centred = vectors - vectors[:7].mean(axis=0)
    scaled, changes = centred / np.sqrt((centred[:7] ** 2).sum(axis=1).mean()), effects[:7]

    def left_out_error(pair):
        error = 0.0
        for row in range(7):
            others = [other for other in range(7) if other != row]
            error += ((bilinear(scaled[others], scaled[row], changes[others], *pair, 4) - changes[row]) ** 2).sum()
        return error

    pair = min(((first, second) for first in PENALTIES for second in PENALTIES), key=left_out_error)
    expected = bilinear(scaled[:7], scaled[7], changes, *pair, 4)
    np.testing.assert_allclose(model.bilinear("X"), expected, rtol=1e-6)
    assert np.corrcoef(expected, effects[7])[0, 1] > 0.8


def test_a_pair_has_the_vectors_of_its_agents(known):
    single, vectors, effects = known
    changes = dict(zip("ABCDEFG", effects[:7], strict=True))
    model = ChangesByFeatures.of(changes, features=single.features, parse=split_plus)
    np.testing.assert_allclose(model.kernel_ridge("A+X"), model.kernel_ridge("X+A"))
    kernel = single.features.kernel(tuple("AX"))
    np.testing.assert_allclose(model._kernel(["A+X"])[:, :1], [[kernel[0, 0] + kernel[0, 1]]])
    assert model.describes("A+X") and not model.describes("A+Y")


def test_perturbations_without_vectors_teach_nothing(known):
    model, _, effects = known
    features = replace(model.features, names=(*"ABCDEF", "other", "X"))
    changes = dict(zip("ABCDEFG", effects[:7], strict=True))
    assert ChangesByFeatures.of(changes, features=features, parse=whole_label).labels == tuple("ABCDEF")
    few = {"A": effects[0], "G": effects[6]}
    assert ChangesByFeatures.of(few, features=features, parse=whole_label) is None


def test_vectors_that_say_nothing_leave_the_mean():
    rng = np.random.default_rng(1)
    names, effects = [f"p{number}" for number in range(40)], rng.normal(size=(40, 50)) + 2.0
    features = AgentFeatures.of([*names, "new"], rng.normal(size=(41, 5)))
    model = ChangesByFeatures.of(dict(zip(names, effects, strict=True)), features=features, parse=whole_label)
    spread = np.abs(model.nearest_neighbour("new") - model.mean).mean()
    for found in (model.kernel_ridge("new"), model.bilinear("new")):
        assert np.abs(found - model.mean).mean() < 0.25 * spread
