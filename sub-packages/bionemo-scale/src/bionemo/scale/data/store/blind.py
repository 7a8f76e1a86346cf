# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Training groups that a second network is kept from, to learn what a network is worth on what it has not seen."""

import dataclasses

import numpy as np

from bionemo.scale.data.store.groups import GroupTable
from bionemo.scale.types import Split


EVERY = 3
"""One of so many contexts, or pairs, is held out."""


def held_out_groups(groups: GroupTable) -> np.ndarray:
    """Return the indices of the perturbed training groups that are held out, ascending; none where nothing can be.

    Every third context (dataset and cell type) as a whole, as a new cell type would be. With fewer than three contexts
    that have perturbed training cells, every third (context, perturbation) whose perturbation another context shows.
    """
    training = groups.perturbed_in(Split.TRAIN)
    contexts = [(int(groups.dataset[i]), int(groups.cell_type[i])) for i in training.tolist()]
    distinct = sorted(set(contexts))
    if len(distinct) >= EVERY:
        chosen = set(distinct[1::EVERY])
        return training[[context in chosen for context in contexts]]
    pairs = [(*context, int(groups.perturbation[i])) for context, i in zip(contexts, training.tolist(), strict=True)]
    chosen_pairs = _pairs_shown_elsewhere(sorted(set(pairs)))
    return training[[pair in chosen_pairs for pair in pairs]]


def _pairs_shown_elsewhere(pairs: list[tuple[int, int, int]]) -> set[tuple[int, int, int]]:
    contexts: dict[int, list[tuple[int, int, int]]] = {}
    for pair in pairs:
        contexts.setdefault(pair[2], []).append(pair)
    shared = [found for found in contexts.values() if len(found) > 1]
    # The contexts take turns.
    return {found[turn % len(found)] for turn, found in enumerate(shared[::EVERY])}


def with_held_out(groups: GroupTable) -> GroupTable:
    """Return the table with the held-out groups in the validation split, where no other group is left."""
    split = np.array(groups.split, dtype=object)
    split[groups.perturbed_in(Split.VAL)] = Split.TEST.value
    split[held_out_groups(groups)] = Split.VAL.value
    return dataclasses.replace(groups, split=split.astype(str))
