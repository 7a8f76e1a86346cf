# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Sets of several batches: what the sampler plans, with which controls, and what a loader makes of it."""

import hashlib
import pickle
from collections import Counter
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bionemo.scale.data.sets.collate import pack, unpack
from bionemo.scale.data.sets.dataset import CellSetDataset
from bionemo.scale.data.sets.sampler import Sampling, SetSampler
from bionemo.scale.data.store.groups import GroupTable
from bionemo.scale.types import Split


def table(sizes, *, controls=11):
    """Groups of these sizes, [conditions][batches], and as many control groups as batches."""
    batches = max(len(of_condition) for of_condition in sizes)
    rows = [
        (condition, batch, cells) for condition, each in enumerate(sizes) for batch, cells in enumerate(each) if cells
    ]
    rows += [(-1, batch, controls) for batch in range(batches)]
    # In an order in which batches of a condition are no neighbours.
    rows.sort(key=lambda row: (row[1], row[0]))
    perturbation, batch, cells = map(list, zip(*rows, strict=True))
    return GroupTable.from_columns(
        {
            "dataset": [0] * len(rows),
            "cell_type": [0] * len(rows),
            "perturbation": perturbation,
            "batch": batch,
            "split": ["train"] * len(rows),
            "first_row": (np.cumsum(cells) - cells).tolist(),
            "num_cells": cells,
            "shard": [0] * len(rows),
        },
        datasets=("d",),
        cell_types=("A",),
        perturbations=tuple(f"p{number}" for number in range(len(sizes))),
        batches=tuple(f"b{number}" for number in range(batches)),
        control="control",
    )


def plain(place):
    return [(plan.group, plan.num_cells, plan.seed, plan.perturbed_rows.tolist()) for plan in place]


CONDITIONS = st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=6).filter(any), min_size=1, max_size=7)
WEIGHTINGS = st.sampled_from(["proportional", "uniform", "tempered"])
SET_SIZES = st.sampled_from([1, 7, 8, 16, 32, 64])


@given(sizes=CONDITIONS, set_size=SET_SIZES, seed=st.integers(0, 2**31), epoch=st.integers(0, 4))
def test_an_epoch_has_every_cell_once(sizes, set_size, seed, epoch):
    groups = table(sizes)
    sampler = SetSampler(groups, Split.TRAIN, set_size, seed=seed, sampling=Sampling(sets="mixed"))
    places = [sampler.place(epoch * sampler.num_places + place) for place in range(sampler.num_places)]
    plans = [plan for place in places for plan in place]
    assert len(plans) == sampler.num_sets
    own = [row for plan in plans for row in plan.perturbed_rows[: plan.num_cells].tolist()]
    perturbed = np.concatenate([groups.rows(group) for group in groups.perturbed_in(Split.TRAIN).tolist()])
    assert Counter(own) == Counter(perturbed.tolist())
    rows = sum(len(plan.perturbed_rows) for plan in plans)
    assert sampler.padding_share() == pytest.approx(1 - len(own) / rows)


@given(
    sizes=CONDITIONS,
    set_size=SET_SIZES,
    weighting=WEIGHTINGS,
    control_share=st.sampled_from([0.0, 0.4]),
    index=st.integers(0, 300),
)
def test_a_place_has_sets_of_one_size_each_of_one_condition(sizes, set_size, weighting, control_share, index):
    groups = table(sizes)
    sampling = Sampling(sets="mixed", weighting=weighting, control_share=control_share)
    sampler = SetSampler(groups, Split.TRAIN, set_size, seed=3, sampling=sampling)
    place = sampler.place(index)
    (size,) = {len(plan.perturbed_rows) for plan in place}
    assert size in sampler.sizes and 1 <= len(place) <= set_size // size
    assert len({plan.seed for plan in place}) == len(place)
    for plan in place:
        assert 1 <= plan.num_cells <= size and plan.group == plan.groups[0]
        assert len({int(groups.perturbation[group]) for group in plan.groups}) == 1
        for row, group in zip(plan.perturbed_rows.tolist(), plan.groups.tolist(), strict=True):
            assert row in groups.rows(group)
        own = plan.perturbed_rows[: plan.num_cells].tolist()
        assert len(set(own)) == len(own)
        counts = Counter(plan.perturbed_rows.tolist()).values()
        assert max(counts) - min(counts) <= 1 or len(counts) < size


