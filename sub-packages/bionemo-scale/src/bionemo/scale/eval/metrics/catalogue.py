# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What every column of the results means: the one place that tables, summary, report and documentation read.

The paper's appendix A and cell-eval 0.6.6 share names and differ in formulas. A metric of the paper stands here with
the answer to "does cell-eval compute the same number?"; where it does not, the paper's formula has a column of its
own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from bionemo.scale.eval.cell_eval.challenge import DIRECTION, PREFIX, REACH
from bionemo.scale.eval.metrics import spread, unseen


EXPRESSED_COVERAGE = "coverage_expressed"
"""Column of how often intervals hold the truth: of the genes that controls express. A gene that no cell has is always
inside. Which genes they are must not depend on the cells that are judged, or those count that happened to be high."""

Best = Literal["high", "low", "one", "none"]
Source = Literal["cell-eval", "cell-eval2", "paper", "ours"]
Reads = Literal["means", "tests", "cells", "training"]


@runtime_checkable
class Side(Protocol):
    """What a metric can read of one side of a comparison: the P perturbations of one context and their controls."""

    @property
    def rows(self) -> dict[str, np.ndarray]:
        """The P perturbations with their rows in ``cells``."""

    @property
    def cells(self) -> np.ndarray:
        """[perturbed cells, G] float32 log1p."""

    @property
    def means(self) -> np.ndarray:
        """[P, G] float64, mean expression of each perturbation."""

    @property
    def control_mean(self) -> np.ndarray:
        """[G] float64, mean expression of the controls, log1p."""

    @property
    def changes(self) -> np.ndarray:
        """[P, G] float64, mean expression minus that of the controls."""

    @property
    def weights(self) -> np.ndarray:
        """[P, G] float64 of :func:`bionemo.scale.eval.metrics.unseen.gene_weights`."""

    @property
    def targets(self) -> np.ndarray:
        """[G] bool, genes that a perturbation of the evaluation targets."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A column of the results."""

    column: str
    formula: str
    """One line of text."""
    best: Best
    """Which value is best: the highest, the lowest, the one nearest to 1; ``none`` for what is not ranked."""
    source: Source
    """Whose formula it is: cell-eval or cell-eval2 computes it, appendix A writes it, or none of them."""
    reads: Reads
    """What of the predicted side it reads: mean expression, tests between cells, cells themselves, or mean expression
    beside the training data's. A constant prediction is not ranked in tests and cells."""
    title: str = ""
    """Name in tables; empty where that is the column's."""
    digits: int = 3
    """Decimals in tables."""
    chance: str = ""
    """Column with the value that a guess gets; what is not above it is not marked as the best."""
    optional: bool = False
    """Whether most rows have no value, which is then no news: the column is shown where some row has one."""
    perfect: float | None = None
    """Value of two samples of one population, where an estimate can be better than that."""
    compute: Callable[[Side, Side], np.ndarray] | None = None
    """From the predicted and the real side to [P] float64, NaN where there is no value; ``None`` for metrics of
    cell-eval and for those that are computed together (:mod:`bionemo.scale.eval.scores.prediction_scores`)."""

    @property
    def cell_eval(self) -> bool:
        """Whether cell-eval computes this column."""
        return self.source == "cell-eval"

    @property
    def name(self) -> str:
        """Return what tables call it."""
        return self.title or self.column


@dataclass(frozen=True, kw_only=True)
class PaperMetric:
    """A metric of appendix A, its columns as the paper writes it and as cell-eval computes it."""

    name: str
    column: str
    """Computed as the paper writes it, from :mod:`bionemo.scale.eval.metrics.formulas`."""
    equation: str
    cell_eval: str | None
    """cell-eval's column; ``None`` where it has none."""
    equals_cell_eval: bool
    """Whether both are one number (to 1e-6) with the real controls on both sides."""
    because: str
    """Why not; or, where they are equal, the exceptions."""


_PANEL = "cell-eval leaves the perturbed gene itself out where the panel has it, and ranks ties by order"
_FOLD = "cell-eval ranks by the ratio of expm1(mean log1p), 20 or 1/20 where a mean is 0, and says 0 for k = 0"
_ZERO = (
    "adjusted p-values below 1e-45 are 0 in cell-eval's float32, which it raises to 1e-10: the most significant genes "
    "are ranked below others"
)

