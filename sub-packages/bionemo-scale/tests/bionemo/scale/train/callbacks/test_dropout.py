# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
from unittest import mock

import lightning.pytorch as pl
import pytest
import torch
from megatron.core.tensor_parallel import get_cuda_rng_tracker

from bionemo.scale.train.callbacks.dropout import DropoutSeed


@pytest.fixture
def draws(process_groups):
    """Numbers of a step: of what ranks share, and of what each has for itself."""

    def at(seed: int, step: int) -> list[float]:
        # Whatever was drawn before must not matter.
        torch.rand(step + 1)
        trainer = mock.Mock(spec=pl.Trainer, global_step=step)
        DropoutSeed(seed).on_train_batch_start(trainer, None, None, 0)
        shared = torch.rand(4).tolist()
        with get_cuda_rng_tracker().fork():
            return shared + torch.rand(4).tolist()

    return at


def test_a_step_draws_the_same_whenever_it_comes(draws):
    first = draws(0, 5)
    assert draws(0, 6) != first
    assert draws(0, 5) == first


def test_steps_seeds_and_states_differ(draws):
    outcomes = [draws(seed, step) for seed in (0, 1) for step in (0, 1)]
    numbers = [number for outcome in outcomes for number in outcome]
    assert len(set(numbers)) == len(numbers)