@given(sizes=CONDITIONS, weighting=WEIGHTINGS, indices=st.lists(st.integers(0, 400), min_size=1, max_size=5))
def test_places_depend_on_the_index_alone(sizes, weighting, indices):
    """So a resumed run goes on with what comes next, in any process and on any layout."""
    groups, sampling = table(sizes), Sampling(sets="mixed", weighting=weighting, control_share=0.3)
    used = SetSampler(groups, Split.TRAIN, 16, seed=11, sampling=sampling)
    places = [used.place(index) for index in indices]
    for index, place in zip(indices, places, strict=True):
        fresh = SetSampler(groups, Split.TRAIN, 16, seed=11, sampling=sampling)
        assert plain(place) == plain(fresh.place(index)) == plain(pickle.loads(pickle.dumps(used)).place(index))
    other = SetSampler(groups, Split.TRAIN, 16, seed=12, sampling=sampling)
    assert [plan.seed for plan in other.place(indices[0])] != [plan.seed for plan in places[0]]


@settings(max_examples=40)
@given(sizes=CONDITIONS, weighting=WEIGHTINGS, control_share=st.sampled_from([0.0, 0.3]), epoch=st.integers(0, 3))
def test_epochs_differ_and_have_the_same_number_of_places(sizes, weighting, control_share, epoch):
    sampling = Sampling(sets="mixed", weighting=weighting, control_share=control_share)
    sampler = SetSampler(table(sizes), Split.TRAIN, 16, seed=5, sampling=sampling)
    one, next_one = (
        [
            plan.seed
            for place in range(sampler.num_places)
            for plan in sampler.place(number * sampler.num_places + place)
        ]
        for number in (epoch, epoch + 1)
    )
    assert len(one) == len(next_one) == sampler.num_sets
    assert len(set(one + next_one)) == 2 * sampler.num_sets


def test_micro_batches_seldom_hold_several_sizes():
    sampler = SetSampler(table([[150]] * 400), Split.TRAIN, 64, seed=0, sampling=Sampling(sets="mixed"))
    sizes = [len(sampler.place(index)[0].perturbed_rows) for index in range(sampler.num_places)]
    batches = [len(set(sizes[first : first + 8])) for first in range(0, len(sizes), 8)]
    assert set(sizes) == {64, 16, 8} and np.mean(batches) < 1.2


def test_small_groups_of_many_batches_leave_little_to_fill():
    """The shape of a genome-wide screen: 48 batches with 3 cells of each perturbation."""
    groups = table([[3] * 48] * 20)
    shares = {
        (sets, weighting): SetSampler(
            groups, Split.TRAIN, 128, seed=0, sampling=Sampling(sets=sets, weighting=weighting)
        ).padding_share()
        for sets, weighting in product(("batch", "mixed"), ("proportional", "tempered"))
    }
    assert shares["batch", "proportional"] == shares["batch", "tempered"] == pytest.approx(1 - 3 / 128)
    assert shares["mixed", "proportional"] == shares["mixed", "tempered"] == 0.0


def test_the_demonstration_has_few_fillers(kang_store):
    """The bundled screen of six donors at the set size of `make demo`."""
    for weighting in ("proportional", "tempered"):
        batch, mixed = (
            SetSampler(
                kang_store.groups, Split.TRAIN, 32, seed=0, sampling=Sampling(sets=sets, weighting=weighting)
            ).padding_share()
            for sets in ("batch", "mixed")
        )
        assert batch > 0.3 and mixed < 0.05