PAPER_METRICS = (
    PaperMetric(
        name="R2",
        column="r2",
        equation="1 - sum_g (y - y_hat)^2 / sum_g (y - mean y)^2, y the mean expression of a gene",
        cell_eval=None,
        equals_cell_eval=False,
        because="cell-eval has no R2; genes are the points, as CellFlow takes them (the paper names no index)",
    ),
    PaperMetric(
        name="PDS_L1",
        column="paper_pds_l1",
        equation="1 - r / M, r real changes nearer in L1 than the own one, M perturbations of the context",
        cell_eval="discrimination_score_l1",
        equals_cell_eval=True,
        because=_PANEL,
    ),
    PaperMetric(
        name="PDS_L2",
        column="paper_pds_l2",
        equation="the same in L2",
        cell_eval="discrimination_score_l2",
        equals_cell_eval=True,
        because=_PANEL,
    ),
    PaperMetric(
        name="PDS_cos",
        column="paper_pds_cosine",
        equation="the same in cosine distance",
        cell_eval="discrimination_score_cosine",
        equals_cell_eval=True,
        because=_PANEL,
    ),
    PaperMetric(
        name="PDCorr",
        column="paper_pdcorr",
        equation="Pearson correlation over genes of predicted and real change",
        cell_eval="pearson_delta",
        equals_cell_eval=True,
        because="with the control policy predicted, cell-eval subtracts the predicted controls, eq. 42 the real ones",
    ),
    PaperMetric(
        name="MAE",
        column="paper_mae",
        equation="sum_g |predicted - real change|",
        cell_eval="mae",
        equals_cell_eval=False,
        because="appendix A writes a norm, a sum over genes; cell-eval takes the mean over genes",
    ),
    PaperMetric(
        name="MSE",
        column="paper_mse",
        equation="sum_g (predicted - real change)^2",
        cell_eval="mse",
        equals_cell_eval=False,
        because="appendix A writes a squared norm, a sum over genes; cell-eval takes the mean over genes",
    ),
    PaperMetric(
        name="DEOver",
        column="paper_deover",
        equation="|G^k and P^k| / k, top k significant genes by |log2 fold change| of each side, k = |G^DE|",
        cell_eval="overlap_at_N",
        equals_cell_eval=False,
        because=_FOLD,
    ),
    PaperMetric(
        name="DEPrec",
        column="paper_deprec",
        equation="|G^k and P^k| / |P^k|, k = |P^DE|",
        cell_eval="precision_at_N",
        equals_cell_eval=False,
        because=_FOLD,
    ),
    PaperMetric(
        name="DirAgr",
        column="paper_diragr",
        equation="share of genes significant on both sides that change in one direction",
        cell_eval="de_direction_match",
        equals_cell_eval=False,
        because="cell-eval takes all significant real genes, whether or not they are significant in the prediction",
    ),
    PaperMetric(
        name="LFCspear",
        column="paper_lfcspear",
        equation="Spearman correlation of log2 fold changes over significant real genes",
        cell_eval="de_spearman_lfc_sig",
        equals_cell_eval=False,
        because="appendix A takes the ratio of mean log1p expression, cell-eval that of expm1 of it",
    ),
    PaperMetric(
        name="AUROC",
        column="paper_auroc",
        equation="area under the ROC curve, significant real genes ranked by predicted adjusted p-value",
        cell_eval="roc_auc",
        equals_cell_eval=True,
        because=_ZERO,
    ),
    PaperMetric(
        name="AUPRC",
        column="paper_auprc",
        equation="area under the precision-recall curve of the same ranking",
        cell_eval="pr_auc",
        equals_cell_eval=True,
        because=_ZERO,
    ),
)

_PSEUDOBULK = ("r2", "paper_pds_l1", "paper_pds_l2", "paper_pds_cosine", "paper_pdcorr", "paper_mae", "paper_mse")
_FOLD_CHANGES = ("paper_lfcspear",)


def _theirs(column: str, formula: str, best: Best = "high", **fields: Any) -> Metric:
    return Metric(**{"source": "cell-eval", "reads": "means", **fields}, column=column, formula=formula, best=best)


def _ours(column: str, formula: str, best: Best = "high", **fields: Any) -> Metric:
    return Metric(source="ours", column=column, formula=formula, best=best, **fields)


def _second(column: str, formula: str, best: Best = "high", **fields: Any) -> Metric:
    return Metric(source="cell-eval2", column=PREFIX + column, formula=formula, best=best, **fields)


