# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""How a perturbation's label is read: agents between separators, a dose after each, controls that add nothing.

Two labels are one perturbation where they name the same agents with the same doses, in any order:
:meth:`Grammar.canonical` is what splits, stores and scores compare.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from bionemo.scale.files.label_list import join_known, split_outside_brackets
from bionemo.scale.types import DataCard, InputError


NO_DOSE = -1.0
_DOSE = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(\D.*)?")
_UNITS: dict[str, tuple[float, str]] = {
    **{f"{prefix}M": (10.0 ** (power + 6), "uM") for prefix, power in (("p", -12), ("n", -9), ("u", -6), ("m", -3))},
    "M": (1e6, "uM"),
    **{
        f"{prefix}g/{volume}": (10.0 ** (power + 6) * factor, "ug/ml")
        for prefix, power in (("p", -12), ("n", -9), ("u", -6), ("m", -3), ("", 0))
        for volume, factor in (("ml", 1.0), ("l", 1e-3), ("ul", 1e3))
    },
}
"""Spelling to factor and unit of doses that can be compared; every other unit is compared with itself alone."""
_SIGNIFICANT = 12
_CONTROL_LIKE = re.compile(
    r"(sg)?[-_ ]?(ntc?|dmso|pbs|vehicle|mock|scrambled?|un(treated|perturbed|stimulated)|safe[-_ ]?target(ing)?"
    r"|(non[-_ ]?target(ing)?|((neg|negative)[-_ ]?)?(control|ctrl|ctl))\d*)"
    r"([-_ ]+(sg|g|guide)[-_ ]?\d+|(?-i:s?g|guide)[-_ ]?\d+|[-_ ]+\d+)?",
    re.IGNORECASE,
)
"""What controls and their guides are called in public screens; "NT3", "NTG1" and "PBS1" may be genes."""
_NO_CALL = re.compile(
    r"un(assigned|known|determined|classified|defined|identified)|multip(let|le)s?|doublets?|ambiguous|negative"
    r"|no[-_ ]?(call|assignment|s?grna|guide)s?|not?n?e?[-_ ]?(assigned|detected)|n/a|\?+|-+",
    re.IGNORECASE,
)
"""What cells are called that could not be given a label."""
_LIKELY = ("+", "|", ";", "&")
"""What separates agents in public data sets, where nobody says."""
_WITHIN_NAMES = ("_", "-", ":", "/", ",")
"""The same, but also in names of agents, replicates and guides: all parts must be labels themselves."""


class Agent(NamedTuple):
    """One agent of a label."""

    name: str
    dose: float = NO_DOSE
    """In ``unit``; :data:`NO_DOSE` where there is none."""
    unit: str = ""
    """"uM", "ug/ml", or as written; empty where none is."""


@dataclass(frozen=True, kw_only=True)
class Grammar:
    """How labels are read; an empty separator is not looked for."""

    combination: str = ""
    """Between agents: "+" reads "A+B" as A with B. It splits outside of brackets and only where something stands on
    both sides of it, so that "(+)-JQ1" and "CD4+" are one agent each."""
    dose: str = ""
    """Before an agent's dose: "@" reads "A@0.5" as 0.5 of A, and "A@500nM" as 0.5 uM of it."""
    whole: tuple[str, ...] = ()
    """Agents whose names hold a separator where it could split, such as "Na+/K+ inhibitor"."""
    controls: tuple[str, ...] = ()
    """Labels of controls, which say nothing beside an agent: "A+ctrl" is A."""

    def parse(self, label: str) -> tuple[tuple[str, float], ...]:
        """Return the agents of a label with their doses, :data:`NO_DOSE` where there is none; see :meth:`agents`."""
        return tuple((agent.name, agent.dose) for agent in self.agents(label))

    def agents(self, label: str) -> tuple[Agent, ...]:
        """Return the agents of a label in its order, controls left out; none for a control.

        Raises:
            InputError: If an agent has no name, or a dose is not a number of at least 0.
        """
        parts = [part for part in self._parts(label) if part not in self._controls]
        return tuple(self._agent(part, label) for part in parts)

    def canonical(self, label: str) -> str:
        """Return the one spelling of a perturbation: agents in order of name, doses in comparable units, no controls.

        A control is the first control label; without separators a label is what it is.
        """
        if label in self._controls:
            return self.controls[0]
        if not self.combination and not self.dose:
            return label
        agents = sorted(self.agents(label))
        return self.combination.join(map(self._spell, agents)) if agents else self.controls[0]

    @cached_property
    def _controls(self) -> frozenset[str]:
        return frozenset(self.controls)

    def _parts(self, label: str) -> list[str]:
        if not self.combination:
            return [label.strip()]
        pieces = [piece.strip() for piece in split_outside_brackets(label, self.combination)]
        if self.whole and len(pieces) > 1:
            longest = 1 + max(name.count(self.combination) for name in self.whole)
            raw = split_outside_brackets(label, self.combination)
            pieces = join_known(raw, self._is_whole, longest, separator=self.combination)
        return pieces if all(pieces) else [label.strip()]

    def _is_whole(self, text: str) -> bool:
        name = text.rpartition(self.dose)[0] if self.dose and self.dose in text else text
        return text in self.whole or name.strip() in self.whole

    def _agent(self, text: str, label: str) -> Agent:
        name, separator, dose = text.rpartition(self.dose) if self.dose else (text, "", "")
        if not separator or text in self.whole:
            return Agent(text)
        match = _DOSE.fullmatch(dose.strip())
        if match is None or not name.strip() or not 0 <= float(match[1]) < math.inf:
            raise InputError(
                f"perturbation {label!r}: expected agents between {self.combination!r} with a dose of at least 0 "
                "after "
                f"{self.dose!r}, found {text!r}"
            )
        factor, unit = _unit(match[2] or "")
        return Agent(name.strip(), float(f"{float(match[1]) * factor:.{_SIGNIFICANT}g}"), unit)

    def _spell(self, agent: Agent) -> str:
        if agent.dose == NO_DOSE:
            return agent.name
        return f"{agent.name}{self.dose}{agent.dose:.{_SIGNIFICANT}g}{agent.unit}"


