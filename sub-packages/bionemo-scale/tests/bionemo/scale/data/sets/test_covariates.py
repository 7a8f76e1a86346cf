# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses

import numpy as np
import pytest

from bionemo.scale.data.sets.collate import collate, pack, unpack
from bionemo.scale.data.sets.controls import ControlMatcher
from bionemo.scale.data.sets.covariates import SetCovariates
from bionemo.scale.data.sets.dataset import CellSetDataset
from bionemo.scale.data.sets.sampler import Sampling
from bionemo.scale.types import ObsKeys, Split


ROWS = (
    ("d", "A", "p", "b0", Split.TRAIN, 5),
    ("d", "A", "p", "b1", Split.TRAIN, 6),
    ("d", "B", "p", "b0", Split.TEST, 7),
    ("d", "A", None, "b0", Split.TRAIN, 4),
    ("d", "A", None, "b1", Split.TRAIN, 3),
    ("d", "B", None, "b0", Split.TRAIN, 9),
)


@pytest.fixture
def make(make_groups):
    """The groups above with the time of each: 0h, 6h or 24h."""

    def with_times(*times: int):
        covariate = np.array(times, dtype=np.int32)[:, None]
        return dataclasses.replace(make_groups(*ROWS), covariate=covariate, covariates=(("0h", "6h", "24h"),))

    return with_times


def test_controls_of_the_same_covariates_come_first(make):
    groups = make(1, 2, 2, 1, 1, 2)
    matcher = ControlMatcher(groups)
    # 6h in batch b0; 24h has none in A: those of its batch come then.
    assert [matcher.control_groups(group) for group in range(3)] == [[3], [4], [5]]
    assert matcher.has_other_covariates.tolist() == [False, True, False, False, False, False]
    assert not matcher.is_fallback.any()
    rng = np.random.default_rng(0)
    assert [matcher.match(group, 2, rng).level for group in (0, 1)] == ["batch", "other_covariates"]


def test_the_same_covariates_in_another_batch_come_before_the_same_batch(make):
    groups = make(1, 2, 2, 2, 1, 2)
    matcher = ControlMatcher(groups)
    assert [matcher.control_groups(group) for group in (0, 1)] == [[4], [3]]
    assert matcher.is_fallback[:2].all() and not matcher.has_other_covariates.any()
    assert matcher.match(0, 2, np.random.default_rng(0)).level == "cell_type"


def test_sets_of_cells_have_their_own_covariates_and_controls_those_of_what_they_are_matched_with(make):
    groups = make(1, 2, 2, 0, 0, 0)
    found = SetCovariates(groups, ControlMatcher(groups))
    assert [found.of_set(group, 7).tolist() for group in range(3)] == [[1], [2], [2]]
    # Each batch has perturbed cells of one time.
    assert [found.of_set(3, seed).tolist() for seed in range(2)] == [[1], [1]]
    assert [found.of_set(4, seed).tolist() for seed in range(2)] == [[2], [2]]
    # Nothing of B is trained, and nothing at all at 0h: any time that is.
    assert sorted({found.of_set(5, seed).item() for seed in range(4)}) == [1, 2]


def test_controls_of_a_held_out_cell_type_keep_a_time_that_is_trained(make):
    groups = make(1, 2, 2, 1, 2, 2)
    found = SetCovariates(groups, ControlMatcher(groups))
    assert {found.of_set(5, seed).item() for seed in range(4)} == {2}


@pytest.fixture
def timed(screen):
    """The small screen with a time and a modality of each cell."""
    rng = np.random.default_rng(0)
    screen.obs["time"] = rng.choice(["6h", "24h"], size=screen.n_obs)
    screen.obs["modality"] = rng.choice(["x", "y"], size=screen.n_obs)
    return screen


@pytest.mark.parametrize("sets", ["batch", "mixed"])
def test_a_set_shares_its_covariates_and_so_do_its_controls(sets, timed, make_store):
    with make_store(timed, keys=ObsKeys(covariate="time,modality"), num_hvg=0) as store:
        dataset = CellSetDataset(store, Split.TRAIN, 16, seed=0, sampling=Sampling(sets=sets, control_share=0.3))
        names = store.card.covariates
        assert names == (("24h", "6h"), ("x", "y"))
        group_of = np.repeat(np.arange(len(store.groups)), store.groups.num_cells)
        for place in range(20):
            (plan, *_) = dataset.sampler.place(place)
            of_cells = store.groups.covariate[group_of[plan.perturbed_rows]]
            assert (of_cells == of_cells[0]).all()
            told = dataset[place].covariates[0]
            assert told.tolist() == of_cells[0].tolist() or store.groups.is_control[plan.group]


def test_batches_have_covariates_beside_their_sets(timed, make_store):
    with make_store(timed, keys=ObsKeys(covariate="time"), num_hvg=0) as store:
        whole = CellSetDataset(store, Split.TRAIN, 8, seed=0)
        items = [whole[place] for place in range(3)]
        assert collate(items)["covariates"].tolist() == [item.covariates[0].tolist() for item in items]
        mixed = CellSetDataset(store, Split.TRAIN, 32, seed=0, sampling=Sampling(sets="mixed"))
        gathered = mixed.__getitems__(range(4))
        import torch

        batches = unpack(pack(gathered), torch.device("cpu"))
        told = [row for batch in batches for row in batch["covariates"].tolist()]
        assert told == gathered.covariates.tolist()


def test_without_covariates_nothing_is_said_of_them(screen, make_store):
    with make_store(screen, num_hvg=0) as store:
        dataset = CellSetDataset(store, Split.TRAIN, 8, seed=0)
        assert dataset[0].covariates is None and "covariates" not in collate([dataset[0]])
        assert "covariate" not in (store.path / "manifest.json").read_text()
        assert "covariate" not in store.card.to_json()
