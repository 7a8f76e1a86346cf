# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Control cells that are drawn again have counts of their own, and change nothing that is known."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from bionemo.scale.infer.controls.control_cells import ControlCells
from bionemo.scale.infer.controls.more_cells import with_number
from bionemo.scale.infer.plans.controls_plan import ControlsPlan
from bionemo.scale.types import DataCard, ExpressionScale, ObsKeys


TARGET = 1e4
GENES = 60
CARD = DataCard(
    genes=tuple(f"g{gene}" for gene in range(GENES)),
    cell_types=("T", "B"),
    perturbations=("X", "Y"),
    batches=("1", "2"),
    control="control",
    scale=ExpressionScale(),
    keys=ObsKeys(),
)


@pytest.fixture
def cells() -> ControlCells:
    """Three groups of 3, 20 and 50 cells, in random order."""
    rng = np.random.default_rng(0)
    group = rng.permutation(np.repeat([0, 1, 2], [3, 20, 50]))
    counts = rng.poisson(rng.gamma(0.5, 4.0, size=GENES) + 0.2, size=(73, GENES))
    sizes = rng.integers(1000, 3000, size=73)
    return ControlCells(
        expression=csr_matrix(np.log1p(counts * (TARGET / sizes)[:, None]).astype(np.float32)),
        cell_type=np.array(["T", "B", "B"], dtype=object)[group],
        batch=np.array(["1", "1", "2"], dtype=object)[group],
        names=np.array([f"cell{cell}" for cell in range(73)], dtype=object),
        notes=("before",),
    )


def drawn(cells, number, seed=0):
    return with_number(cells, number, target_sum=TARGET, seed=seed)


def test_every_group_has_the_number(cells):
    found = drawn(cells, 25)
    assert Counter(zip(found.cell_type, found.batch, strict=True)) == {("T", "1"): 25, ("B", "1"): 25, ("B", "2"): 25}
    few = found.names[found.is_again]
    # 22 of 3 cells, 5 of 20: each as often as the others, or once more.
    assert len(few) == 27 and sorted(Counter(few).values()) == [1] * 5 + [7, 7, 8]
    assert found.notes == (
        "before",
        "27 of 75 cells are control cells drawn again, each with counts of its own: no more information than the "
        "measured cells",
    )


def test_where_there_are_enough_nothing_is_drawn_again(cells):
    few = drawn(cells, 3)
    assert len(few.names) == 9 and few.is_again is None and few.notes == ("before",)
    assert few.names.tolist() == cells.thin_out(3, seed=0).names.tolist()


def test_no_two_cells_are_copies_and_a_seed_is_a_draw(cells):
    found, same, other = drawn(cells, 60), drawn(cells, 60), drawn(cells, 60, seed=1)
    values = found.expression.toarray()
    assert len(np.unique(values, axis=0)) == len(values) == 180
    np.testing.assert_array_equal(values, same.expression.toarray())
    assert (values[73:] != other.expression.toarray()[73:]).any()


def test_new_cells_are_whole_counts_of_the_library_size_of_the_first(cells):
    found = drawn(cells, 60)
    sizes = {}
    for name, row in zip(cells.names, np.expm1(cells.expression.toarray().astype(float)), strict=True):
        sizes[name] = row[row > 0].min()
    for name, row in zip(found.names, np.expm1(found.expression.toarray().astype(float)), strict=True):
        counts = row / sizes[name]
        # The smallest count of a cell may be two.
        np.testing.assert_allclose(counts * 2, np.round(counts * 2), atol=0.02)


def test_values_that_are_no_counts_are_copied_and_it_is_said(cells):
    smooth = ControlCells(
        expression=csr_matrix(np.random.default_rng(0).gamma(1.0, size=(73, GENES)).astype(np.float32)),
        cell_type=cells.cell_type,
        batch=cells.batch,
        names=cells.names,
    )
    found = drawn(smooth, 25)
    first = dict(zip(smooth.names, smooth.expression.toarray(), strict=True))
    for name, row in zip(found.names[found.is_again], found.expression.toarray()[found.is_again], strict=True):
        np.testing.assert_array_equal(row, first[name])
    assert found.notes[-1].endswith("drawn again: copies, for their values are no scaled counts")


def test_what_is_known_is_that_of_the_measured_cells(cells):
    def plan(cells):
        return ControlsPlan(cells, CARD, ("X", "Y"), source=Path("cells.h5ad"), set_size=8, seed=3)

    few, many = plan(cells), plan(drawn(cells, 60))
    assert len(many.obs) == 2 * 180 and many.obs.index.is_unique
    one, other = few.control_groups(), many.control_groups()
    assert one.groups == other.groups and one.counts.tolist() == other.counts.tolist() == [3, 20, 50]
    np.testing.assert_allclose(one.means, other.means)

    def pools(plan):
        found = {}
        for number in range(len(plan.sizes)):
            group, pool = plan.group(number), plan.control_pool(number)
            found[group.cell_type, group.batch] = (pool.num_cells, pool.mean.round(5).tolist())
        return found

    assert pools(few) == pools(many)
    assert few.notes[-1] == many.notes[-1] and "fewer than 50 cells in 2 of 3 groups" in few.notes[-1]
