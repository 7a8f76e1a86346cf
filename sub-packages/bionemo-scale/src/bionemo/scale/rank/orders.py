# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The orders of a screen: each makes one number of a predicted change, with the standard deviation of its error.

Sizes are root mean squares over genes, in log1p expression, so that screens with other numbers of genes compare.
"""

import numpy as np
import pandas as pd

from bionemo.scale.files.labels.grammar import NO_DOSE, Agent
from bionemo.scale.rank.certainty import GeneErrors
from bionemo.scale.rank.screen import Screen
from bionemo.scale.types import Z_OF_INTERVAL, InputError


LABELS = ["cell_type", "perturbation"]


def by_effect(screen: Screen) -> pd.DataFrame:
    """Order by the size of the change."""
    size = _size(screen.change)
    gradient = _divided(screen.change, size[:, None]) / screen.change.shape[1]
    return _scored(screen, size, _sd(screen, gradient))


def by_reversal(screen: Screen, signature: np.ndarray) -> pd.DataFrame:
    """Order by minus the cosine of the change and a signature: 1 takes it back, -1 makes it.

    Args:
        screen: The conditions.
        signature: [G] float64, NaN for genes that do not count.
    """
    named = np.isfinite(signature)
    unit = np.where(named, np.nan_to_num(signature), 0.0)
    unit = unit / np.linalg.norm(unit)
    change = np.where(named, screen.change, 0.0)
    length = np.linalg.norm(change, axis=1)
    cosine = _divided(change @ unit, length, empty=np.nan)
    along = _divided(change, length[:, None])
    gradient = _divided(unit - np.nan_to_num(cosine)[:, None] * along, length[:, None])
    found = _scored(screen, -cosine, _sd(screen, np.where(named, gradient, 0.0)), low=-1.0, high=1.0)
    return found.assign(size=_size(screen.change[:, named]))


def by_uncertainty(screen: Screen) -> pd.DataFrame:
    """Order by the size of the standard deviation."""
    if screen.sd is None:
        raise no_sd(screen, "--by uncertainty")
    return _scored(screen, _size(screen.sd), None).assign(effect=_size(screen.change))


def by_synergy(screen: Screen) -> pd.DataFrame:
    """Order combinations by their change beyond the sum of what their agents do alone, along that sum.

    ``score`` is above 0 where the combination goes further than the sum and below 0 where it falls short; ``beyond``
    is the size of the whole difference, ``sum`` that of the sum.

    Raises:
        InputError: No combination has all its agents alone in the same cell type.
    """
    members = _combinations(screen)
    rows = np.array(list(members))
    total = np.stack([screen.change[alone].sum(axis=0) for alone in members.values()])
    difference = screen.change[rows] - total
    direction = _divided(total, np.linalg.norm(total, axis=1)[:, None]) / np.sqrt(total.shape[1])
    sd = None
    if screen.sd is not None:
        errors = GeneErrors(screen.change)
        # The combination's error and those of its agents are taken for independent.
        own = errors.variance(direction * screen.sd[rows])
        parts = [
            errors.variance(line * screen.sd[alone]).sum()
            for line, alone in zip(direction, members.values(), strict=True)
        ]
        sd = np.sqrt(own + np.array(parts))
    found = _scored(screen.select(rows), (difference * direction).sum(axis=1), sd)
    return found.assign(beyond=_size(difference), sum=_size(total))


def by_dose(screen: Screen) -> pd.DataFrame:
    """Order agents by the slope of their change on the logarithm of the dose, per tenfold dose.

    The change at each dose is measured along the agent's mean change, as a root mean square; the slope is that of
    least squares.

    Raises:
        InputError: No agent has two doses in a cell type.
    """
    found = _dosed(screen)
    errors = None if screen.sd is None else GeneErrors(screen.change)
    lines = []
    for (cell_type, name, unit), doses in found.items():
        rows, log_dose = np.array(list(doses.values())), np.log10(list(doses))
        mean = screen.change[rows].mean(axis=0)
        direction = _divided(mean, float(np.linalg.norm(mean))) / np.sqrt(len(mean))
        centred = log_dose - log_dose.mean()
        weight = centred / (centred**2).sum()
        line = {"cell_type": cell_type, "perturbation": name, "score": weight @ (screen.change[rows] @ direction)}
        if errors is not None and screen.sd is not None:
            line["sd"] = np.sqrt(weight**2 @ errors.variance(direction * screen.sd[rows]))
        size = _size(screen.change[rows])
        numbers = {"doses": len(rows), "lowest_dose": min(doses), "highest_dose": max(doses), "unit": unit}
        lines.append({**line, **numbers, "size_at_highest": size[np.argmax(log_dose)]})
    table = pd.DataFrame(lines)
    if not table["unit"].any():
        table = table.drop(columns="unit")
    return _with_interval(table) if errors is not None else table


def ordered(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows from the highest score down, numbered from 1; conditions without a score come last."""
    table = table.sort_values("score", ascending=False, kind="stable", na_position="last", ignore_index=True)
    table.insert(0, "rank", np.arange(1, len(table) + 1))
    return table


