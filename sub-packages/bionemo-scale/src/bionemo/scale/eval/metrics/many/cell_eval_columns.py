# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The columns of cell-eval 0.6.6 for many perturbations at once.

cell-eval goes through perturbations one by one, in Python, and through the table of tests for each of them. Here a
metric is a few operations on arrays of all perturbations. Numbers are rounded to float32 where cell-eval does so, and
equal its own to rounding, but for ranks among equal distances: cell-eval orders these by chance, and here they get the
mean of all orders. :func:`bionemo.scale.eval.cell_eval.adapter.run_cell_eval` asks cell-eval itself.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl
from jaxtyping import Bool, Float
from scipy import stats

from bionemo.scale.eval.metrics import formulas
from bionemo.scale.eval.metrics.formulas import Genes, row_parts
from bionemo.scale.eval.metrics.many.nearness import AllNearness


_TOP = (50, 100, 200, 500)
"""The numbers of genes in the names of overlaps."""
_OF_SIGNIFICANT = ("de_direction_match", "de_spearman_lfc_sig", "de_sig_genes_recall")
"""Columns that cell-eval leaves empty where no real gene is significant. In all others it writes NaN."""
_LEAST_FDR = 1e-10
"""cell-eval puts it in the place of an adjusted p-value of 0."""


@dataclass(frozen=True, kw_only=True)
class CellEvalInput:
    """What cell-eval reads of one side, in its precision."""

    means: Float[np.ndarray, "P G"]
    """Pseudobulks, log1p."""
    control_mean: Float[np.ndarray, " G"]
    fdr: Float[np.ndarray, "P G"]
    """Adjusted p-values."""
    fold_change: Float[np.ndarray, "P G"]
    """Of the tests, not on a log scale."""

    def part(self, rows: slice) -> "CellEvalInput":
        """Return some perturbations."""
        return replace(self, means=self.means[rows], fdr=self.fdr[rows], fold_change=self.fold_change[rows])

    @cached_property
    def rounded_means(self) -> np.ndarray:
        """[P, G] float64 of what float32 holds."""
        return _rounded(self.means)

    @cached_property
    def changes(self) -> np.ndarray:
        """[P, G] float64, differences of float32 numbers, which cell-eval rounds again."""
        return _rounded(self.rounded_means - _rounded(self.control_mean))

    @cached_property
    def genes(self) -> Genes:
        """Adjusted p-values and log2 fold changes."""
        with np.errstate(divide="ignore", invalid="ignore"):
            size = np.log2(self.fold_change)
        size = np.where(np.isnan(size), 0.0, size)
        return Genes(fdr=self.fdr.astype(np.float32), log_fc=size.astype(np.float32))

    @cached_property
    def places(self) -> np.ndarray:
        """[P, G] int, as :attr:`Genes.places`, but equal fold changes as cell-eval ranks them."""
        rows, columns = np.nonzero(self.genes.significant)
        # Many are at a limit of fold changes. Their places follow from how polars sorts, so polars is asked as
        # cell-eval asks it.
        found = pl.DataFrame({"row": rows, "size": np.abs(self.genes.log_fc[rows, columns])}).select(
            pl.struct("size").rank("ordinal", descending=True).over("row") - 1
        )
        places = np.full(self.fdr.shape, self.fdr.shape[1])
        places[rows, columns] = found.to_series().to_numpy()
        return places

    @cached_property
    def order(self) -> np.ndarray:
        """[P, G] float32, ascending from the gene that cell-eval believes in most."""
        # By polars: another log10 may round otherwise, and so tell apart what cell-eval calls equal.
        values = pl.Series(self.fdr.astype(np.float32).reshape(-1)).replace(0, _LEAST_FDR).log10()
        return values.to_numpy().reshape(self.fdr.shape)


def _rounded(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32).astype(np.float64)


def cell_eval_columns(pred: CellEvalInput, real: CellEvalInput, nearness: AllNearness) -> pl.DataFrame:
    """Return cell-eval's columns of one context.

    Args:
        pred: Predicted side.
        real: Real side, perturbations in the same order.
        nearness: Ranks of the changes, each side's own controls subtracted.

    Returns:
        P rows of float64, NaN or null where cell-eval has it.
    """
    parts = [_by_itself(pred.part(rows), real.part(rows)) for rows in row_parts(*real.means.shape)]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    columns |= {f"discrimination_score_{kind}": ranks.mean_score for kind, ranks in nearness.without_own.items()}
    numbers = (columns[f"de_nsig_counts_{side}"] for side in ("pred", "real"))
    columns["de_spearman_sig"] = np.full(len(real.means), _spearman_of_counts(*numbers))
    # polars counts NaN as a value: one of them makes the mean over perturbations NaN.
    return pl.DataFrame(columns).with_columns(pl.when(pl.col("de_nsig_counts_real") > 0).then(pl.col(_OF_SIGNIFICANT)))


def _by_itself(pred: CellEvalInput, real: CellEvalInput) -> dict[str, np.ndarray]:
    """Return the columns in which a perturbation is scored without the others."""
    return {**_of_means(pred, real), **_of_tops(pred, real), **_of_tests(pred, real)}


def _of_means(pred: CellEvalInput, real: CellEvalInput) -> dict[str, np.ndarray]:
    return {
        "pearson_delta": formulas.pearson_delta(pred.changes, real.changes),
        "mse": formulas.mse(pred.rounded_means, real.rounded_means),
        "mae": formulas.mae(pred.rounded_means, real.rounded_means),
        "mse_delta": formulas.mse(pred.changes, real.changes),
        "mae_delta": formulas.mae(pred.changes, real.changes),
    }


def _of_tops(pred: CellEvalInput, real: CellEvalInput) -> dict[str, np.ndarray]:
    """Return overlaps and precisions; 0, not NaN, where nothing is significant."""
    found = {}
    for name, side in (("overlap", real), ("precision", pred)):
        num = side.genes.significant.sum(axis=1)
        for most in (None, *_TOP):
            k = num if most is None else np.minimum(num, most)
            found[f"{name}_at_{most or 'N'}"] = formulas.shared_top(pred.places, real.places, k) / np.maximum(k, 1)
    return found


def _of_tests(pred: CellEvalInput, real: CellEvalInput) -> dict[str, np.ndarray]:
    truly, supposedly = real.genes.significant, pred.genes.significant
    num_real, num_pred = truly.sum(axis=1), supposedly.sum(axis=1)
    same = truly & (np.sign(pred.genes.log_fc) == np.sign(real.genes.log_fc))
    folds = [side.fold_change.astype(np.float32) for side in (pred, real)]
    with np.errstate(invalid="ignore"):
        return {
            "de_direction_match": same.sum(axis=1) / num_real,
            "de_spearman_lfc_sig": formulas.masked_spearman(folds[0], folds[1], truly),
            "de_sig_genes_recall": (truly & supposedly).sum(axis=1) / num_real,
            "de_nsig_counts_real": num_real.astype(np.float64),
            "de_nsig_counts_pred": num_pred.astype(np.float64),
            "pr_auc": formulas.precision_recall_area(pred.order, truly),
            "roc_auc": formulas.roc_area(pred.order, truly),
        }


def _spearman_of_counts(pred: Float[np.ndarray, " P"], real: Float[np.ndarray, " P"]) -> float:
    """Correlate numbers of significant genes over the perturbations that have any in real cells; 1 without one."""
    some: Bool[np.ndarray, " P"] = real > 0
    if not some.any():
        return 1.0
    ranks = (stats.rankdata(side[some])[None] for side in (pred, real))
    return float(formulas.pearson_delta(*ranks)[0])
