# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bionemo.scale.infer.plans.plan import check_labels, number_populations
from bionemo.scale.types import InputError


@given(
    runs=st.lists(st.integers(1, 30), min_size=1, max_size=8),
    size=st.integers(1, 6),
    most=st.integers(6, 40),
)
def test_populations_are_neighbours_of_one_label_and_of_about_one_size(runs, size, most):
    labels = np.repeat(np.arange(len(runs)) % 3, runs)
    sizes = np.full(len(labels), size)
    population = number_populations(labels, sizes, most)
    assert population[0] == 0 and set(np.diff(population)) <= {0, 1}
    cells = np.bincount(population, weights=sizes)
    assert cells.max() <= most + size
    for number in range(len(cells)):
        assert len(set(labels[population == number])) == 1
    # Divided evenly: no run ends in a small rest.
    for run in range(len(runs)):
        inside = np.unique(population[np.repeat(np.arange(len(runs)), runs) == run])
        assert np.ptp(cells[inside]) <= size


def test_an_unknown_label_is_refused_with_the_nearest_known_one():
    with pytest.raises(InputError, match="cells.h5ad: unknown cell type 'B cel'; .*'B cell'"):
        check_labels(["B cel"], ["B cell", "T cell"], kind="cell type", source="cells.h5ad")
