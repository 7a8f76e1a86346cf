# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Rules by which perturbations, or whole contexts, are held out."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage

from bionemo.scale.types import InputError, Split


Parts = dict[str, Split | None]
"""Names that are not trained on: in which part they are, ``None`` where in none."""


@dataclass(frozen=True, kw_only=True)
class Shares:
    """How much is held out, as shares of what there is."""

    test: float
    val: float

    def sizes(self, total: int) -> dict[Split, int]:
        """Return how many of ``total`` each part gets; at least one where the share is above 0.

        Raises:
            InputError: Nothing would be left to train on.
        """
        shares = {Split.TEST: self.test, Split.VAL: self.val}
        sizes = {part: max(1, round(share * total)) for part, share in shares.items() if share}
        if sum(sizes.values()) >= total:
            raise InputError(
                f"--share, --val-share: expected something left to train on, found {sum(sizes.values())} of {total} "
                "held out"
            )
        return sizes


def at_random(names: Sequence[str], shares: Shares, rng: np.random.Generator) -> Parts:
    """Draw names, each as likely as the others."""
    order = [names[row] for row in rng.permutation(len(names)).tolist()]
    parts: Parts = {}
    for part, size in shares.sizes(len(names)).items():
        parts |= dict.fromkeys(order[:size], part)
        order = order[size:]
    return parts


def by_clusters(clusters: Mapping[str, int], shares: Shares, rng: np.random.Generator) -> Parts:
    """Draw whole clusters until a part has its share; one that would take it beyond is left to training.

    Args:
        clusters: Name to its cluster.
        shares: Of names.
        rng: Draws the clusters.

    Raises:
        InputError: No cluster is small enough.
    """
    members: dict[int, list[str]] = {}
    for name, cluster in clusters.items():
        members.setdefault(cluster, []).append(name)
    order = [sorted(members)[row] for row in rng.permutation(len(members)).tolist()]
    parts: Parts = {}
    for part, size in shares.sizes(len(clusters)).items():
        chosen = 0
        for cluster in list(order):
            if chosen + len(members[cluster]) <= size:
                parts |= dict.fromkeys(members[cluster], part)
                chosen += len(members[cluster])
                order.remove(cluster)
        if not chosen:
            smallest = min(len(names) for names in members.values())
            raise InputError(
                f"--clusters: expected a cluster of at most {size} names for the {part} part, found none below "
                f"{smallest}; more clusters are smaller"
            )
    return parts


def clusters_of(vectors: np.ndarray, count: int) -> np.ndarray:
    """Return [names] int64 clusters by average linkage of Euclidean distances.

    Args:
        vectors: [names, F].
        count: Most clusters.
    """
    return np.asarray(fcluster(linkage(vectors, method="average"), t=count, criterion="maxclust"), dtype=np.int64)


def by_order(agents: Mapping[str, Sequence[str]], seen: int, shares: Shares, *, rng: np.random.Generator) -> Parts:
    """Hold out pairs by how many of their two agents are trained, alone or in other pairs.

    2: pairs are drawn as long as both agents stay in a training label. 1 and 0: agents are drawn until enough pairs
    have that many trained agents; every other label with a drawn agent is in no part.

    Args:
        agents: Label to its agents.
        seen: 0, 1 or 2.
        shares: Of pairs.
        rng: Draws pairs or agents.

    Raises:
        InputError: There are no pairs, or not enough that fit.
    """
    pairs = [label for label, names in agents.items() if len(set(names)) == 2 == len(names)]
    if not pairs:
        raise InputError(
            "--hold-out combinations: expected pairs such as A+B, found none; --combination-separator reads them"
        )
    sizes = shares.sizes(len(pairs) + (seen < 2))
    order = [pairs[row] for row in rng.permutation(len(pairs)).tolist()]
    return _seen_pairs(agents, order, sizes) if seen == 2 else _unseen_pairs(agents, pairs, seen, sizes=sizes, rng=rng)


def _seen_pairs(agents: Mapping[str, Sequence[str]], order: Sequence[str], sizes: Mapping[Split, int]) -> Parts:
    uses: dict[str, int] = {}
    for names in agents.values():
        for name in set(names):
            uses[name] = uses.get(name, 0) + 1
    parts: Parts = {}
    wanted = [part for part, size in sizes.items() for _ in range(size)]
    for label in order:
        if len(parts) < len(wanted) and all(uses[name] > 1 for name in agents[label]):
            parts[label] = wanted[len(parts)]
            for name in agents[label]:
                uses[name] -= 1
    if len(parts) < len(wanted):
        raise InputError(
            f"--seen 2: expected {len(wanted)} pairs whose agents are also in other labels, found {len(parts)}"
        )
    return parts


def _unseen_pairs(
    agents: Mapping[str, Sequence[str]],
    pairs: Sequence[str],
    seen: int,
    *,
    sizes: Mapping[Split, int],
    rng: np.random.Generator,
) -> Parts:
    names = sorted({name for label in pairs for name in agents[label]})
    drawn: set[str] = set()
    needed, fitting = sum(sizes.values()), list[str]()
    for row in rng.permutation(len(names)).tolist():
        if len(fitting) >= needed:
            break
        drawn.add(names[row])
        # An agent whose labels all have a drawn one is not trained either.
        trained = {name for members in agents.values() if not drawn & set(members) for name in members}
        out = (label for label in pairs if drawn & set(agents[label]))
        fitting = [label for label in out if len(trained & set(agents[label])) == seen]
    if len(fitting) < needed:
        raise InputError(
            f"--seen {seen}: expected {needed} pairs of which {seen} agents are trained, found {len(fitting)}"
        )
    parts: Parts = {label: None for label, members in agents.items() if drawn & set(members)}
    # More pairs than asked for may fit; all are scored.
    order = [fitting[row] for row in rng.permutation(len(fitting)).tolist()]
    val = sizes.get(Split.VAL, 0)
    return parts | dict.fromkeys(order[val:], Split.TEST) | dict.fromkeys(order[:val], Split.VAL)


def untrained(parts: Mapping[str, Split | None], agents: Mapping[str, Sequence[str]]) -> Collection[str]:
    """Return the agents that no training label has."""
    trained = {name for label, names in agents.items() if label not in parts for name in names}
    return sorted({name for names in agents.values() for name in names} - trained)
