# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Ranks among the perturbations of a context, and cell-eval's columns, by the way that suits their number."""

from dataclasses import dataclass
from functools import cached_property
from typing import get_args

import numpy as np
import polars as pl

from bionemo.scale.eval.cell_eval.adapter import metric_columns, run_cell_eval
from bionemo.scale.eval.metrics import formulas, unseen
from bionemo.scale.eval.metrics.many.cell_eval_columns import cell_eval_columns
from bionemo.scale.eval.metrics.many.nearness import AllNearness, all_nearness
from bionemo.scale.eval.scores.sides import AT_ONCE, Side


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A predicted side beside the real one, all perturbations of a context together."""

    pred: Side
    real: Side

    @property
    def is_large(self) -> bool:
        """Whether there are more perturbations than :data:`AT_ONCE`."""
        return len(self.real.rows) > AT_ONCE

    @cached_property
    def _nearness(self) -> AllNearness:
        """Ranks of the changes from each side's own controls."""
        return self._of_changes(self.pred.changes)

    @cached_property
    def _paper_nearness(self) -> AllNearness:
        """Ranks of the changes from the real controls, as the paper subtracts them."""
        if np.array_equal(self.pred.control_mean, self.real.control_mean):
            return self._nearness
        return self._of_changes(self.pred.means - self.real.control_mean)

    def _of_changes(self, changes: np.ndarray) -> AllNearness:
        real = self.real
        return all_nearness(changes, real.changes, own_gene=real.own_gene, targets=real.targets)

    def cell_eval(self, control: str) -> pl.DataFrame:
        """Return cell-eval's columns, by cell-eval or, of many perturbations, by arrays of all of them.

        Args:
            control: Label of the controls.

        Raises:
            MetricError: A metric failed in cell-eval.
        """
        pred, real = self.pred, self.real
        if self.is_large:
            found = cell_eval_columns(pred.tested, real.tested, self._nearness)
            return found.select(pl.Series("perturbation", list(real.rows)), *metric_columns())
        sides = {"pred": pred.pseudobulks(control), "real": real.pseudobulks(control)}
        return run_cell_eval(**sides, de_pred=pred.tests.frame(), de_real=real.tests.frame(), control=control)

    def ranks(self) -> dict[str, np.ndarray]:
        """Return the ranks that cell-eval does not have: column to [P]."""
        pred, real = self.pred, self.real
        if self.is_large:
            whole = self._paper_nearness.whole
            return {
                **{f"paper_pds_{kind}": ranks.score for kind, ranks in whole.items()},
                # Both means less one control mean are as far apart as the means.
                "centroid_accuracy": whole["l2"].share_farther,
                "pds_panel": self._nearness.panel.share_farther,
            }
        changes = pred.means - real.control_mean
        return {
            **{
                f"paper_pds_{kind}": formulas.discrimination_score(changes, real.changes, metric=kind)
                for kind in get_args(formulas.DiscriminationMetric)
            },
            "centroid_accuracy": unseen.centroid_accuracy(pred.means, real.means),
            "pds_panel": unseen.panel_discrimination(pred.changes, real.changes, real.targets),
        }
