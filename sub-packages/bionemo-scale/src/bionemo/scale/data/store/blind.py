# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Training groups that a network is kept from, to learn what a network is worth on what it has not seen."""

import dataclasses
import hashlib
from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np

from bionemo.scale.data.store.groups import GroupTable
from bionemo.scale.files.labels.grammar import Grammar
from bionemo.scale.types import Group, Split


_WHOLE_LABELS = Grammar()
MIN_CONTEXTS = 3
"""With fewer, leaving out a whole context, batch or agent would leave one or none."""


class Fold(NamedTuple):
    """One of several parts of the training groups."""

    number: int = 1
    """From 0."""
    of: int = 3
    """How many parts there are."""
    grammar: Grammar | None = None
    """How the run reads labels, which decides what the parts are; ``None`` is as the store says."""

    def read_by(self, grammar: Grammar) -> "Fold":
        """Return the part of a run that reads labels in some way."""
        return self._replace(grammar=grammar)


A_THIRD = Fold()


def held_out_groups(groups: GroupTable, fold: Fold = A_THIRD) -> np.ndarray:
    """Return the indices of the perturbed training groups that are held out, ascending; none where nothing can be.

    They are like what the test split asks for, as its labels show. Where each of its perturbations has an agent (gene,
    drug) that was never trained, every ``fold.of``-th agent is held out with all its perturbations, as a new one would
    be; but no part holds out more than half of the groups, for too little would be left to train on. Where all
    conditions of the test split were trained in other batches, it is every ``fold.of``-th batch, as a new donor would
    be. Otherwise it is every ``fold.of``-th context (dataset and cell type), as a new cell type would be. With fewer
    than three of these that can be held out, it is every ``fold.of``-th perturbation that several contexts show, in
    one of them.

    Args:
        groups: Of the store.
        fold: Which part; without a grammar each label is one agent.
    """
    training = groups.perturbed_in(Split.TRAIN)
    agents = _agents(groups, fold.grammar or _WHOLE_LABELS)
    if _asks_for_agents(groups, agents, training):
        of_group = [agents[code] for code in groups.perturbation[training].tolist()]
        having = _groups_of_agents(of_group)
        if len(having) >= MIN_CONTEXTS:
            part = _parts_of_agents(having, fold.of, num_groups=len(training))[fold.number]
            return training[sorted(set[int]().union(*(having[name] for name in part)))]
    for labels in (groups.batch, groups.cell_type) if _asks_for_batches(groups, training) else (groups.cell_type,):
        wholes = [(int(groups.dataset[i]), int(labels[i])) for i in training.tolist()]
        distinct = sorted(set(wholes))
        if len(distinct) >= MIN_CONTEXTS:
            chosen = set(distinct[fold.number :: fold.of])
            return training[[whole in chosen for whole in wholes]]
    contexts = [(int(groups.dataset[i]), int(groups.cell_type[i])) for i in training.tolist()]
    pairs = [(*context, int(groups.perturbation[i])) for context, i in zip(contexts, training.tolist(), strict=True)]
    chosen_pairs = _pairs_shown_elsewhere(sorted(set(pairs)), fold)
    return training[[pair in chosen_pairs for pair in pairs]]


def _agents(groups: GroupTable, grammar: Grammar) -> list[frozenset[str]]:
    """Return the agents of each perturbation of the vocabulary."""
    return [frozenset(name for name, _ in grammar.parse(label)) for label in groups.perturbations]


def _asks_for_agents(groups: GroupTable, agents: list[frozenset[str]], training: np.ndarray) -> bool:
    """Return whether each test perturbation has an agent that no training cell has."""
    trained = frozenset[str]().union(*(agents[code] for code in set(groups.perturbation[training].tolist())))
    asked = set(groups.perturbation[groups.perturbed_in(Split.TEST)].tolist())
    return bool(asked) and all(agents[code] - trained for code in asked)