def _scaled(column: str, title: str, formula: str) -> Metric:
    return Metric(source="cell-eval2", column=column, title=title, formula=formula, best="high", reads="means")


def _at_k(kind: str) -> tuple[Metric, ...]:
    columns = ((f"{kind}_at_{k}", f"the same as {kind}_at_N with k = {k}") for k in (50, 100, 200, 500))
    return tuple(_theirs(column, formula, reads="tests") for column, formula in columns)


def _paper(metric: PaperMetric) -> Metric:
    return Metric(
        column=metric.column,
        formula=metric.equation,
        best="low" if metric.name in ("MAE", "MSE") else "high",
        source="paper",
        reads="means" if metric.column in (*_PSEUDOBULK, *_FOLD_CHANGES) else "tests",
        title="R2" if metric.name == "R2" else "",
        chance="de_chance" if metric.name in ("DEOver", "DEPrec") else "",
    )


def _sd_ratio(pred: Side, real: Side) -> np.ndarray:
    cells = ((pred.cells[pred.rows[name]], real.cells[rows]) for name, rows in real.rows.items())
    return np.array([spread.sd_ratio(predicted, observed) for predicted, observed in cells])


def _centroid(side: Side) -> np.ndarray:
    """Return the mean of all perturbed cells, [G]."""
    return side.cells.mean(axis=0, dtype=np.float64)


METRICS = [
    _theirs(
        "pearson_delta",
        "Pearson correlation over genes of predicted and real mean change",
        title="PDCorr",
    ),
    _theirs(
        "mse", "mean over genes of the squared error of mean expression", "low",
        title="MSE", digits=5,
    ),
    _theirs(
        "mae", "mean over genes of the absolute error of mean expression", "low",
        title="MAE", digits=4,
    ),
    _theirs("mse_delta", "as mse, each side's controls subtracted", "low"),
    _theirs("mae_delta", "as mae, each side's controls subtracted", "low"),
    _theirs("discrimination_score_l1", "1 - rank / M of the own real change, L1", title="PDS"),
    _theirs("discrimination_score_l2", "1 - rank / M of the own real change, L2"),
    _theirs("discrimination_score_cosine", "1 - rank / M of the own real change, cosine"),
    _theirs(
        "overlap_at_N", "share of the N significant real genes in the predicted top N",
        reads="tests", title="DEOver", chance="de_chance",
    ),
    *_at_k("overlap"),
    _theirs(
        "precision_at_N", "share of the N significant predicted genes in the real top N",
        reads="tests", title="DEPrec", chance="de_chance",
    ),
    *_at_k("precision"),
    _theirs("de_spearman_sig", "Spearman over perturbations of significant counts", reads="tests"),
    _theirs(
        "de_direction_match", "share of significant real genes predicted in that direction",
        title="DirAgr",
    ),
    _theirs(
        "de_spearman_lfc_sig", "Spearman of fold changes of significant real genes",
        title="LFCspear",
    ),
    _theirs("de_sig_genes_recall", "share of significant real genes significant in both", reads="tests"),
    _theirs("de_nsig_counts_real", "significant real genes", "none", reads="tests"),
    _theirs("de_nsig_counts_pred", "significant predicted genes", "none", reads="tests"),
    _theirs("pr_auc", "average precision of significant real genes", reads="tests", title="AUPRC"),
    _theirs(
        "roc_auc", "area under the ROC curve of significant real genes", reads="tests", title="AUROC"
    ),
    *map(_paper, PAPER_METRICS),
    _ours(
        "residual_context", "PDCorr after removing each side's mean over the context",
        reads="means", title="residual (context)",
    ),
    _ours(
        "residual_perturbation", "PDCorr after removing the training mean of the perturbation",
        reads="training", title="residual (perturbation)",
    ),
    _ours("residual_both", "PDCorr after removing both means", reads="training"),
    _ours(
        "centroid_delta",
        "Pearson correlation of predicted and real mean, both less one centroid, that of all real means",
        reads="means", title="Systema", compute=lambda pred, real: unseen.centroid_delta(pred.means, real.means),
    ),
    _ours(
        "centroid_accuracy",
        "share of other perturbations whose real mean is farther from the prediction than its own",
        reads="means", title="centroid accuracy",
    ),
    _ours(
        "pds_panel", "1 - mid-rank / (M - 1) of the own real change, L1, genes that any perturbation targets left out",
        reads="means", title="PDS (no targets)",
    ),
    _ours(
        "weighted_mse", "squared error weighted by how much a gene sets the perturbation apart from the others", "low",
        reads="means", title="weighted MSE", digits=4,
        compute=lambda pred, real: unseen.weighted_mse(pred.means, real.means, real.weights),
    ),
    _ours(
        "weighted_r2", "R2 of changes from the mean of all perturbed cells, with those weights",
        reads="means", title="weighted R2",
        compute=lambda pred, real: unseen.weighted_r2(pred.means, real.means, real.weights, reference=_centroid(real)),
    ),
    _ours(
        "sd_ratio", "median over genes of predicted by observed standard deviation", "one",
        reads="cells", compute=_sd_ratio,
    ),
    _ours(
        "calibration_error", "mean |share of real cells below a predicted quantile - its level|", "low",
        reads="cells", title="calibration",
    ),
    _ours(
        "edistance", "energy distance of predicted and observed cells, unbiased", "low",
        reads="cells", title="E-distance", perfect=0.0,
    ),
    _ours(
        "mmd", "squared MMD of predicted and observed cells, Gaussian kernels, unbiased", "low",
        reads="cells", title="MMD", digits=4, perfect=0.0,
    ),
    _ours(
        "pearson_delta_split",
        "PDCorr with the real controls cut in two: each side subtracts another half, mean of both ways",
        reads="means", title="PDCorr (split controls)",
    ),
    _ours(
        "coverage",
        "share of genes whose observed mean is in the prediction's 90 % interval, the sampling error of both included",
        "none", reads="means", title="in 90 % (all genes)", optional=True,
    ),
    _ours(
        EXPRESSED_COVERAGE,
        f"the same share of the genes that {100 * spread.MIN_DETECTION:.0f} % or more of the real control cells "
        "express",
        "none", reads="means", title="in 90 %", optional=True,
    ),
    _ours(
        "de_chance",
        "overlap_at_N and precision_at_N of genes drawn at random: the smaller number of significant genes / genes",
        "none", reads="tests", title="DEchance",
    ),
]  # fmt: skip
"""Every metric column, in the order of the results."""