def no_sd(screen: Screen, asked: str) -> InputError:
    """Return the refusal of a screen that does not say how sure it is."""
    return InputError(
        f"{screen.path}: {asked} needs standard deviations (layers['sd']), found none; predict with --output "
        "pseudobulk from a run that has a classical estimate"
    )


def _combinations(screen: Screen) -> dict[int, list[int]]:
    """Return the rows of combinations, and for each those of its agents alone."""
    row = {key: number for number, key in enumerate(_keys(screen))}
    found = {}
    for (cell_type, agents), number in row.items():
        alone = [row.get((cell_type, (agent,))) for agent in agents]
        if len(agents) > 1 and None not in alone:
            found[number] = [each for each in alone if each is not None]
    if not found:
        raise InputError(
            f"{screen.path}: --by synergy needs combinations and each of their agents alone in the same cell type, "
            f"found none; {_read_as(screen, screen.grammar.combination, '--combination-separator')}"
        )
    return found


def _dosed(screen: Screen) -> dict[tuple[str, str, str], dict[float, int]]:
    """Return for each (cell type, agent, unit) its doses above 0 and their rows, where there are two or more."""
    found: dict[tuple[str, str, str], dict[float, int]] = {}
    for row, (cell_type, agents) in enumerate(_keys(screen)):
        if len(agents) == 1 and agents[0].dose != NO_DOSE and agents[0].dose > 0:
            found.setdefault((cell_type, agents[0].name, agents[0].unit), {})[agents[0].dose] = row
    found = {key: doses for key, doses in found.items() if len(doses) > 1}
    if not found:
        raise InputError(
            f"{screen.path}: --by dose needs agents with two doses above 0 in a cell type, found none; "
            f"{_read_as(screen, screen.grammar.dose, '--dose-separator')}"
        )
    return found


def _keys(screen: Screen) -> list[tuple[str, tuple[Agent, ...]]]:
    agents = [tuple(sorted(screen.grammar.agents(label))) for label in screen.perturbations.tolist()]
    return list(zip(screen.cell_types.tolist(), agents, strict=True))


def _read_as(screen: Screen, separator: str, option: str) -> str:
    return f"labels are read with {option} {separator!r}" if separator else f"{option} says how labels are read"


def _sd(screen: Screen, gradient: np.ndarray) -> np.ndarray | None:
    """Return [n] standard deviation of a score from its derivative by each gene's change."""
    if screen.sd is None:
        return None
    return np.sqrt(GeneErrors(screen.change).variance(gradient * screen.sd))


def _scored(
    screen: Screen, score: np.ndarray, sd: np.ndarray | None, *, low: float = -np.inf, high: float = np.inf
) -> pd.DataFrame:
    table = pd.DataFrame({"cell_type": screen.cell_types, "perturbation": screen.perturbations, "score": score})
    return (
        table if sd is None else _with_interval(table.assign(sd=np.where(np.isfinite(score), sd, np.nan)), low, high)
    )


def _with_interval(table: pd.DataFrame, low: float = -np.inf, high: float = np.inf) -> pd.DataFrame:
    score, sd = table["score"], table["sd"]
    at = list(table.columns).index("sd") + 1
    table.insert(at, "low", np.clip(score - Z_OF_INTERVAL * sd, low, high))
    table.insert(at + 1, "high", np.clip(score + Z_OF_INTERVAL * sd, low, high))
    return table


def _size(values: np.ndarray) -> np.ndarray:
    return np.sqrt((values**2).mean(axis=1))


def _divided(values: np.ndarray, by: np.ndarray | float, *, empty: float = 0.0) -> np.ndarray:
    """Return a quotient, and ``empty`` where the divisor is 0."""
    out = np.full(np.broadcast_shapes(np.shape(values), np.shape(by)), empty)
    return np.divide(values, by, out=out, where=np.asarray(by) > 0)
