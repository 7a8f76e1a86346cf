# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from torch import Tensor

from bionemo.scale.model.transport import TIME_FREQUENCIES, time_features


@pytest.fixture
def z_t() -> Tensor:
    return torch.randn(3, 6, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def condition() -> Tensor:
    return torch.randn(3, 32, generator=torch.Generator().manual_seed(1))


def test_time_features_are_sines_and_cosines_of_1_to_1000_half_turns():
    features = time_features(torch.tensor([0.0, 0.5, 1.0]))
    assert features.shape == (3, 2 * TIME_FREQUENCIES)
    sines, cosines = features.chunk(2, dim=-1)
    torch.testing.assert_close(sines.square() + cosines.square(), torch.ones(3, TIME_FREQUENCIES))
    assert sines[1, 0] == pytest.approx(math.sin(math.pi / 2)) and cosines[2, 0] == pytest.approx(-1)
    # The fastest makes a quarter turn in 1 / 2000.
    assert time_features(torch.tensor([1 / 2000]))[0, TIME_FREQUENCIES - 1] == pytest.approx(1, abs=1e-5)


def test_time_features_tell_near_times_apart():
    features = time_features(torch.linspace(0, 1, 501))
    distances = torch.cdist(features, features).fill_diagonal_(math.inf)
    assert distances.min() > 0.5


def test_backbone_is_equivariant_over_cells(model, z_t, condition):
    t, order = torch.tensor([0.1, 0.5, 0.9]), torch.tensor([3, 0, 5, 1, 4, 2])
    moved = model.transport(z_t[:, order], t, condition)
    torch.testing.assert_close(moved, model.transport(z_t, t, condition)[:, order], rtol=1e-4, atol=1e-5)


def test_cells_of_a_set_exchange_and_sets_do_not(model, z_t, condition):
    t = torch.tensor([0.1, 0.5, 0.9])
    before = model.transport(z_t, t, condition)
    changed = z_t.clone()
    changed[1, 2] += 1
    after = model.transport(changed, t, condition)
    assert torch.equal(after[[0, 2]], before[[0, 2]])
    assert ((after[1] - before[1]).abs().amax(-1) > 1e-5).all()


def test_time_and_condition_of_a_set_reach_that_set_only(model, z_t, condition):
    t = torch.tensor([0.1, 0.5, 0.9])
    before = model.transport(z_t, t, condition)
    later = model.transport(z_t, t + torch.tensor([0, 0.05, 0]), condition)
    other = model.transport(z_t, t, condition * torch.tensor([[1.0], [-1.0], [1.0]]))
    for after in (later, other):
        assert torch.equal(after[[0, 2]], before[[0, 2]])
        assert (after[1] - before[1]).abs().amax(-1).min() > 1e-4


def test_sets_of_other_sizes_are_taken(model, condition):
    for num_cells in (1, 2, 33):
        z_t = torch.randn(3, num_cells, 32, generator=torch.Generator().manual_seed(0))
        assert model.transport(z_t, torch.zeros(3), condition).shape == z_t.shape