def grammar_of(card: DataCard, *, combination: str = "", dose: str = "") -> Grammar:
    """Return how the labels of a data card are read.

    Args:
        card: Its separators count.
        combination: For cards that have none, as those of older checkpoints.
        dose: Likewise.
    """
    return Grammar(
        combination=card.combination_separator or combination,
        dose=card.dose_separator or dose,
        whole=card.whole_agents,
        controls=card.all_controls,
    )


def agent_names(labels: Iterable[str], grammar: Grammar) -> tuple[str, ...]:
    """Return every agent of some labels once, in the order of their first appearance.

    Raises:
        InputError: If a label cannot be read, or the doses of an agent cannot be compared.
    """
    units: dict[str, tuple[str, str]] = {}
    names: dict[str, None] = {}
    for label in labels:
        for agent in grammar.agents(label):
            names[agent.name] = None
            if agent.dose == NO_DOSE:
                continue
            unit, first = units.setdefault(agent.name, (agent.unit, label))
            if unit != agent.unit:
                raise InputError(
                    f"perturbation {label!r}: expected a dose of {agent.name!r} that can be compared with that of "
                    f"{first!r}, "
                    f"found {agent.unit or 'no unit'!r} beside {unit or 'no unit'!r}"
                )
    return tuple(names)


def describe_agents(labels: Iterable[str], grammar: Grammar) -> str:
    """Return a line about the agents of some labels; empty where labels are not taken apart."""
    labels = list(labels)
    if not grammar.combination and not grammar.dose:
        return ""
    names = agent_names(labels, grammar)
    sizes = [len(grammar.agents(label)) for label in labels]
    several = sum(size > 1 for size in sizes)
    dosed = sum(any(agent.dose != NO_DOSE for agent in grammar.agents(label)) for label in labels)
    shown = ", ".join(map(repr, names[:5])) + (", ..." if len(names) > 5 else "")
    doses = f", {dosed} with a dose" if grammar.dose else ""
    most = f" of up to {max(sizes)} agents" if several else ""
    return f"{len(names)} in {len(labels)} perturbations, {several} combinations{most}{doses}: {shown}"


def respelled(labels: Iterable[str], grammar: Grammar) -> Mapping[str, str]:
    """Return the labels that :meth:`Grammar.canonical` changes, with what they become. Controls are left out."""
    spelled = {label: grammar.canonical(label) for label in labels if label not in grammar.controls}
    return {label: other for label, other in spelled.items() if label != other}


def likely_combinations(labels: Iterable[str], control: str) -> tuple[str, tuple[str, ...]]:
    """Return the separator that labels seem to have, and the labels: their parts are labels too, or beside a control.

    Args:
        labels: Perturbations that are read as one agent each.
        control: The control label.
    """
    known = {*labels, control}
    combinations = {}
    for separator in (*_LIKELY, *_WITHIN_NAMES):
        grammar = Grammar(combination=separator)
        parts = {label: [name for name, _ in grammar.parse(label)] for label in known}
        beside_control = (names for names in parts.values() if control in names and separator in _LIKELY)
        single = known.union(*beside_control)
        combinations[separator] = tuple(
            sorted(label for label, names in parts.items() if len(names) > 1 and single.issuperset(names))
        )
    best = max(combinations, key=lambda separator: len(combinations[separator]))
    return best, combinations[best]


def likely_controls(labels: Iterable[str]) -> tuple[str, ...]:
    """Return the labels of perturbations that are called as controls mostly are: "non-targeting_2", "DMSO", "ctrl".

    Args:
        labels: Perturbations, those that are said to be controls left out.
    """
    return tuple(label for label in labels if _CONTROL_LIKE.fullmatch(label))


def likely_no_calls(labels: Iterable[str]) -> tuple[str, ...]:
    """Return the labels of cells that seem to have none: "Unassigned", "multiplet", "ambiguous"."""
    return tuple(label for label in labels if _NO_CALL.fullmatch(label))


def _unit(text: str) -> tuple[float, str]:
    plain = text.strip().replace("\u00b5", "u").replace("\u03bc", "u")
    key = plain.replace("mL", "ml").replace("L", "l") if "/" in plain else plain
    return _UNITS.get(key, (1.0, plain))
