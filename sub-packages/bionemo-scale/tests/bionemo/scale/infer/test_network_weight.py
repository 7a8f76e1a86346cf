# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Errors of network and estimate on held-out pairs, which the weight is found from."""

import numpy as np
import pytest

from bionemo.scale.estimate.weight import Measured, weigh
from bionemo.scale.infer.network_weight import _by_pair, _errors, _rows_of_pairs
from bionemo.scale.types import Group


def test_batches_of_a_pair_are_averaged_by_their_cells():
    groups = (Group("d", "t", "p", "x"), Group("d", "u", "p", "x"), Group("d", "t", "p", "y"))
    pairs = _rows_of_pairs(groups)
    assert list(pairs) == [("d", "t", "p"), ("d", "u", "p")]
    table, counts = np.array([[1.0], [5.0], [4.0]]), np.array([2, 1, 1])
    np.testing.assert_allclose(_by_pair(table, counts, pairs), [[2.0], [5.0]])


def test_errors_of_a_mixture_follow_from_those_of_its_parts():
    rng = np.random.default_rng(2)
    truth, network, estimate = rng.normal(size=(3, 4, 50))
    labels, deviations = [("t", f"p{number}") for number in range(4)], (np.ones((4, 50)), np.zeros((4, 50)))
    expressed = np.full((4, 50), True)
    found = weigh(_errors(labels, truth, network, estimate=estimate, deviations=deviations, expressed=expressed))
    assert found.error_of_estimate == pytest.approx(((estimate - truth) ** 2).mean())
    assert found.error_of_network == pytest.approx(((network - truth) ** 2).mean())
    mixed = estimate + found.network_weight * (network - estimate)
    assert found.error_of_both == pytest.approx(((mixed - truth) ** 2).mean())


def test_genes_that_controls_do_not_express_do_not_widen_the_intervals():
    """There the estimate is sure, and a network's small remainder would count as any number of its deviations."""
    rng = np.random.default_rng(4)
    sd, sampling = np.full((6, 80), 0.1), np.zeros((6, 80))
    truth, estimate = 1 + rng.random((6, 80)), np.ones((6, 80))
    network = truth + rng.normal(0, 0.1, (6, 80))
    silent = slice(40, None)
    truth[:, silent], estimate[:, silent], network[:, silent], sd[:, silent] = 0.0, 0.0, 0.002, 0.0
    labels = [("t", f"p{number}") for number in range(6)]

    def found(expressed: np.ndarray) -> Measured:
        deviations = sd, sampling
        return weigh(_errors(labels, truth, network, estimate=estimate, deviations=deviations, expressed=expressed))

    assert found(truth > 0).network_weight > 0.9
    assert 0.7 < found(truth > 0).interval_scale < 1.4
    assert found(truth >= 0).interval_scale > 100
    assert found(truth < 0).interval_scale == 1
