# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""A prediction cut into parts that any process can make, at any time, with the same numbers.

What a cell's numbers are can depend on the cells that go through the network beside it, in the last bits. So the cut
is a function of the plan alone: which process makes a part, and whether it is made before or after a kill, changes
nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np


PART_CELLS = 16384
"""Most cells of a part: what a process holds in memory, and what a kill can lose."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Neighbouring sets of a plan."""

    number: int
    sets: np.ndarray
    """[sets] int64, their numbers in the plan."""
    first_rows: np.ndarray
    """[sets] int64, where each begins among the part's rows."""
    sizes: np.ndarray
    """[sets] int64."""

    @property
    def num_cells(self) -> int:
        """Rows of the part."""
        return int(self.sizes.sum())

    def populations(self, population: np.ndarray) -> Iterator["Population"]:
        """Yield the populations of the part.

        Args:
            population: [sets] int64 of the plan.
        """
        firsts = np.flatnonzero(np.diff(population[self.sets], prepend=-1))
        bounds = np.append(self.first_rows[firsts], self.num_cells).tolist()
        for first_set, begin, end in zip(firsts.tolist(), bounds, bounds[1:], strict=False):
            yield Population(first_set=first_set, rows=slice(begin, end))

    def batches(
        self,
        control_set: np.ndarray,
        cells_at_once: int,
        *,
        control_sizes: np.ndarray | None = None,
        perturbation: np.ndarray | None = None,
    ) -> Iterator["SharedBatch"]:
        """Yield sets that begin as the same few control sets of one size; none is padded.

        Args:
            control_set: [sets] int64 of the plan, what each set begins as.
            cells_at_once: Most cells that go through the network together; a larger set goes alone.
            control_sizes: [control sets] int64, cells of each; without it sets begin as the whole of one.
            perturbation: [sets] int64 of the plan. Sets that begin as parts of one control set and share it go through
                the network once; without it each does.
        """
        begins = control_set[self.sets]
        controls, first = np.unique(begins, return_index=True)
        sizes = self.sizes[first] if control_sizes is None else control_sizes[controls]
        carried = np.arange(len(begins)) if perturbation is None else perturbation[self.sets]
        for size in np.unique(sizes).tolist():
            step = max(1, cells_at_once // size)
            for together in _slices(controls[sizes == size], step):
                members = np.flatnonzero(np.isin(begins, together))
                call = _number_in_order(np.stack([begins[members], carried[members]], axis=1))
                inside = [np.flatnonzero(call // step == turn) for turn in range(int(call.max()) // step + 1)]
                yield SharedBatch(
                    controls=together,
                    sets=[members[each] for each in inside],
                    begins=[np.searchsorted(together, begins[members[each]]) for each in inside],
                    calls=[call[each] % step for each in inside],
                )


@dataclass(frozen=True, kw_only=True)
class Population:
    """Neighbouring sets of a part whose zeros are placed together."""

    first_set: int
    """Position in the part of the first."""
    rows: slice
    """Their cells among the part's rows."""


@dataclass(frozen=True, kw_only=True)
class SharedBatch:
    """Control sets that go through the network together, and then every set that begins as one of them."""

    controls: np.ndarray
    """[controls] int64, numbers of the control sets."""
    sets: list[np.ndarray]
    """Positions in the part of sets that go through the network together."""
    begins: list[np.ndarray]
    """Where in ``controls`` the beginning of each is."""
    calls: list[np.ndarray]
    """Which of the populations that go through the network together each is a part of, from 0 on."""


def _slices(values: np.ndarray, length: int) -> Iterator[np.ndarray]:
    for first in range(0, len(values), length):
        yield values[first : first + length]


def _number_in_order(keys: np.ndarray) -> np.ndarray:
    """Number rows from 0 on as they first appear; equal rows share a number."""
    _, first, which = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[which.reshape(-1)]


def cut(sizes: np.ndarray, population: np.ndarray, part_cells: int = PART_CELLS) -> list[Part]:
    """Cut a plan into parts.

    Args:
        sizes: [sets] int64, cells of each set of the plan.
        population: [sets] int64, never falling; sets of one population stay together.
        part_cells: Most cells of a part; a larger population is a part of its own.
    """
    starts = np.flatnonzero(np.diff(population, prepend=-1))
    cells = np.add.reduceat(sizes, starts) if len(starts) else starts
    bounds, begin = np.append(starts, len(sizes)), 0
    parts: list[Part] = []
    while begin < len(starts):
        ends = np.cumsum(cells[begin : begin + part_cells])
        end = begin + max(1, int(np.searchsorted(ends, part_cells, side="right")))
        first, last = int(bounds[begin]), int(bounds[end])
        chosen = sizes[first:last]
        parts.append(
            Part(
                number=len(parts),
                sets=np.arange(first, last),
                first_rows=np.cumsum(chosen) - chosen,
                sizes=chosen,
            )
        )
        begin = end
    return parts