SCALED = (
    _scaled("pds_cosine", "PDScos", "rank of the own real change among all, cosine, all target genes left out"),
    _scaled(
        "expr_mse_unbiased_capped_norm", "MSEnorm", "squared error by squared real effect, sampling error removed"
    ),
    _scaled(DIRECTION, "DirYield", "genes of the right direction among those significant on the larger side"),
    _scaled(REACH, "DirReach", "share of real genes down to which 9 of 10 predicted directions are right"),
    _scaled("de_wilcoxon_sig_jaccard", "Jaccard", "Jaccard index of significant genes"),
    _scaled(
        "de_wilcoxon_lfc_nmae", "LFCnmae", "absolute error of fold changes of significant real genes by their size"
    ),
    _scaled("score", "score", "mean of the six"),
)
"""cell-eval2's metrics of the challenge, between mean response, 0, and replicate, 1."""

CELL_EVAL2 = (
    _second("pds_cosine", "1 - rank / (M - 1) of the own real change, cosine, ties share, all target genes left out",
            title="PDScos", reads="means"),
    _second("expr_mse_unbiased", "squared error of summed expression, sampling error of both sides removed", "low",
            reads="means"),
    _second("expr_mse_unbiased_capped", "the same, at most as much removed from the prediction as from the real cells",
            "low", reads="means"),
    _second("expr_distance_unbiased", "squared distance of real perturbed and control expression, sampling error "
            "removed", "none", reads="means"),
    _second(DIRECTION, "genes of the right direction / the larger number of significant genes of both sides",
            title="DirYield", reads="tests"),
    _second(REACH, "share of the significant real genes down to which 9 of 10 predicted directions are right",
            title="DirReach", reads="tests"),
    _second("de_wilcoxon_sig_jaccard", "Jaccard index of significant genes, 1 where both sides have none",
            title="Jaccard", reads="tests"),
    _second("de_wilcoxon_lfc_nmae", "mean |error of the fold change| / mean |fold change| of significant real genes",
            "low", title="LFCnmae", reads="tests"),
    _second("de_wilcoxon_sig_mcc", "Matthews correlation of real and predicted significant genes", title="MCC",
            reads="tests"),
    _second("de_wilcoxon_overlap_adjusted", "the same with as many predicted genes as are significant in real cells",
            title="DEOver adj.", reads="tests"),
    _second("de_wilcoxon_precision_adjusted", "how much likelier predicted genes are significant than others",
            reads="tests"),
    _second("de_wilcoxon_sig_recall_adjusted", "how much likelier a significant real gene is predicted than others",
            reads="tests"),
    _second("cell_cov_corr", "correlation of real and predicted gene-gene correlations of the 100 most changed genes",
            title="CovCorr", reads="cells"),
    _second("cell_cov_eig_ratio", "leading eigenvalue of the predicted by that of the real gene-gene correlations",
            "one", title="CovEig", reads="cells"),
)  # fmt: skip
"""cell-eval2's metrics of each pair, where it was asked; chance is 0 in the four that are corrected for it."""
SECOND_TABLE = tuple(metric for metric in CELL_EVAL2 if metric.title)
"""Columns of their table."""
REPLICATES = (
    _ours("deseq2_nsig_real", "genes that DESeq2 finds in real replicates", "none", reads="tests", title="nReal",
          digits=1),
    _ours("deseq2_nsig_pred", "genes that it finds in predicted replicates", "none", reads="tests", title="nPred",
          digits=1),
    _ours("deseq2_recall", "share of the real ones that are found in the prediction", reads="tests", title="Recall"),
    _ours("deseq2_precision", "share of the predicted ones that are found in real replicates", reads="tests",
          title="Precision"),
    _ours("deseq2_direction", "share of the real ones predicted in that direction", reads="means", title="DirAgr"),
    _ours("deseq2_lfc_spearman", "Spearman of DESeq2's fold changes of the real ones", reads="means",
          title="LFCspear"),
    _ours("deseq2_confirms", "share of the real genes of the tests between cells that replicates confirm", "none",
          reads="tests", title="confirmed"),
)  # fmt: skip
"""Of tests on pseudobulks of replicates, where they were asked for; columns of a table of their own."""
GENE_SETS = (
    _ours("sets_real", "gene sets that move in real cells", "none", reads="means", title="nReal", digits=1),
    _ours("sets_correlation", "Pearson correlation over gene sets of predicted and real score", reads="means",
          title="SetCorr"),
    _ours("sets_direction", "share of the sets that move in real cells predicted in that direction", reads="means",
          title="SetDir"),
)  # fmt: skip
"""Of gene sets, where they were given; columns of a table of their own."""
BY_COLUMN = {metric.column: metric for metric in (*METRICS, *CELL_EVAL2, *REPLICATES, *GENE_SETS)}