def _groups_of_agents(of_group: list[frozenset[str]]) -> dict[str, set[int]]:
    """Return the groups that each agent has, by name, of agents that at most half of the groups have."""
    having: dict[str, set[int]] = defaultdict(set)
    for group, agents in enumerate(of_group):
        for name in agents:
            having[name].add(group)
    return {name: having[name] for name in sorted(having) if 2 * len(having[name]) <= len(of_group)}


def _parts_of_agents(having: Mapping[str, set[int]], num_parts: int, *, num_groups: int) -> list[list[str]]:
    """Deal agents to parts, in turns by name, or so that none holds out more than half of the groups.

    Where one would have more, as a third of the agents do in a screen of all pairs, the agents of most groups are
    dealt first, each to the part that has fewest groups. One that would make it too large is in no part. Two parts may
    have two thirds each: half of the agents have at least half of the groups.

    Args:
        having: The groups of each agent, at most half of all.
        num_parts: How many.
        num_groups: All groups.
    """
    names = list(having)
    in_turns = [names[number::num_parts] for number in range(num_parts)]
    most = num_groups * 2 // 3 if num_parts == 2 else num_groups // 2
    if all(len(set[int]().union(*(having[name] for name in part))) <= most for part in in_turns):
        return in_turns
    parts: list[list[str]] = [[] for _ in range(num_parts)]
    inside: list[set[int]] = [set() for _ in range(num_parts)]
    for name in sorted(names, key=lambda name: -len(having[name])):
        sizes = [len(groups) + len(having[name] - groups) for groups in inside]
        fewest = sizes.index(min(sizes))
        if sizes[fewest] <= most:
            parts[fewest].append(name)
            inside[fewest] |= having[name]
    return parts


def _asks_for_batches(groups: GroupTable, training: np.ndarray) -> bool:
    """Return whether the test split has new batches of trained conditions only."""

    def conditions(rows: np.ndarray) -> set[tuple[int, ...]]:
        return set(
            zip(
                *(column[rows].tolist() for column in (groups.dataset, groups.cell_type, groups.perturbation)),
                strict=True,
            )
        )

    asked = conditions(groups.perturbed_in(Split.TEST))
    return bool(asked) and asked <= conditions(training)


def _pairs_shown_elsewhere(pairs: list[tuple[int, int, int]], fold: Fold) -> set[tuple[int, int, int]]:
    contexts: dict[int, list[tuple[int, int, int]]] = {}
    for pair in pairs:
        contexts.setdefault(pair[2], []).append(pair)
    shared = [same for same in contexts.values() if len(same) > 1]
    # The contexts take turns. The first fold of the default three is its number 1 among contexts, 0 among pairs.
    first = (fold.number - 1) % fold.of
    return {same[turn % len(same)] for turn, same in enumerate(shared[first :: fold.of])}


def identity_of(held_out: np.ndarray) -> str:
    """Return a name of some groups of a store, which other groups do not have: a part of their hash."""
    return hashlib.sha256(held_out.astype("<i8").tobytes()).hexdigest()[:12]


def unseen(groups: GroupTable, rows: np.ndarray, seen: Collection[Group]) -> np.ndarray:
    """Return those of some groups of a table, by their indices, whose labels are not among others."""
    return np.array([row for row in rows.tolist() if groups.label(row) not in seen], dtype=np.int64)


def with_held_out(groups: GroupTable, held_out: np.ndarray) -> GroupTable:
    """Return the table with the held-out groups in the validation split, where no other group is left."""
    split = np.array(groups.split, dtype=object)
    split[groups.perturbed_in(Split.VAL)] = Split.TEST.value
    split[held_out] = Split.VAL.value
    return dataclasses.replace(groups, split=split.astype(str))


def without_seen(groups: GroupTable, seen: Collection[Group]) -> GroupTable:
    """Return the table without some groups in the validation split, by their labels."""
    validation = groups.perturbed_in(Split.VAL)
    split = np.array(groups.split, dtype=object)
    split[np.setdiff1d(validation, unseen(groups, validation, seen))] = Split.TEST.value
    return dataclasses.replace(groups, split=split.astype(str))