def test_weighting_sets_how_many_cells_of_a_condition_come():
    groups = table([[400, 500], [100], [36]])

    def shares(**options):
        sampler = SetSampler(groups, Split.TRAIN, 16, seed=0, sampling=Sampling(sets="mixed", **options))
        cells = Counter()
        for index in range(30 * sampler.num_places):
            for plan in sampler.place(index):
                cells[int(groups.perturbation[plan.group])] += plan.num_cells
        return np.array([cells[number] for number in range(3)]) / cells.total()

    np.testing.assert_allclose(shares(), np.array([900, 100, 36]) / 1036, atol=1e-9)
    np.testing.assert_allclose(shares(weighting="uniform"), np.full(3, 1 / 3), atol=0.03)
    np.testing.assert_allclose(shares(weighting="tempered"), np.array([30, 10, 6]) / 46, atol=0.03)


def test_sets_of_one_batch_are_those_of_earlier_versions():
    """Runs that began before batches could be mixed go on with the sets that they would have had."""
    found = hashlib.sha256()
    groups = table([[40, 7, 133], [1, 64], [300]])
    for weighting, control_share in product(("proportional", "uniform", "tempered"), (0.0, 0.4)):
        sampler = SetSampler(
            groups, Split.TRAIN, 32, seed=7, sampling=Sampling(weighting=weighting, control_share=control_share)
        )
        for index in range(2 * sampler.num_places):
            ((group, rows, _, own, seed),) = sampler.place(index)
            found.update(repr((group, rows.tolist(), own, seed)).encode())
            found.update(sampler.control_rng(index).bytes(8))
    assert found.hexdigest() == "438315e063e769ca6c1899825edde3afed962fbfa61b938f154f288130b5215f"


@pytest.fixture
def mixed(kang_store):
    return CellSetDataset(kang_store, Split.TRAIN, 64, seed=1, sampling=Sampling(sets="mixed", control_share=0.3))


def test_every_cell_is_beside_a_control_of_its_batch(mixed, kang_store):
    groups, is_seen = kang_store.groups, set()
    for index in range(0, len(mixed), 5):
        for turn, plan in enumerate(mixed.sampler.place(index)):
            rows = mixed._draw_controls(plan, mixed.sampler.control_rng(index, turn))
            of_controls = np.searchsorted(groups.first_row, rows, side="right") - 1
            assert groups.is_control[of_controls].all()
            np.testing.assert_array_equal(groups.cell_type[of_controls], groups.cell_type[plan.groups])
            own = ~mixed.controls.is_fallback[plan.groups]
            np.testing.assert_array_equal(groups.batch[of_controls][own], groups.batch[plan.groups][own])
            is_seen.add(len(np.unique(plan.groups)) > 1)
    assert True in is_seen


def test_a_micro_batch_becomes_one_batch_for_each_size(mixed, kang_store):
    index = next(
        index
        for index in range(len(mixed) - 8)
        if len({len(mixed.sampler.place(index + each)[0].groups) for each in range(8)}) > 1
    )
    batches = unpack(pack(mixed.__getitems__(range(index, index + 8))), torch.device("cpu"))
    sizes = [batch["control"].shape[1] for batch in batches]
    assert len(sizes) > 1 and sizes == sorted(set(sizes), reverse=True)
    assert sum(float(batch["weight"].sum()) for batch in batches) == pytest.approx(1)
    plans = [plan for place in range(index, index + 8) for plan in mixed.sampler.place(place)]
    by_seed = {plan.seed: plan for plan in plans}
    assert sum(len(batch["seed"]) for batch in batches) == len(plans)
    for batch in batches:
        num_sets, size = batch["batch"].shape
        assert batch["control"].shape == batch["perturbed"].shape == (num_sets, size, kang_store.num_genes)
        for number, seed in enumerate(batch["seed"].tolist()):
            plan = by_seed[seed]
            np.testing.assert_array_equal(batch["perturbed"][number], kang_store.read(plan.perturbed_rows).toarray())
            np.testing.assert_array_equal(batch["batch"][number], kang_store.groups.batch[plan.groups])
            if "share" in batch:
                expected = (np.arange(size) < plan.num_cells) / plan.num_cells
                np.testing.assert_allclose(batch["share"][number], expected, rtol=1e-6)
            else:
                assert plan.num_cells == size


def test_items_of_several_batches_are_not_merged(mixed):
    with pytest.raises(ValueError, match="gathered together"):
        pack([mixed[0], mixed[1]])
