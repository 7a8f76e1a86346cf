# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""cell-eval2, the scorer of the Virtual Cell Challenge 2026, on the counts of the same cells.

Its six metrics of the challenge are put on a scale from the mean response, 0, to a replicate of the measurement, 1.
Both ends are its own: the mean response of all perturbations given to each, and one half of the cells scored against
the other.
"""

import importlib.metadata
import sys
from dataclasses import dataclass, field
from pathlib import Path

import anndata as ad
import polars as pl

from bionemo.scale.eval.cell_eval.environment import Environment, Tool, Worker
from bionemo.scale.eval.cells.populations import PERTURBATION


PREFIX = "ce2_"
"""What the columns of cell-eval2 begin with."""
CELL_EVAL2 = Tool(
    option="cell-eval2",
    name="cell-eval2",
    packages=("cell-eval2==0.20.0",),
    listed=("cell-eval2", "scanpy", "scipy", "numpy", "polars"),
)
RATIO = "expr_mse_unbiased_capped_norm"
"""A ratio of sums over perturbations, which none of them has by itself."""
DIRECTION, REACH = "de_wilcoxon_direction_fidelity_yield_raw", "de_wilcoxon_direction_reach_raw"
CHALLENGE = (
    "pds_cosine",
    RATIO,
    DIRECTION,
    REACH,
    "de_wilcoxon_sig_jaccard",
    "de_wilcoxon_lfc_nmae",
)
"""The six metrics of the challenge."""
PER_PERTURBATION = (
    "pds_cosine",
    "expr_mse_unbiased",
    "expr_mse_unbiased_capped",
    "expr_distance_unbiased",
    *CHALLENGE[2:],
    "de_wilcoxon_sig_mcc",
    "de_wilcoxon_overlap_adjusted",
    "de_wilcoxon_precision_adjusted",
    "de_wilcoxon_sig_recall_adjusted",
    "cell_cov_corr",
    "cell_cov_eig_ratio",
)
"""Metrics that each perturbation has a value of: those of the challenge, chance-corrected overlap, covariance."""
_GROUPS = (
    ("pds_cosine",),
    ("expr_mse_unbiased_capped", "expr_distance_unbiased", RATIO),
    CHALLENGE[2:],
)
ONE = "one perturbation in the context: its mean response is the perturbation itself"
CONVENTIONS = {
    "input": "whole counts of the file's genes; a library is their sum, not that of all genes",
    "expression": "log1p of summed counts of a group, scaled to 50,000",
    "tests": "Wilcoxon rank-sum by scanpy, ties corrected, counts scaled to 1,000,000, genes above 5 per million in "
    "the controls; Benjamini-Hochberg within a perturbation, significant below 0.05",
    "controls": "the real ones on both sides",
    "targets": "the gene that a perturbation is named after is left out, and of the rank those of all perturbations; "
    "names that are no gene of the file (drugs, combinations) leave nothing out",
    "rank": "1 - rank / (M - 1) by cosine distance, ties share their mean rank",
    "scale": "0 is the mean response of all perturbations given to each, 1 a replicate: five random cuts of the real "
    "cells, one half scored against the other; a metric without a value gets the worst score",
    "baselines": "as counts, drawn around the matched control cells as predicted counts are",
}


@dataclass(frozen=True, kw_only=True)
class CellEval2Scores:
    """What cell-eval2 says of one prediction in one context."""

    rows: pl.DataFrame
    """``perturbation`` and its metrics, each with :data:`PREFIX`."""
    values: dict[str, float | None] = field(default_factory=dict)
    """Metric to its value over all perturbations."""
    scaled: dict[str, float | None] = field(default_factory=dict)
    """Metric of the challenge to its place between mean response and replicate."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Both ends of the scale of each metric of the challenge in one context."""

    mean_response: float | None
    replicate: float | None
    why: str
    """Why there is none."""


def own_environment() -> Environment | None:
    """Return this interpreter where it has the pinned cell-eval2."""
    try:
        found = {name: importlib.metadata.version(name) for name in CELL_EVAL2.listed}
    except importlib.metadata.PackageNotFoundError:
        return None
    pinned = CELL_EVAL2.packages[0] == f"{CELL_EVAL2.name}=={found[CELL_EVAL2.name]}"
    return Environment(python=Path(sys.executable), versions=found) if pinned else None


class CellEval2(Worker):
    """A running cell-eval2."""

    def __init__(self, environment: Environment):
        super().__init__(environment, tool=CELL_EVAL2, script=Path(__file__).with_name("challenge_worker.py"))
        self._real: tuple[str, Path] | None = None
        self._scales: dict[str, dict[str, Scale]] = {}

    def score(
        self, *, pred: ad.AnnData, real: ad.AnnData, real_key: str, control: str, scaled: bool
    ) -> CellEval2Scores:
        """Score one context.

        Args:
            pred: Counts of predicted perturbed cells and of controls, labels in ``obs["perturbation"]``.
            real: Counts of measured perturbed cells and controls.
            real_key: Names ``real``, which is written once as long as the name stays.
            control: Label of the controls.
            scaled: Whether to put the metrics of the challenge on their scale.

        Raises:
            MetricError: cell-eval2 failed.
        """
        if self._real is None or self._real[0] != real_key:
            self._real = (real_key, self.write(real, "real.h5ad"))
        genes, names = set(real.var_names), sorted(set(real.obs[PERTURBATION]) - {control})
        request = {
            "real": str(self._real[1]),
            "control": control,
            "pert_col": PERTURBATION,
            "targets": {name: name if name in genes else None for name in names},
            "cache": str(self._folder / "cache"),
        }
        ends = self._ends(request, real_key, len(names)) if scaled else {}
        out = self._folder / "results.parquet"
        answer = self.ask(
            {
                **request,
                "what": "score",
                "pred": str(self.write(pred, "pred.h5ad")),
                "metrics": [*PER_PERTURBATION, RATIO],
                "ratio": RATIO,
                "ends": {name: vars(end) for name, end in ends.items()},
                "out": str(out),
            }
        )
        # A metric that no perturbation has is not among the answers.
        values = {name: answer["values"].get(name) for name in (*PER_PERTURBATION, RATIO)}
        return CellEval2Scores(rows=_wide(pl.read_parquet(out), names), values=values, scaled=answer["scaled"])

    def scales(self) -> dict[str, dict[str, Scale]]:
        """Return the name of the real side to the scale of each metric, of all contexts so far."""
        return dict(self._scales)

    def _ends(self, request: dict, real_key: str, num_perturbations: int) -> dict[str, Scale]:
        if real_key not in self._scales:
            if num_perturbations < 2:
                found = {name: Scale(mean_response=None, replicate=None, why=ONE) for name in CHALLENGE}
            else:
                ends = self.ask({**request, "what": "scale", "groups": _GROUPS, "scored": CHALLENGE})["ends"]
                found = {name: Scale(**end) for name, end in ends.items()}
            self._scales[real_key] = found
        return self._scales[real_key]


def _wide(rows: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    """Return one row per perturbation, sorted, with every column of :data:`PER_PERTURBATION`; null without a value."""
    found = {(row["perturbation"], row["metric"]): row["value"] for row in rows.to_dicts()}
    columns = {
        PREFIX + metric: pl.Series([found.get((name, metric)) for name in names], dtype=pl.Float64).fill_nan(None)
        for metric in PER_PERTURBATION
    }
    return pl.DataFrame({"perturbation": names, **columns})
