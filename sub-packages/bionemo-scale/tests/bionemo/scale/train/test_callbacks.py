# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import math
from types import SimpleNamespace

import pytest

from bionemo.scale.train.callbacks import LossGuard, describe_sets
from bionemo.scale.train.stopping import TrainingStopped


def check(guard: LossGuard, losses: list[float], last_step: int) -> None:
    guard.check(losses, last_step=last_step, sets_of=lambda step: f"the sets of {step}")


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_the_first_bad_step_is_named(bad):
    with pytest.raises(TrainingStopped, match=r"the loss is (nan|inf) at step 12; its sets: the sets of 12"):
        check(LossGuard(), [1.0, bad, math.nan], last_step=13)


def test_a_loss_explodes_against_the_ones_before():
    guard = LossGuard()
    for step in range(1, 6):
        check(guard, [2.0], last_step=step)
    check(guard, [1999.0], last_step=6)
    with pytest.raises(TrainingStopped, match="has grown to 2001 at step 7"):
        check(guard, [2001.0], last_step=7)


def test_the_first_steps_may_be_wild():
    guard = LossGuard()
    for step, loss in enumerate([1e6, 1e-3, 1e5, 1.0], start=1):
        check(guard, [loss], last_step=step)


def test_filled_up_sets_are_told():
    sampler = SimpleNamespace(num_sets=12, set_size=64, padding_share=lambda: 0.0625)
    trainer = SimpleNamespace(datamodule=SimpleNamespace(train_sampler=sampler))
    assert describe_sets(trainer) == "sets      12 an epoch, of 64 cells; 6.2% of the cells fill sets up"
