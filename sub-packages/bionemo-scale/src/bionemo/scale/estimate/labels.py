# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What is known of groups of cells before their expression: where they are from, and what was done to them."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from bionemo.scale.types import Group


Dose = float
ParseAgents = Callable[[str], tuple[tuple[str, Dose], ...]]
"""Perturbation label -> its agents with their doses; a dose below zero means that none is given."""


ALL = slice(None)
"""Every group."""


def whole_label(label: str) -> tuple[tuple[str, Dose], ...]:
    """Read a label as one agent without a dose."""
    return ((label, -1.0),)


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Labels of n groups, as arrays."""

    groups: tuple[Group, ...]
    control: str
    """Perturbation label of control groups."""
    agents: tuple[tuple[tuple[str, Dose], ...], ...]
    """Agents of each group; none for controls."""

    @classmethod
    def of(cls, groups: Sequence[Group], *, control: str, parse: ParseAgents = whole_label) -> "Labels":
        """Read the labels of groups."""
        agents = tuple(() if group.perturbation == control else parse(group.perturbation) for group in groups)
        return cls(groups=tuple(groups), control=control, agents=agents)

    @property
    def is_control(self) -> np.ndarray:
        """[n] bool."""
        return np.array([group.perturbation == self.control for group in self.groups], dtype=bool)

    def same(self, key: Callable[[Group], Hashable], rows: slice = ALL) -> np.ndarray:
        """Return [rows, n] float64, 1 where two groups have the same key."""
        codes = codes_of([key(group) for group in self.groups])
        return (codes[rows, None] == codes[None, :]).astype(np.float64)

    def agent_doses(self) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
        """Return the agents, [n, agents] copies of each in each group, and logarithms of its doses (0 without)."""
        names = sorted({name for agents in self.agents for name, _ in agents})
        column = {name: position for position, name in enumerate(names)}
        copies = np.zeros((len(self.groups), len(names)))
        log_doses = np.zeros_like(copies)
        for row, agents in enumerate(self.agents):
            for name, dose in agents:
                copies[row, column[name]] += 1
                log_doses[row, column[name]] = np.log(dose) if dose > 0 else 0.0
        return tuple(names), copies, log_doses


def codes_of(names: Sequence[Hashable]) -> np.ndarray:
    """Return [n] int64, equal where names are equal, in the order of their first appearance."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], dtype=np.int64)
