# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace
from unittest import mock

import lightning.pytorch as pl
import pytest
import torch

from bionemo.scale.train.callbacks.optimizer import FusedOptimizer


def choose(optimizer: torch.optim.Optimizer, *, is_chained: bool) -> None:
    """Start training with an optimizer as NeMo and Megatron hold one."""
    inner = SimpleNamespace(optimizer=optimizer)
    outer = SimpleNamespace(mcore_optimizer=SimpleNamespace(chained_optimizers=[inner]) if is_chained else inner)
    trainer = mock.Mock(spec=pl.Trainer, optimizers=[outer])
    FusedOptimizer().on_train_start(trainer, mock.Mock(spec=pl.LightningModule))


@pytest.mark.parametrize("is_chained", [False, True])
def test_the_fused_kernel_takes_the_same_steps(is_chained):
    weights = [torch.nn.Parameter(torch.linspace(-1, 1, 40)) for _ in range(2)]
    plain, fused = (torch.optim.AdamW([weight], lr=0.1, weight_decay=0.1) for weight in weights)

    def step() -> None:
        gradient = weights[0].detach().cos()
        for optimizer, weight in zip((plain, fused), weights, strict=True):
            weight.grad = gradient.clone()
            optimizer.step()

    step()
    choose(fused, is_chained=is_chained)
    assert fused.param_groups[0]["fused"]
    # From the state that the other kernel has left.
    step()
    step()
    torch.testing.assert_close(weights[1], weights[0])


def test_other_optimizers_stay_as_they_are():
    other = torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=0.1)
    before = dict(other.param_groups[0])
    choose(other, is_chained=True)
    assert other.param_groups[0] == before
