# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The network's weight."""

from dataclasses import replace

import numpy as np
import pytest

from bionemo.scale.estimate.weight import PairErrors, squared_scales, weigh


def pairs_of(truth: np.ndarray, network: np.ndarray, estimate: np.ndarray) -> list[PairErrors]:
    missing, difference = truth - estimate, network - estimate
    values = np.stack([missing**2, difference * missing, difference**2], axis=-1).mean(axis=1)
    return [
        PairErrors(cell_type="t", perturbation=f"p{n}", estimate=e, cross=c, difference=d)
        for n, (e, c, d) in enumerate(values)
    ]


def test_the_weight_is_the_one_that_predicts_best():
    rng = np.random.default_rng(2)
    estimate, network = rng.normal(size=(2, 5, 30))
    truth = estimate + 0.7 * (network - estimate) + 0.1 * rng.normal(size=(5, 30))
    found = weigh(pairs_of(truth, network, estimate))
    assert found.network_weight == pytest.approx(0.7, abs=0.05)
    assert found.error_of_both <= min(found.error_of_network, found.error_of_estimate)
    assert found.num_pairs == len(found.pairs) == 5


def test_the_weight_stays_between_none_and_all():
    rng = np.random.default_rng(2)
    estimate, network = rng.normal(size=(2, 5, 30))
    assert weigh(pairs_of(2 * network - estimate, network, estimate)).network_weight == 1
    assert weigh(pairs_of(2 * estimate - network, network, estimate)).network_weight == 0
    assert weigh(pairs_of(network, estimate, estimate)).network_weight == 0


def test_its_standard_error_is_its_spread_over_draws_of_pairs():
    rng = np.random.default_rng(5)
    weights, errors = [], []
    for _ in range(300):
        estimate, network = rng.normal(size=(2, 20, 1))
        truth = estimate + 0.5 * (network - estimate) + 0.5 * rng.normal(size=(20, 1))
        found = weigh(pairs_of(truth, network, estimate))
        weights.append(found.network_weight)
        errors.append(found.standard_error)
    assert np.mean(errors) == pytest.approx(np.std(weights), rel=0.2)


def test_a_single_pair_has_no_standard_error():
    assert weigh(pairs_of(np.ones((1, 3)), np.ones((1, 3)), np.zeros((1, 3)))).standard_error is None


def test_intervals_are_as_wide_as_held_out_errors_ask():
    """An estimate that claims half its error needs twice the width; one pair is averaged with the claim itself."""
    rng = np.random.default_rng(3)
    sd, sampling = np.full(500, 0.1), np.full(500, 0.05)
    pairs = []
    for number in range(40):
        network = rng.normal(size=500)
        truth = 0.5 * network + rng.normal(0, 0.2, 500) + rng.normal(0, 0.05, 500)
        (pair,) = pairs_of(truth[None], network[None], np.zeros((1, 500)))
        scales = squared_scales(truth, network, sd=sd, sampling=sampling)
        pairs.append(replace(pair, perturbation=f"p{number}", squared_scales=scales))
    assert weigh(pairs).interval_scale == pytest.approx(2.0, abs=0.1)
    assert weigh(pairs[:1]).interval_scale == pytest.approx(np.sqrt((1 + 2.0**2) / 2), abs=0.2)
    nothing = [replace(pair, cross=-1.0) for pair in pairs]
    assert weigh(nothing).interval_scale == 1, "at weight 0 the interval is the estimate's own"
    assert weigh([replace(pair, squared_scales=()) for pair in pairs]).interval_scale == 1
