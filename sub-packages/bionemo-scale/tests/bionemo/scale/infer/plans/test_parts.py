# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bionemo.scale.infer.plans.parts import cut


SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=60).map(np.array)


@given(sizes=SIZES, per_population=st.integers(1, 4), part_cells=st.integers(1, 100))
def test_parts_hold_every_set_once_in_order(sizes, per_population, part_cells):
    population = np.arange(len(sizes)) // per_population
    parts = cut(sizes, population, part_cells)
    np.testing.assert_array_equal(np.concatenate([part.sets for part in parts]), np.arange(len(sizes)))
    assert [part.number for part in parts] == list(range(len(parts)))
    for part in parts:
        assert part.num_cells <= part_cells or len(set(population[part.sets])) == 1
        np.testing.assert_array_equal(part.first_rows, np.cumsum(part.sizes) - part.sizes)
        found = list(part.populations(population))
        assert [population[part.sets[each.first_set]] for each in found] == sorted(set(population[part.sets]))
        assert [each.rows.start for each in found] == [part.first_rows[each.first_set] for each in found]
        assert sum(each.rows.stop - each.rows.start for each in found) == part.num_cells
    assert sum(len(set(population[part.sets])) for part in parts) == len(set(population)), "none is divided"


@given(sizes=SIZES, sharing=st.integers(1, 5), cells_at_once=st.integers(1, 100))
def test_batches_hold_every_set_once_beside_its_controls_and_are_of_one_size(sizes, sharing, cells_at_once):
    """A plan of ``sharing`` perturbations, seen through a part that begins and ends in the middle of it."""
    control_set = np.tile(np.arange(len(sizes)), sharing)
    plan_sizes = sizes[control_set]
    for part in cut(plan_sizes, np.arange(len(plan_sizes)), int(plan_sizes.sum()) // 2 + 1):
        seen, controls = [], []
        for batch in part.batches(control_set, cells_at_once):
            controls += batch.controls.tolist()
            for positions, begins in zip(batch.sets, batch.begins, strict=True):
                seen += positions.tolist()
                assert len(set(part.sizes[positions])) == 1
                assert len(positions) == 1 or part.sizes[positions].sum() <= cells_at_once
                np.testing.assert_array_equal(batch.controls[begins], control_set[part.sets[positions]])
            assert len(batch.controls) == 1 or sizes[batch.controls].sum() <= cells_at_once
        assert sorted(seen) == list(range(len(part.sets)))
        # Each control set goes through the network once, however many perturbations it is carried to.
        assert sorted(controls) == sorted(set(control_set[part.sets].tolist()))


def test_short_sets_of_different_groups_go_together():
    (part,) = cut(np.array([32, 7, 32, 7, 32, 7]), np.arange(6), 10_000)
    batches = part.batches(np.arange(6), 512)
    assert [[positions.tolist() for positions in batch.sets] for batch in batches] == [[[1, 3, 5]], [[0, 2, 4]]]


@given(
    sizes=SIZES,
    pieces=st.lists(st.tuples(st.integers(0, 59), st.integers(0, 3)), min_size=1, max_size=80),
    cells_at_once=st.integers(1, 100),
)
def test_parts_of_a_control_set_that_share_a_perturbation_go_through_once(sizes, pieces, cells_at_once):
    control_set, perturbation = np.array(pieces).T
    control_set = control_set % len(sizes)
    (part,) = cut(np.ones(len(pieces), dtype=np.int64), np.arange(len(pieces)), 10_000)
    seen, calls = [], 0
    batches = part.batches(control_set, cells_at_once, control_sizes=sizes, perturbation=perturbation)
    for batch in batches:
        assert len(set(sizes[batch.controls])) == 1
        for positions, begins, call in zip(batch.sets, batch.begins, batch.calls, strict=True):
            seen += positions.tolist()
            np.testing.assert_array_equal(batch.controls[begins], control_set[positions])
            keys = set(
                zip(call.tolist(), control_set[positions].tolist(), perturbation[positions].tolist(), strict=True)
            )
            assert {key[0] for key in keys} == set(range(len(keys)))
            assert len(keys) == 1 or len(keys) * sizes[batch.controls[0]] <= cells_at_once
            calls += len(keys)
    assert sorted(seen) == list(range(len(pieces)))
    assert calls == len(set(zip(control_set.tolist(), perturbation.tolist(), strict=True)))
