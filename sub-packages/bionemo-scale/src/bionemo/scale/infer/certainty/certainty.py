# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""How sure a prediction is: intervals of its mean changes, and what it rests on."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from bionemo.scale.eval.cells.predicted_sd import CONDITIONS, SD
from bionemo.scale.files.expression_scale import highest_log1p
from bionemo.scale.files.writing.h5ad_writer import H5adWriter
from bionemo.scale.infer.certainty.conditions import ConditionFacts
from bionemo.scale.infer.certainty.intervals import change_and_interval
from bionemo.scale.infer.certainty.pairs import Totals, pairs_of
from bionemo.scale.infer.certainty.training_facts import training_facts
from bionemo.scale.infer.plans.parts import cut
from bionemo.scale.infer.plans.plan import Plan
from bionemo.scale.infer.run_estimate import PlannedMeans, RunEstimate
from bionemo.scale.infer.trained_model import LoadedModel
from bionemo.scale.types import INTERVAL_LEVEL, Z_OF_INTERVAL, Group


VARM = {"change": "change", "sd": SD, "low": "change_low", "high": "change_high"}
"""Names in varm of what :func:`change_and_interval` finds."""
_TOGETHER = 256
"""Pairs that are looked at together."""


class Certainty:
    """What is known of each (cell type, perturbation) of a plan, before and after it is predicted.

    Args:
        loaded: The model.
        plan: What it predicts.
        means: The plan's estimates; ``None`` where means are predicted without one.
    """

    def __init__(self, loaded: LoadedModel, plan: Plan, means: PlannedMeans | None):
        self.pairs = pairs_of(plan)
        self.totals = Totals(self.pairs, len(loaded.card.genes))
        self._means, self._estimate, self._notes = means, loaded.estimate, plan.notes
        training = None if loaded.estimate is None else training_facts(loaded.estimate.model)
        self._facts = ConditionFacts(self.pairs, training)
        self._target_sum = loaded.card.scale.target_sum
        self.num_bounded = 0
        """Predicted values that were lowered to what a cell can hold."""

    @classmethod
    def of_cells(
        cls, loaded: LoadedModel, plan: Plan, predicted: np.ndarray, *, num_bounded: int = 0
    ) -> tuple["Certainty", dict[str, np.ndarray]]:
        """Return what is known of cells in memory, [cells, G] in the order of the plan, and the arrays of varm.

        Args:
            loaded: The model.
            plan: What it predicted.
            predicted: The cells.
            num_bounded: How many of their values were lowered to what a cell can hold.
        """
        means = None if loaded.estimate is None else loaded.estimate.of_plan(plan)
        found = cls(loaded, plan, means)
        found.num_bounded = num_bounded
        (whole,) = cut(plan.sizes, np.zeros_like(plan.population))
        found.totals.add_cells(whole, predicted)
        return found, found.columns()

    def columns(self) -> dict[str, np.ndarray]:
        """Return all of :meth:`blocks` at once, [G, pairs] float32."""
        blocks = [block for _, block in self.blocks()]
        return {name: np.concatenate([block[name] for block in blocks], axis=1) for name in blocks[0]}

    def lines(self) -> list[str]:
        """Return what the user should know before anything is predicted."""
        return self._facts.lines()

    def lines_after(self) -> list[str]:
        """Return what the prediction shows; to be asked for after :meth:`blocks`."""
        return [*_line_of_bounded(self.num_bounded, self._target_sum), *self._facts.lines_after()]

    def all_lines(self) -> list[str]:
        """Return what the plan notes, and the lines of before and after; to be asked for after :meth:`blocks`."""
        return [*self._notes, *self.lines(), *self.lines_after()]

    def blocks(self) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """Yield some pairs at a time, when all cells are in ``totals``.

        Yields:
            The number of the first pair, and [G, n] float32 arrays under the names that they have in varm.
        """
        for first in range(0, len(self.pairs.labels), _TOGETHER):
            rows = slice(first, first + _TOGETHER)
            found = change_and_interval(
                self.pairs.members[rows],
                predicted=self.totals.mean(rows),
                control=self.pairs.control_mean[rows],
                means=self._means,
            )
            self._facts.add_changes(rows, found["change"])
            yield first, {VARM[name]: values.T for name, values in found.items()}

    def of_rows(
        self, members: Sequence[Mapping[Group, float]], *, predicted: np.ndarray, control: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Return sd, low and high, [n, G], of finer conditions than pairs; nothing without an estimate."""
        found = change_and_interval(members, predicted=predicted, control=control, means=self._means)
        return {name: values for name, values in found.items() if name != "change"}

    def table(self) -> pd.DataFrame:
        """Return one row for each pair; to be asked for after :meth:`blocks`."""
        return self._facts.table()

    def write(self, writer: H5adWriter) -> None:
        """Write all of it into a file of the predicted cells, which are in ``totals``."""
        for first, block in self.blocks():
            for name, columns in block.items():
                writer.add_columns(name, first, columns, width=len(self.pairs.labels))
        writer.add(f"uns/{CONDITIONS}", self.table())
        for name, text in self.notes().items():
            writer.add(f"uns/bionemo_scale/{name}", text)

    def notes(self) -> dict[str, str]:
        """Return entries for uns["bionemo_scale"]; to be asked for after :meth:`blocks`."""
        return {"interval": describe_interval(self._estimate), "warnings": "\n".join(self.all_lines())}


def _line_of_bounded(num_values: int, target_sum: float) -> list[str]:
    if not num_values:
        return []
    verb = "value was" if num_values == 1 else "values were"
    return [
        f"{num_values:,} predicted {verb} above what a cell can hold (about {highest_log1p(target_sum):.4g} at a "
        f"library size of {target_sum:g}) and lowered to it; the network may not have converged on these genes"
    ]


def describe_interval(estimate: RunEstimate | None) -> str:
    """Say in one line what the intervals are."""
    if estimate is None:
        return "none: means are predicted without a classical estimate"
    level = f"{100 * INTERVAL_LEVEL:.0f} % of the true mean change, change +- {Z_OF_INTERVAL} change_sd"
    weight, measured = estimate.network_weight, estimate.measured_weight
    if weight == 0:
        return f"{level}; change_sd is the estimate's: the network's weight is 0"
    scale = f"{estimate.interval_scale:.3g} times the estimate's, as measured with the network's weight {measured:.3g}"
    if weight == measured:
        return f"{level}; change_sd is {scale}"
    return f"{level}; change_sd is {scale}, and beside it {abs(weight - measured):.3g} times network - estimate"