def add_metric(metric: Metric) -> None:
    """Add a metric to the results, the summary and the report of this process.

    Raises:
        ValueError: It has nothing that computes it, or its column is taken.
    """
    if metric.compute is None or metric.column in BY_COLUMN:
        raise ValueError(f"{metric.column}: expected a new column and what computes it")
    METRICS.append(metric)
    BY_COLUMN[metric.column] = metric


def extra_metrics() -> tuple[str, ...]:
    """Return the columns that cell-eval does not compute."""
    return tuple(metric.column for metric in METRICS if not metric.cell_eval)


PAPER_NAMES = {metric.name: metric.cell_eval or metric.column for metric in PAPER_METRICS}
"""Name in the paper to the column that tables show under it: cell-eval's where it has one."""

HEADLINE = tuple(
    BY_COLUMN[column]
    for column in (
        "pearson_delta", "mse", "mae", "overlap_at_N", "precision_at_N", "de_chance", "de_spearman_lfc_sig",
        "de_direction_match", "discrimination_score_l1", "sd_ratio",
    )
)  # fmt: skip
"""Columns of every table, those of the paper first."""
FURTHER = tuple(
    BY_COLUMN[column]
    for column in (
        "pearson_delta_split", "residual_context", "residual_perturbation", "r2", "roc_auc", "pr_auc", "edistance",
        "mmd", "calibration_error", "coverage", EXPRESSED_COVERAGE, "centroid_delta", "centroid_accuracy", "pds_panel",
        "weighted_mse", "weighted_r2",
    )
)  # fmt: skip
"""Columns of the report's second table."""


def loss(value: float, best: Best) -> float:
    """Return a number that is the smaller, the better a value is.

    Args:
        value: Of a metric.
        best: Which values of the metric are best.
    """
    return {"high": -value, "low": value, "one": abs(value - 1), "none": 0.0}[best]
