# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import torch
from scipy.sparse import random as random_sparse

from bionemo.scale.data.sets.collate import collate, dense_on_device, pack, unpack
from bionemo.scale.data.sets.dataset import GatheredSets
from bionemo.scale.data.store import compiled
from bionemo.scale.types import CellBatch


def gathered(num_sets, num_cells=3, seed=0):
    rng = np.random.default_rng(seed)
    expression = random_sparse(2 * num_sets * num_cells, 5, 0.4, "csr", dtype=np.float32, random_state=rng)
    labels = [rng.integers(100, size=num_sets) for _ in range(4)]
    return GatheredSets(expression, *labels)


def test_sets_become_tensors():
    sets = gathered(4)
    batch = collate(sets)
    assert set(batch) == set(CellBatch.__annotations__) - {
        "num_places",
        "weight",
        "share",
        "covariates",
        "controls_of",
    }
    dense = sets.expression.toarray().reshape(2, 4, 3, 5)
    np.testing.assert_array_equal(batch["control"], dense[0])
    np.testing.assert_array_equal(batch["perturbed"], dense[1])
    for name in ("control", "perturbed"):
        assert batch[name].dtype == torch.float32 and batch[name].is_contiguous()
    for name in ("cell_type", "perturbation", "batch", "seed"):
        np.testing.assert_array_equal(batch[name], getattr(sets, name))
        assert batch[name].dtype == torch.int64


def test_single_items_are_merged():
    items = [gathered(1, seed=seed) for seed in range(3)]
    batch = collate(items)
    for position, item in enumerate(items):
        alone = collate(item)
        for name in batch:
            assert batch[name][position].equal(alone[name][0])


def sharing(which, seed=0):
    """Sets of which some start from the same controls."""
    rng = np.random.default_rng(seed)
    rows = 3 * (max(which) + 1 + len(which))
    expression = random_sparse(rows, 5, 0.4, "csr", dtype=np.float32, random_state=rng)
    labels = [rng.integers(100, size=len(which)) for _ in range(4)]
    return GatheredSets(expression, *labels, controls_of=np.array(which))


def test_shared_controls_are_there_once():
    sets = sharing([0, 0, 1, 0])
    batch, dense = collate(sets), sets.expression.toarray().reshape(6, 3, 5)
    np.testing.assert_array_equal(batch["control"], dense[:2])
    np.testing.assert_array_equal(batch["perturbed"], dense[2:])
    assert batch["controls_of"].tolist() == [0, 0, 1, 0]


def test_items_that_share_controls_are_merged():
    items = [sharing([0, 0, 1], seed=1), sharing([0, 1, 1], seed=2)]
    batch, alone = collate(items), [collate(item) for item in items]
    assert batch["controls_of"].tolist() == [0, 0, 1, 2, 3, 3]
    for name in batch.keys() - {"controls_of"}:
        assert batch[name].equal(torch.cat([each[name] for each in alone]))


def test_packed_sets_are_dense_in_the_end():
    sets = gathered(4)
    packed = pack(sets)
    assert packed["values"].shape == packed["indices"].shape == (sets.expression.nnz,)
    (found,), expected = unpack(packed, torch.device("cpu")), collate(sets)
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_the_compiled_loop_gives_the_same_bits(monkeypatch):
    sets = gathered(5)
    expected = collate(sets)
    monkeypatch.setattr(compiled, "PAYS_AFTER", -1)
    found = collate(sets)
    assert compiled.compiled() is not None
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_scattering_on_a_device_gives_the_same_bits():
    """The arithmetic that a GPU runs, here on the CPU."""
    sets = gathered(5)
    np.testing.assert_array_equal(dense_on_device(pack(sets), torch.device("cpu")), sets.expression.toarray())


def test_a_batch_stays_as_it_is_while_others_are_made():
    first = collate(gathered(4, seed=1))
    before = {name: first[name].clone() for name in first}
    for seed in range(2, 12):
        collate(gathered(4, seed=seed))
    assert all(torch.equal(first[name], before[name]) for name in first)
