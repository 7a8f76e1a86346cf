# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
from collections import Counter

import numpy as np
import pytest

from bionemo.scale.data.sets.controls import ControlMatcher
from bionemo.scale.data.sets.mixed_prediction import mixed_prediction_sets
from bionemo.scale.data.sets.populations import set_sizes
from bionemo.scale.types import Split


def sets_of(store, set_size, seed=0, chosen=None):
    groups = store.groups
    chosen = groups.perturbed_in(Split.TEST) if chosen is None else chosen
    return list(mixed_prediction_sets(groups, chosen, set_size, seed=seed, matcher=ControlMatcher(groups)))


@pytest.mark.parametrize("set_size", [7, 32, 128])
def test_every_cell_is_in_one_set_beside_a_control_of_its_batch(kang_store, set_size):
    groups, counts = kang_store.groups, Counter()
    matcher, several = ControlMatcher(groups), False
    for item in sets_of(kang_store, set_size):
        own = item.groups[: item.num_cells]
        assert len(item.groups) == len(item.control_rows) in set_sizes(set_size, "mixed")
        assert (np.diff(own) >= 0).all() and 0 <= item.seed < 2**31
        counts.update(own.tolist())
        of_controls = np.searchsorted(groups.first_row, item.control_rows, side="right") - 1
        assert groups.is_control[of_controls].all()
        np.testing.assert_array_equal(groups.cell_type[of_controls], groups.cell_type[item.groups])
        has_own = ~matcher.is_fallback[item.groups]
        np.testing.assert_array_equal(groups.batch[of_controls][has_own], groups.batch[item.groups][has_own])
        several |= len(set(own.tolist())) > 1
    chosen = groups.perturbed_in(Split.TEST)
    assert several and counts == dict(zip(chosen.tolist(), groups.num_cells[chosen].tolist(), strict=True))


def test_sets_of_a_perturbation_do_not_depend_on_the_others(kang_store):
    groups = kang_store.groups
    chosen = groups.perturbed_in(Split.TEST)
    cell_type = groups.cell_type[chosen[0]]
    alone = sets_of(kang_store, 32, chosen=chosen[groups.cell_type[chosen] == cell_type])
    among = [item for item in sets_of(kang_store, 32) if groups.cell_type[item.groups[0]] == cell_type]
    assert [item.control_rows.tolist() for item in alone] == [item.control_rows.tolist() for item in among]
    other = sets_of(kang_store, 32, seed=1, chosen=chosen[groups.cell_type[chosen] == cell_type])
    assert [item.control_rows.tolist() for item in alone] != [item.control_rows.tolist() for item in other]
