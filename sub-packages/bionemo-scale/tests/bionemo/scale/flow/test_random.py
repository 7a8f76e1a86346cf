# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from bionemo.scale.flow.random import SetGenerator


def test_same_seed_and_purpose_draw_the_same_numbers():
    assert SetGenerator(3, "time").random() == SetGenerator(3, "time").random()
    assert torch.equal(SetGenerator(3, "prior").normal(4, 2), SetGenerator(3, "prior").normal(4, 2))
    assert torch.equal(SetGenerator(3, "mask").bernoulli(0.5, 40), SetGenerator(3, "mask").bernoulli(0.5, 40))


def test_global_random_state_is_neither_read_nor_moved():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = SetGenerator(3, "prior").normal(5)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert torch.equal(SetGenerator(3, "prior").normal(5), first)


def test_purposes_are_independent():
    draws = {purpose: SetGenerator(7, purpose).normal(2000) for purpose in ("time", "prior", "mask")}
    correlation = torch.corrcoef(torch.stack(list(draws.values())))
    assert (correlation - torch.eye(3)).abs().max() < 0.08


@pytest.mark.parametrize("step", [1, 2**16, 2**31, 2**32, 2**40])
def test_seeds_that_differ_in_any_bit_draw_different_numbers(step: int):
    draws = {SetGenerator(5 + i * step, "time").random() for i in range(8)}
    assert len(draws) == 8


@pytest.mark.parametrize("seed", [0, 2**63 - 1, -1, -(2**63)])
def test_every_int64_is_a_seed(seed: int):
    assert 0 <= SetGenerator(seed, "time").random() < 1


def test_bernoulli_share():
    assert SetGenerator(0, "mask").bernoulli(0.15, 100_000).float().mean() == pytest.approx(0.15, abs=0.005)
