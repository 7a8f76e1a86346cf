# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import pickle
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bionemo.scale.data.sets.sampler import Sampling, SetSampler
from bionemo.scale.data.store.groups import GroupTable
from bionemo.scale.types import InputError, Split


def table(sizes, held_out=()):
    """Perturbed groups of these sizes, one control group at the end."""
    sizes = [*sizes, 5]
    last = len(sizes) - 1
    return GroupTable.from_columns(
        {
            "dataset": [0] * len(sizes),
            "cell_type": [0] * len(sizes),
            "perturbation": [*range(last), -1],
            "batch": [0] * len(sizes),
            "split": ["test" if index in held_out else "train" for index in range(len(sizes))],
            "first_row": (np.cumsum(sizes) - sizes).tolist(),
            "num_cells": sizes,
            "shard": [0] * len(sizes),
        },
        datasets=("d",),
        cell_types=("A",),
        perturbations=tuple(f"p{index}" for index in range(last)),
        batches=("b",),
        control="control",
    )


def only(sampler, index):
    """The set of a place that holds one."""
    (plan,) = sampler.place(index)
    return plan


def same(first, second):
    return (first.group, first.num_cells, first.seed, first.perturbed_rows.tolist()) == (
        second.group,
        second.num_cells,
        second.seed,
        second.perturbed_rows.tolist(),
    )


SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=8)
WEIGHTINGS = st.sampled_from(["proportional", "uniform", "tempered"])


