# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import pickle

import numpy as np
import pytest
from torch.utils.data import DataLoader

from bionemo.scale.data.sets.collate import collate
from bionemo.scale.data.sets.dataset import CellSetDataset, prediction_sets
from bionemo.scale.data.sets.sampler import Sampling
from bionemo.scale.types import InputError, Split


def same(first, second):
    return (first.expression != second.expression).nnz == 0 and all(
        np.array_equal(left, right) for left, right in zip(first[1:], second[1:], strict=True)
    )


@pytest.mark.parametrize("weighting", ["proportional", "uniform", "tempered"])
def test_sets_are_cells_of_their_group_with_matched_controls(kang_store, weighting):
    dataset = CellSetDataset(
        kang_store, Split.TRAIN, 16, seed=5, sampling=Sampling(weighting=weighting), num_samples=40
    )
    groups = kang_store.groups
    for index in range(0, 40, 7):
        item = dataset[index]
        (plan,) = dataset.sampler.place(index)
        assert item.expression.shape == (32, 2000)
        expected = kang_store.read(plan.perturbed_rows)
        assert (item.expression[16:] != expected).nnz == 0
        assert (item.cell_type[0], item.perturbation[0], item.batch[0]) == (
            groups.cell_type[plan.group],
            groups.perturbation[plan.group],
            groups.batch[plan.group],
        )
        assert item.seed[0] == plan.seed
        # Controls are told by their values: each must be a control cell of the same cell type and batch.
        pool = np.flatnonzero(
            groups.is_control & (groups.cell_type == item.cell_type[0]) & (groups.batch == item.batch[0])
        )
        controls = {row.tobytes() for row in kang_store.read(np.concatenate([groups.rows(g) for g in pool])).toarray()}
        assert all(row.tobytes() in controls for row in item.expression[:16].toarray())


def test_items_depend_on_the_index_alone(papalexi_store):
    def make():
        return CellSetDataset(papalexi_store, Split.TRAIN, 8, seed=3, num_samples=500)

    dataset, other = make(), pickle.loads(pickle.dumps(make()))
    for index in (499, 0, 250, 0):
        assert same(dataset[index], other[index])
    together = dataset.__getitems__([7, 300, 7])
    for position, index in enumerate((7, 300, 7)):
        single = make()[index]
        cells = slice(position * 8, (position + 1) * 8)
        assert (together.expression[:24][cells] != single.expression[:8]).nnz == 0
        assert (together.expression[24:][cells] != single.expression[8:]).nnz == 0
        assert together.seed[position] == single.seed[0]


def test_length_and_bounds(kang_store):
    dataset = CellSetDataset(kang_store, Split.VAL, 16, seed=0)
    assert len(dataset) == dataset.sampler.num_sets
    for index in (-1, len(dataset)):
        with pytest.raises(IndexError, match="expected a place in 0"):
            dataset[index]


def test_the_first_epoch_may_repeat(kang_store):
    fresh = CellSetDataset(kang_store, Split.VAL, 4, seed=0, num_samples=100)
    fixed = CellSetDataset(kang_store, Split.VAL, 4, seed=0, num_samples=100, repeat_first_epoch=True)
    once = fixed.sampler.num_sets
    assert same(fixed[1], fixed[1 + once]) and same(fixed[1], fresh[1])
    assert not same(fresh[1], fresh[1 + once])


def test_a_split_without_cells_is_refused(make_store, screen):
    with pytest.raises(InputError, match="no perturbed cells in the test split"):
        CellSetDataset(make_store(screen), Split.TEST, 8, seed=0)


def test_workers_give_the_same_batches(papalexi_store):
    dataset = CellSetDataset(papalexi_store, Split.TRAIN, 8, seed=1, num_samples=12)
    alone = list(DataLoader(dataset, batch_size=3, collate_fn=collate))
    shared = DataLoader(dataset, batch_size=3, collate_fn=collate, num_workers=2)
    for first, second in zip(alone, shared, strict=True):
        for name in first:
            assert first[name].equal(second[name])


@pytest.mark.parametrize("set_size", [7, 64, 1000])
def test_prediction_sets_cover_the_split_once_in_order(papalexi_store, set_size):
    groups = papalexi_store.groups
    sets = list(prediction_sets(papalexi_store, Split.TEST, set_size, seed=0))
    rows = np.concatenate([item.perturbed_rows for item in sets])
    assert rows.tolist() == np.concatenate([groups.rows(g) for g in groups.perturbed_in(Split.TEST)]).tolist()
    for item in sets:
        assert 1 <= len(item.perturbed_rows) == len(item.control_rows) <= set_size
        assert set(papalexi_store.obs(item.control_rows)["perturbation"]) == {"control"}
        assert item.level == "batch" and 0 <= item.seed < 2**31
    again = list(prediction_sets(papalexi_store, Split.TEST, set_size, seed=0))
    assert all(np.array_equal(a.control_rows, b.control_rows) for a, b in zip(sets, again, strict=True))


def test_prediction_sets_of_an_empty_split(make_store, screen):
    assert list(prediction_sets(make_store(screen), Split.TEST, 8, seed=0)) == []
