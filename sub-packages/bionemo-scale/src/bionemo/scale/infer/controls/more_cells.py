# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""More cells than there are controls: control cells are drawn again, and counted anew.

A cell that is drawn again stands for another cell of the same state. Its counts are drawn from what the counts of the
first say of that state (:func:`bionemo.scale.counts.draw.draw_again`), so that no two cells are copies. They are no
more information: means, intervals and the number of controls remain those of the measured cells.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix, vstack

from bionemo.scale.counts.counted import check_counted, counted
from bionemo.scale.counts.draw import draw_again
from bionemo.scale.infer.controls.control_cells import ControlCells
from bionemo.scale.types import InputError


_ROWS = 512


def with_number(cells: ControlCells, number: int, *, target_sum: float, seed: int) -> ControlCells:
    """Return so many cells of each (context, batch): some of many, without replacement, or few drawn again.

    Args:
        cells: Control cells.
        number: Cells of each (context, batch).
        target_sum: Library size that their expression is scaled to.
        seed: Of the choice and of the draws.

    Returns:
        The chosen cells in their order, and after them those that were drawn again.
    """
    cells = cells.thin_out(number, seed=seed)
    groups = pd.DataFrame({"context": cells.context, "batch": cells.batch}).groupby(["context", "batch"], sort=True)
    members = [np.sort(rows) for rows in groups.indices.values() if len(rows) < number]
    if not members:
        return cells
    rng = np.random.default_rng([seed, number])
    chosen = [_rounds(len(rows), number, rng) for rows in members]
    again = np.concatenate([rows[each] for rows, each in zip(members, chosen, strict=True)])
    few = f"{len(again):,} of {len(again) + len(cells.names):,} cells are control cells drawn again"
    try:
        check_counted(cells.expression)
    except InputError:
        drawn, note = cells.expression[again], f"{few}: copies, for their values are no scaled counts"
    else:
        parts = [
            _counted_anew(csr_matrix(cells.expression[rows]), each, target_sum=target_sum, rng=rng)
            for rows, each in zip(members, chosen, strict=True)
        ]
        drawn, note = vstack(parts), f"{few}, each with counts of its own: no more information than the measured cells"
    more = cells.take(again)
    both = cells.followed_by(replace(more, expression=csr_matrix(drawn)))
    is_again = np.arange(len(both.names)) >= len(cells.names)
    return replace(both, is_again=is_again, notes=(*cells.notes, note))


def _rounds(size: int, number: int, rng: np.random.Generator) -> np.ndarray:
    """Choose the cells that ``size`` lack to ``number``: each once before any is chosen twice."""
    rounds = [rng.permutation(size) for _ in range(-(-(number - size) // size))]
    return np.concatenate(rounds)[: number - size]


def _counted_anew(
    expression: csr_matrix, chosen: np.ndarray, *, target_sum: float, rng: np.random.Generator
) -> csr_matrix:
    """Return [chosen, G] log1p expression of new counts of some cells of one (context, batch)."""
    controls = counted(expression, target_sum)
    if np.isnan(controls.library_size).any():
        # No cell has a count, and no new one will.
        return csr_matrix((len(chosen), expression.shape[1]), dtype=np.float32)
    parts = []
    for first in range(0, len(chosen), _ROWS):
        rows = chosen[first : first + _ROWS]
        counts = draw_again(controls, rows, rng=rng)
        parts.append(
            csr_matrix(np.log1p(counts * (target_sum / controls.library_size[rows, None])).astype(np.float32))
        )
    return csr_matrix(vstack(parts))
