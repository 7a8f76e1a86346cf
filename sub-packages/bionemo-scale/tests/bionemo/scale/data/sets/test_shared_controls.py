# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bionemo.scale.data.sets.collate import collate
from bionemo.scale.data.sets.dataset import CellSetDataset
from bionemo.scale.data.sets.sampler import Sampling, SetSampler
from bionemo.scale.data.sets.shared_controls import first_of_each, in_runs
from bionemo.scale.types import Split


LENGTHS = st.integers(2, 6)
SHARED = Sampling(weighting="tempered", control_share=0.4, share_controls=4)


@given(
    pools=st.lists(st.integers(0, 5), min_size=1, max_size=60),
    length=LENGTHS,
    first=st.integers(0, 40),
    seed=st.integers(0, 9),
)
def test_runs_have_one_pool_where_an_epoch_has_enough_sets_of_it(pools, length, first, seed):
    pool = np.array(pools) * 7
    order = in_runs(pool, length=length, first=first, rng=np.random.default_rng(seed))
    assert sorted(order.tolist()) == list(range(len(pool)))
    run = (first + np.arange(len(pool))) // length
    whole = [number for number, count in Counter(run.tolist()).items() if count == length]
    of_one_pool = sum(len(set(pool[order][run == number].tolist())) == 1 for number in whole)
    possible = sum(count // length for count in Counter(pools).values())
    # The places before the first whole run may take one run apart.
    assert of_one_pool >= min(possible, len(whole)) - 1


def test_sets_that_make_no_whole_run_keep_their_order():
    pool = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2])
    order = in_runs(pool, length=4, first=1, rng=np.random.default_rng(0))
    assert order[:3].tolist() == [0, 1, 2] and sorted(order[3:7].tolist()) == [3, 4, 5, 6]


def test_order_of_runs_is_random():
    orders = [
        tuple(in_runs(np.repeat([0, 1, 2], 8), length=4, first=0, rng=np.random.default_rng(seed)).tolist())
        for seed in range(8)
    ]
    assert len(set(orders)) > 4


def test_keys_are_numbered_by_their_first_place():
    firsts, which = first_of_each(["b", "a", "b", "c", "a"])
    assert firsts == [0, 1, 3] and which.tolist() == [0, 1, 0, 2, 1]


@pytest.mark.parametrize("weighting", ["proportional", "tempered"])
def test_an_epoch_has_the_same_sets_in_another_order(papalexi_store, weighting):
    def rows(share):
        sampling = Sampling(weighting=weighting, control_share=0.3, share_controls=share)
        dataset = CellSetDataset(papalexi_store, Split.TRAIN, 16, seed=0, sampling=sampling, num_samples=10_000)
        places = range(dataset.sampler.num_places, 2 * dataset.sampler.num_places)
        return sorted(tuple(dataset.sampler.place(index)[0].perturbed_rows.tolist()) for index in places)

    assert rows(1) == rows(4)


def test_what_a_place_holds_depends_on_its_number_alone(kang_store):
    """Whatever the micro-batch: the layout of processes decides which places are read together."""

    def cells(first, count):
        dataset = CellSetDataset(kang_store, Split.TRAIN, 8, seed=1, sampling=SHARED, num_samples=400)
        batch = collate(dataset.__getitems__(range(first, first + count)))
        controls = batch["control"][batch["controls_of"]]
        return [(control, batch["perturbed"][place]) for place, control in enumerate(controls)]

    together = cells(120, 8)
    for count in (1, 2, 4):
        apart = [pair for first in range(120, 128, count) for pair in cells(first, count)]
        for expected, found in zip(together, apart, strict=True):
            assert expected[0].equal(found[0]) and expected[1].equal(found[1])


def test_sets_of_a_run_and_pool_share_controls_and_others_do_not(papalexi_store):
    dataset = CellSetDataset(papalexi_store, Split.TRAIN, 16, seed=0, sampling=SHARED, num_samples=400)
    item = dataset.__getitems__(range(16))
    plans = [dataset.sampler.place(index)[0] for index in range(16)]
    keys = [(index // 4, dataset.controls.pool(plan.group)) for index, plan in enumerate(plans)]
    assert item.expression.shape[0] == 16 * (16 + len(set(keys)))
    assert (item.controls_of[:, None] == item.controls_of).tolist() == [[a == b for b in keys] for a in keys]
    assert len(set(keys)) < 8
    batch = collate(item)
    assert batch["control"].shape == (len(set(keys)), 16, 299) and batch["perturbed"].shape == (16, 16, 299)
    for (_, pool), index in zip(keys, item.controls_of.tolist(), strict=True):
        possible = {row.tobytes() for row in papalexi_store.read(dataset.controls.pool_rows(pool)).toarray()}
        assert {row.numpy().tobytes() for row in batch["control"][index]} <= possible
    # Controls are targets too.
    assert papalexi_store.groups.is_control[[plan.group for plan in plans]].any()


def test_without_sharing_sets_are_those_of_earlier_versions(kang_store):
    """A run of an earlier version goes on with the sets that it would have had."""
    alone = SetSampler(kang_store.groups, Split.TRAIN, 16, seed=0)
    dataset = CellSetDataset(kang_store, Split.TRAIN, 16, seed=0, sampling=Sampling(share_controls=1))
    assert not dataset.sampler.shares_controls and dataset[0].controls_of is None
    for index in range(5):
        assert (alone.place(index)[0].perturbed_rows == dataset.sampler.place(index)[0].perturbed_rows).all()


def test_mixed_sets_keep_their_own_controls(kang_store):
    sampling = Sampling(sets="mixed", share_controls=4)
    dataset = CellSetDataset(kang_store, Split.TRAIN, 16, seed=0, sampling=sampling)
    assert dataset.__getitems__(range(4)).controls_of is None


def test_a_share_is_at_least_one():
    with pytest.raises(ValueError, match="share_controls must be at least 1, got 0"):
        Sampling(share_controls=0)
