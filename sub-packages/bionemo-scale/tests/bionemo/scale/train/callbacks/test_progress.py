# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import math
from types import SimpleNamespace

import pytest

from bionemo.scale.data.sets.sampler import SetSampler
from bionemo.scale.data.store.groups import GroupTable
from bionemo.scale.train.callbacks.progress import LossGuard, _Lap, describe_sets, far_above, speed_of
from bionemo.scale.train.callbacks.stopping import TrainingStopped
from bionemo.scale.types import Split


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


def test_a_validation_loss_far_above_the_training_loss_is_pointed_out():
    assert "is 3.5 times the training loss" in far_above(7.0, 2.0)
    assert far_above(6.0, 2.0) is None and far_above(9.0, math.nan) is None and far_above(1.0, -1.0) is None


def test_filled_up_sets_are_told():
    sizes = [6, 8, 5]
    groups = GroupTable.from_columns(
        {
            "dataset": [0, 0, 0],
            "cell_type": [0, 0, 0],
            "perturbation": [0, 1, -1],
            "batch": [0, 0, 0],
            "split": ["train"] * 3,
            "first_row": [0, 6, 14],
            "num_cells": sizes,
            "shard": [0, 0, 0],
        },
        datasets=("d",),
        cell_types=("A",),
        perturbations=("p", "q"),
        batches=("b",),
        control="control",
    )
    sampler = SetSampler(groups, Split.TRAIN, set_size=8, seed=0)
    assert describe_sets(sampler) == (
        "sets      2 of 8 cells per epoch; 12.5% of cells are repeated to fill the last set of a group"
    )


class _Places:
    """A sampler of places that have 8 rows each, one of which is a filler in every second place."""

    def count_cells(self, places: range) -> tuple[int, int]:
        return sum(8 - place % 2 for place in places), 8 * len(places)


def test_speed_counts_useful_cells_and_fillers_of_the_steps_of_a_lap():
    data = SimpleNamespace(global_batch_size=4, train_sampler=_Places())
    speed = speed_of(data, step=10, steps=5, lap=_Lap(seconds=2.0, waited=0.5))
    assert speed == {
        "cells_per_second": 75.0,
        "steps_per_second": 2.5,
        "filler_share": 1 - 150 / 160,
        "wait_share": 0.25,
    }