@given(sizes=SIZES, set_size=st.integers(1, 16), seed=st.integers(0, 2**31), epoch=st.integers(0, 5))
def test_an_epoch_covers_every_cell_once(sizes, set_size, seed, epoch):
    groups = table(sizes)
    sampler = SetSampler(groups, Split.TRAIN, set_size, seed=seed)
    assert sampler.num_sets == sum(-(-size // set_size) for size in sizes)
    plans = [only(sampler, epoch * sampler.num_sets + slot) for slot in range(sampler.num_sets)]
    own = Counter(row for plan in plans for row in plan.perturbed_rows[: plan.num_cells].tolist())
    assert own == Counter(range(sum(sizes)))
    padding = 1 - sum(plan.num_cells for plan in plans) / (set_size * len(plans))
    assert sampler.padding_share() == pytest.approx(padding)


@given(sizes=SIZES, set_size=st.integers(1, 16), weighting=WEIGHTINGS, index=st.integers(0, 200))
def test_sets_stay_in_their_group_and_repeat_as_little_as_possible(sizes, set_size, weighting, index):
    groups = table(sizes)
    plan = only(SetSampler(groups, Split.TRAIN, set_size, seed=3, sampling=Sampling(weighting=weighting)), index)
    assert plan.perturbed_rows.shape == (set_size,)
    assert 0 <= plan.seed < 2**31
    assert 1 <= plan.num_cells <= min(set_size, sizes[plan.group])
    assert set(plan.perturbed_rows.tolist()) <= set(groups.rows(plan.group).tolist())
    counts = Counter(plan.perturbed_rows.tolist())
    assert max(counts.values()) == -(-set_size // sizes[plan.group])
    assert len(counts) == min(set_size, sizes[plan.group])


@given(sizes=SIZES, weighting=WEIGHTINGS, indices=st.lists(st.integers(0, 500), min_size=1, max_size=6))
def test_plans_depend_on_the_index_alone(sizes, weighting, indices):
    """Not on what was asked before, nor on the process that asks."""
    groups = table(sizes)
    used = SetSampler(groups, Split.TRAIN, 4, seed=11, sampling=Sampling(weighting=weighting))
    plans = [only(used, index) for index in indices]
    for index, plan in zip(indices, plans, strict=True):
        assert same(
            plan, only(SetSampler(groups, Split.TRAIN, 4, seed=11, sampling=Sampling(weighting=weighting)), index)
        )
        assert same(plan, only(pickle.loads(pickle.dumps(used)), index))
        np.testing.assert_array_equal(
            used.control_rng(index).integers(1 << 30, size=4),
            SetSampler(groups, Split.TRAIN, 4, seed=11).control_rng(index).integers(1 << 30, size=4),
        )


@pytest.mark.parametrize("weighting", ["proportional", "uniform", "tempered"])
def test_epochs_seeds_and_splits_differ(weighting):
    groups = table([30, 30, 30], held_out=(1,))
    sampler = SetSampler(groups, Split.TRAIN, 8, seed=0, sampling=Sampling(weighting=weighting))
    first, second = (
        [only(sampler, epoch * sampler.num_sets + slot) for slot in range(sampler.num_sets)] for epoch in (0, 1)
    )
    assert [plan.perturbed_rows.tolist() for plan in first] != [plan.perturbed_rows.tolist() for plan in second]
    assert len({plan.seed for plan in first + second}) == len(first + second)
    assert not same(
        only(sampler, 0), only(SetSampler(groups, Split.TRAIN, 8, seed=1, sampling=Sampling(weighting=weighting)), 0)
    )
    assert only(SetSampler(groups, Split.TEST, 8, seed=0), 0).seed != first[0].seed
    assert {plan.group for plan in first} == {0, 2}


@settings(max_examples=30)
@given(
    ranks=st.integers(1, 4),
    micro=st.integers(1, 3),
    accumulate=st.integers(1, 3),
    steps=st.integers(1, 6),
    data=st.data(),
)
def test_ranks_share_each_step_and_resume_goes_on(ranks, micro, accumulate, steps, data):
    """Sliced as Megatron slices: ranks are disjoint, together they are the sequence, and a later start is its rest."""

    def ranks_from(consumed, rank):
        batches = []
        for first in range(consumed, steps * micro * ranks * accumulate, micro * ranks):
            batches.append([first + rank * micro + offset for offset in range(micro)])
        return batches

    sampler = SetSampler(table([13, 29, 4]), Split.TRAIN, 5, seed=1)
    total = steps * micro * ranks * accumulate
    whole = [only(sampler, index) for index in range(total)]
    per_rank = [ranks_from(0, rank) for rank in range(ranks)]
    assert len({len(batches) for batches in per_rank}) == 1
    assert sorted(index for batches in per_rank for batch in batches for index in batch) == list(range(total))
    done = data.draw(st.integers(0, steps)) * micro * ranks * accumulate
    again = SetSampler(table([13, 29, 4]), Split.TRAIN, 5, seed=1)
    resumed = sorted(index for rank in range(ranks) for batch in ranks_from(done, rank) for index in batch)
    assert resumed == list(range(done, total))
    assert all(same(only(again, index), whole[index]) for index in resumed)


@settings(max_examples=50)
@given(
    sizes=SIZES,
    set_size=st.integers(1, 12),
    ranks=st.integers(1, 5),
    seed=st.integers(0, 2**31),
    epoch=st.integers(0, 3),
    weighting=WEIGHTINGS,
    control_share=st.sampled_from([0.0, 0.3]),
)
def test_ranks_of_any_world_share_an_epoch(sizes, set_size, ranks, seed, epoch, weighting, control_share):
    """No set is on two ranks, all ranks take the same steps, and the next epoch has another order."""
    options = Sampling(weighting=weighting, control_share=control_share)
    groups = table(sizes)
    sampler = SetSampler(groups, Split.TRAIN, set_size, seed=seed, sampling=options)
    start = epoch * sampler.num_sets
    steps = sampler.num_sets // ranks
    per_rank = [[start + step * ranks + rank for step in range(steps)] for rank in range(ranks)]
    seeds = [[only(sampler, index).seed for index in indices] for indices in per_rank]
    assert len({len(part) for part in seeds}) == 1
    flat = [number for part in per_rank for number in part]
    assert len(set(flat)) == len(flat) == steps * ranks
    again = SetSampler(groups, Split.TRAIN, set_size, seed=seed, sampling=options)
    assert all(same(only(sampler, index), only(again, index)) for index in flat)
    here = [only(sampler, start + slot) for slot in range(sampler.num_sets)]
    after = [only(sampler, start + sampler.num_sets + slot) for slot in range(sampler.num_sets)]
    assert [plan.seed for plan in here] != [plan.seed for plan in after]
    if weighting == "proportional":
        perturbed = [plan for plan in here if not groups.is_control[plan.group]]
        own = [row for plan in perturbed for row in plan.perturbed_rows[: plan.num_cells].tolist()]
        assert sorted(own) == list(range(sum(sizes)))


def test_weighting_sets_how_often_groups_come():
    groups = table([900, 100, 9])

    def shares(**options):
        sampler = SetSampler(groups, Split.TRAIN, 10, seed=0, sampling=Sampling(**options))
        draws = [only(sampler, index).group for index in range(20 * sampler.num_sets)]
        return np.bincount(draws) / len(draws)

    np.testing.assert_allclose(shares(), np.array([90, 10, 1]) / 101)
    np.testing.assert_allclose(shares(weighting="uniform"), np.full(3, 1 / 3), atol=0.04)
    np.testing.assert_allclose(shares(weighting="tempered"), np.array([30, 10, 3]) / 43, atol=0.04)
    np.testing.assert_allclose(shares(weighting="tempered", exponent=1.0), np.array([900, 100, 9]) / 1009, atol=0.04)


@given(sizes=SIZES, set_size=st.integers(1, 9))
def test_drawn_groups_use_up_their_cells_before_they_repeat(sizes, set_size):
    sampler = SetSampler(table(sizes), Split.TRAIN, set_size, seed=2, sampling=Sampling(weighting="uniform"))
    uses = Counter()
    sets = Counter()
    for index in range(sampler.num_sets):
        plan = only(sampler, index)
        sets[plan.group] += 1
        uses.update(plan.perturbed_rows[: plan.num_cells].tolist())
    groups = table(sizes)
    for group in sets:
        counts = [uses[row] for row in groups.rows(group).tolist()]
        assert max(counts) - min(counts) <= 1


def test_a_split_without_cells_is_refused():
    with pytest.raises(InputError, match="no perturbed cells in the val split"):
        SetSampler(table([3]), Split.VAL, 4, seed=0)
    with pytest.raises(ValueError, match="at least 1"):
        SetSampler(table([3]), Split.TRAIN, 0, seed=0)


def test_control_sets_come_on_top_of_every_perturbed_cell():
    groups = table([40, 25])
    sampler = SetSampler(groups, Split.TRAIN, 5, seed=0, sampling=Sampling(control_share=0.5))
    for epoch in range(3):
        plans = [only(sampler, epoch * sampler.num_sets + slot) for slot in range(sampler.num_sets)]
        is_control = [bool(groups.is_control[plan.group]) for plan in plans]
        assert sum(is_control) == len(plans) / 2
        covered = np.concatenate(
            [plan.perturbed_rows for plan, control in zip(plans, is_control, strict=True) if not control]
        )
        perturbed = np.concatenate([groups.rows(group) for group in groups.perturbed_in(Split.TRAIN).tolist()])
        assert set(covered.tolist()) == set(perturbed.tolist())


@pytest.mark.parametrize(
    "sampling", [Sampling(), Sampling(weighting="tempered", control_share=0.3), Sampling(sets="mixed")]
)
def test_cells_that_fill_no_set_up_are_counted_as_the_plans_have_them(sampling):
    sampler = SetSampler(table([40, 25, 3, 11]), Split.TRAIN, 8, seed=0, sampling=sampling)
    places = range(3, 2 * sampler.num_places + 2)
    plans = [plan for index in places for plan in sampler.place(index)]
    expected = sum(plan.num_cells for plan in plans), sum(len(plan.perturbed_rows) for plan in plans)
    assert sampler.count_cells(places) == expected and expected[0] < expected[1]
    assert sampler.count_cells(range(5, 5)) == (0, 0)


def test_control_share_is_a_share():
    with pytest.raises(ValueError, match=r"control_share must be in \[0, 1\), got 1"):
        Sampling(control_share=1.0)
