# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""One question to a virtual screen, from settings to a CSV."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bionemo.scale.files.writing.atomic import write_text
from bionemo.scale.options.outputs import new_file
from bionemo.scale.rank.choose import choose_next
from bionemo.scale.rank.orders import by_dose, by_effect, by_reversal, by_synergy, by_uncertainty, ordered
from bionemo.scale.rank.screen import Screen, read_screen
from bionemo.scale.rank.settings import Order, RankSettings
from bionemo.scale.rank.signature import listed_signature, read_signature, signature_of_genes, warn_of_signature


_WIDEST = 40
"""Letters of a label that are shown."""


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """The answer."""

    table: pd.DataFrame
    """One row for each condition, best first; see docs/rank.md for the columns."""
    title: str
    """What the score is, in one line."""
    notes: tuple[str, ...] = ()


def rank(settings: RankSettings) -> Ranking:
    """Order the conditions of a screen and write the table.

    Raises:
        InputError: The screen or the signature cannot be used; nothing is written.
    """
    with new_file(settings.out, [settings.screen, settings.signature], overwrite=settings.overwrite):
        screen = read_screen(
            settings.screen,
            keys=settings.keys,
            control=settings.control,
            combination_separator=settings.combination_separator,
            dose_separator=settings.dose_separator,
        ).of_cell_types(settings.cell_types)
        ranking = _answer(settings, screen)
        write_text(settings.out, ranking.table.to_csv(index=False))
    return ranking


def shown(ranking: Ranking, top: int) -> str:
    """Return the first rows as text."""
    table = ranking.table.head(top).copy()
    for name in ("cell_type", "perturbation"):
        table[name] = [
            text if len(text) <= _WIDEST else f"{text[: _WIDEST - 3]}..." for text in table[name].astype(str)
        ]
    rest = len(ranking.table) - len(table)
    lines = table.to_string(index=False, float_format=lambda value: f"{value:.4g}", na_rep="-")
    return f"{ranking.title}\n{lines}" + (f"\n... and {rest} more" if rest else "")


def _answer(settings: RankSettings, screen: Screen) -> Ranking:
    notes = list(screen.notes)
    if settings.next is not None:
        table = choose_next(screen, settings.next)
        return Ranking(table=table, title="measure next (score: standard deviation left)", notes=tuple(notes))
    by = settings.by or "effect"
    if by == "reversal":
        signature, lines = _signature(settings, screen)
        notes += lines
        found = by_reversal(screen, signature)
    else:
        found = _ORDERS[by](screen)
    if screen.sd is None:
        notes.append(f"{screen.path.name} does not say how sure it is: no intervals")
    unscored = int(found["score"].isna().sum())
    if unscored:
        notes.append(f"{unscored} conditions have no predicted change in these genes, and no score")
    return Ranking(table=ordered(found), title=_TITLES[by], notes=tuple(notes))


def _signature(settings: RankSettings, screen: Screen) -> tuple[np.ndarray, tuple[str, ...]]:
    if settings.signature is not None:
        source, given = str(settings.signature), read_signature(settings.signature)
    else:
        source, given = "--up and --down", listed_signature(settings.up, settings.down, screen.genes)
    values = signature_of_genes(given, screen.genes, source=source)
    found = f"{int(np.isfinite(values).sum())} of {len(given)} genes of the signature are in the screen"
    return values, (found, *warn_of_signature(values, given))


_ORDERS: dict[str, Callable[[Screen], pd.DataFrame]] = {
    "effect": by_effect,
    "synergy": by_synergy,
    "dose": by_dose,
    "uncertainty": by_uncertainty,
}
_TITLES: dict[Order, str] = {
    "effect": "effect (score: root mean square change over genes)",
    "reversal": "reversal (score: minus the cosine of change and signature)",
    "synergy": "synergy (score: change beyond the sum of the agents, along the sum)",
    "dose": "dose (score: slope of the change per tenfold dose)",
    "uncertainty": "uncertainty (score: root mean square standard deviation over genes)",
}
