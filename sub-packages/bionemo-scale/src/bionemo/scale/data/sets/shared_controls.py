# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Runs of sets that start from the same control cells: the order of an epoch, and which sets of a batch share.

A set of controls is encoded and decoded once for all sets of a micro-batch that start from it. Which sets share
follows from the numbers of their places alone, so every layout of processes sees the same cells.
"""

from collections.abc import Hashable, Sequence

import numpy as np


def in_runs(pool: np.ndarray, *, length: int, first: int, rng: np.random.Generator) -> np.ndarray:
    """Order the sets of an epoch so that as many runs as possible have controls of one pool.

    Runs begin at the places whose numbers are multiples of ``length``, where micro-batches begin too. Sets that make
    no whole run of their pool stay in random order: a step should not see fewer contexts than sharing pays for.

    Args:
        pool: [sets] int64, which pool each set takes its controls from; in random order.
        length: Sets of a run.
        first: Number of the epoch's first place, counted over all epochs.
        rng: Source of the order of runs.

    Returns:
        [sets] int64, the order of the sets.
    """
    number = np.unique(pool, return_inverse=True)[1].reshape(-1)
    sizes = np.bincount(number)
    by_pool = np.argsort(number, kind="stable")
    turn = np.arange(len(pool)) - (np.cumsum(sizes) - sizes)[number[by_pool]]
    is_whole = turn < (sizes // length * length)[number[by_pool]]
    ahead = min(-first % length, len(pool))
    slots = (len(pool) - ahead) // length
    whole = rng.permutation(by_pool[is_whole].reshape(-1, length))
    # What stands before the first run may take one run more than is left over.
    rest = np.concatenate([np.sort(by_pool[~is_whole]), whole[slots:].reshape(-1)])
    head, rest = rest[:ahead], rest[ahead:]
    filled = slots - len(whole[:slots])
    runs = np.concatenate([whole[:slots], rest[: filled * length].reshape(-1, length)])
    return np.concatenate([head, rng.permutation(runs).reshape(-1), rest[filled * length :]])


def first_of_each(keys: Sequence[Hashable]) -> tuple[list[int], np.ndarray]:
    """Return the position of the first of each different key, and [keys] int64 which of those each key is."""
    numbers: dict[Hashable, int] = {}
    which = np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
    return [int(np.argmax(which == number)) for number in range(len(numbers))], which
