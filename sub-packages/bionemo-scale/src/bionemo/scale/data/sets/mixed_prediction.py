# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The sets of several batches that predictions are made of, cut as in training."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from bionemo.scale.data.sets.controls import ControlMatcher
from bionemo.scale.data.sets.populations import Populations, cut_sizes, set_sizes
from bionemo.scale.data.store.groups import GroupTable


class MixedPredictionSet(NamedTuple):
    """Controls to start from, one for each cell of a perturbation that was measured in any batch."""

    groups: np.ndarray
    """[n] int64, row of the group table of each cell, ascending, then those of fillers."""
    num_cells: int
    """Cells that are no fillers."""
    control_rows: np.ndarray
    """[n] int64 store rows; each control is of its cell's batch where that has any."""
    seed: int
    """In [0, 2**31)."""


def mixed_prediction_sets(
    groups: GroupTable, chosen: np.ndarray, set_size: int, *, seed: int, matcher: ControlMatcher
) -> Iterator[MixedPredictionSet]:
    """Yield the sets of some groups, of the sizes that training has.

    Args:
        groups: Groups of the store.
        chosen: [m] rows of the group table to predict; each of their cells is in one set.
        set_size: N, most cells of a set.
        seed: Of the draw of cells and of controls.
        matcher: Draws the controls.
    """
    populations, sizes = Populations(groups, chosen, "mixed"), set_sizes(set_size, "mixed")
    counts = cut_sizes(populations.size, sizes)
    for number, num_cells in enumerate(populations.size.tolist()):
        name = int(populations.groups_of(number)[0])
        cells = np.random.default_rng([seed, name, 0]).permutation(num_cells)
        first = 0
        for piece, size in enumerate(np.repeat(sizes, counts[number]).tolist(), start=1):
            own = min(size, num_cells - first)
            of_cells = populations.place(number, cells[np.arange(first, first + size) % num_cells])[1]
            of_cells[:own].sort()
            source = np.random.SeedSequence([seed, name, piece])
            controls = matcher.match_each(of_cells, np.random.default_rng(source))
            yield MixedPredictionSet(of_cells, own, controls, int(source.generate_state(1)[0]) >> 1)
            first += size
