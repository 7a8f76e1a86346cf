# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Differential expression of replicates: counts are summed over the cells of each, and DESeq2 compares the sums.

Cells of one donor or plate are no independent samples, so tests between cells find more than replicates bear out. The
tests are pydeseq2's; here are the sums and what both sides have in common.
"""

import importlib.util
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import polars as pl
from scipy import sparse, stats

from bionemo.scale.eval.metrics.formulas import FDR
from bionemo.scale.types import InputError


FEWEST = 2
"""Replicates of each perturbation without which nothing can be tested."""
FEW = 2
"""So few replicates leave next to nothing to estimate dispersions from."""
_LEAST_COUNTS = 10
"""Genes with fewer counts over all samples are not tested."""


@dataclass(frozen=True, kw_only=True)
class ReplicateTests:
    """Tests of the P perturbations of one side of one context."""

    fdr: np.ndarray
    """[P, G] float64, adjusted within a perturbation; 1 where a gene was not tested."""
    log_fc: np.ndarray
    """[P, G] float64, log2; NaN where a gene was not tested."""

    def frame(self, names: Iterable[str], genes: tuple[str, ...]) -> pl.DataFrame:
        """Return one row per perturbation and gene: ``target``, ``feature``, ``log2_fold_change`` and ``fdr``."""
        targets = [name for name in names for _ in genes]
        return pl.DataFrame(
            {
                "target": targets,
                "feature": [*genes] * len(self.fdr),
                "log2_fold_change": pl.Series(self.log_fc.reshape(-1)).fill_nan(None),
                "fdr": self.fdr.reshape(-1),
            }
        )


def check_pydeseq2() -> None:
    """Refuse tests of replicates where pydeseq2 is not installed.

    Raises:
        InputError: Saying how to get it.
    """
    if importlib.util.find_spec("pydeseq2") is None:
        raise InputError("--de pydeseq2 needs pydeseq2; pip install 'bionemo-scale[de]'")


def check_replicates(labels: np.ndarray, replicate: np.ndarray, *, where: str) -> str | None:
    """Refuse perturbations with a single replicate.

    Args:
        labels: [cells] perturbation, the controls' included.
        replicate: [cells] labels.
        where: What a refusal names.

    Returns:
        A warning where one has only two.

    Raises:
        InputError: One has fewer than two.
    """
    numbers = pd.Series(replicate).groupby(labels).nunique()
    fewest = str(numbers.idxmin())
    if numbers.min() < FEWEST:
        raise InputError(
            f"{where}: --de pydeseq2 needs at least {FEWEST} replicates of each perturbation and of the controls, "
            f"found {numbers.min()} of {fewest!r}"
        )
    if numbers.min() > FEW:
        return None
    return f"{where}: {fewest!r} has two replicates; DESeq2 finds little with so few, at uncertain dispersions"


def replicate_tests(
    counts: sparse.csr_matrix, labels: np.ndarray, replicate: np.ndarray, *, names: list[str], control: str
) -> ReplicateTests:
    """Test each perturbation against the controls, one model for all.

    The model is ``~ replicate + perturbation`` where every replicate has controls, else ``~ perturbation``.

    Args:
        counts: [cells, G] whole numbers.
        labels: [cells] perturbation.
        replicate: [cells] donor, plate or culture.
        names: The P perturbations.
        control: Label of the controls.
    """
    table, samples = _sums(counts, labels, replicate)
    tested = np.flatnonzero(table.sum(axis=0) >= _LEAST_COUNTS)
    fdr, log_fc = np.ones((len(names), table.shape[1])), np.full((len(names), table.shape[1]), np.nan)
    for row, (p_values, changes) in enumerate(_deseq2(table[:, tested], samples, names=names, control=control)):
        fdr[row, tested], log_fc[row, tested] = p_values, changes
    return ReplicateTests(fdr=fdr, log_fc=log_fc)


def _sums(counts: sparse.csr_matrix, labels: np.ndarray, replicate: np.ndarray) -> tuple[np.ndarray, pd.DataFrame]:
    """Return the summed counts of each (perturbation, replicate), [samples, G], and what the samples are."""
    pairs = pd.DataFrame({"condition": labels.astype(str), "replicate": replicate.astype(str)})
    samples, codes = pairs.drop_duplicates(ignore_index=True), pairs.groupby(["condition", "replicate"], sort=False)
    members = sparse.csr_matrix((np.ones(len(pairs)), (codes.ngroup().to_numpy(), np.arange(len(pairs)))))
    return np.rint((members @ counts.astype(np.float64)).toarray()).astype(np.int64), samples


def _deseq2(
    table: np.ndarray, samples: pd.DataFrame, *, names: list[str], control: str
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return adjusted p-values and log2 fold changes of each perturbation, [genes]."""
    from pydeseq2.dds import DeseqDataSet
    from pydeseq2.default_inference import DefaultInference
    from pydeseq2.ds import DeseqStats

    # Names that a formula reads as they are, whatever the labels.
    known = {name: f"p{index}" for index, name in enumerate([control, *names])}
    donors = {name: f"r{index}" for index, name in enumerate(samples["replicate"].unique())}
    metadata = pd.DataFrame(
        {"condition": samples["condition"].map(known), "replicate": samples["replicate"].map(donors)}
    ).set_index(pd.Index([f"s{index}" for index in range(len(samples))]))
    paired = set(metadata.loc[metadata["condition"] == "p0", "replicate"]) == set(metadata["replicate"])
    counts = pd.DataFrame(table, index=metadata.index, columns=[f"g{index}" for index in range(table.shape[1])])
    inference = DefaultInference(n_cpus=1)
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = DeseqDataSet(
            counts=counts,
            metadata=metadata,
            design="~replicate + condition" if paired else "~condition",
            refit_cooks=False,
            inference=inference,
            quiet=True,
        )
        data.deseq2()
        for name in names:
            test = DeseqStats(data, contrast=["condition", known[name], "p0"], inference=inference, quiet=True)
            test.summary()
            results = test.results_df
            found.append((results["padj"].fillna(1.0).to_numpy(), results["log2FoldChange"].to_numpy()))
    return found


def compare_tests(pred: ReplicateTests, real: ReplicateTests, *, cell_fdr: np.ndarray) -> Mapping[str, np.ndarray]:
    """Return what two sides have in common, column to [P]; NaN where there is no value.

    Args:
        pred: Of the predicted side.
        real: Of the real side.
        cell_fdr: [P, G] adjusted p-values of the real side's tests between cells.
    """
    found, observed, by_cells = pred.fdr < FDR, real.fdr < FDR, cell_fdr < FDR
    with np.errstate(invalid="ignore"):
        return {
            "deseq2_nsig_real": observed.sum(axis=1).astype(float),
            "deseq2_nsig_pred": found.sum(axis=1).astype(float),
            "deseq2_recall": (found & observed).sum(axis=1) / observed.sum(axis=1),
            "deseq2_precision": (found & observed).sum(axis=1) / found.sum(axis=1),
            "deseq2_direction": (observed & (np.sign(pred.log_fc) == np.sign(real.log_fc))).sum(axis=1)
            / observed.sum(axis=1),
            "deseq2_lfc_spearman": _spearman(pred.log_fc, real.log_fc, observed),
            "deseq2_confirms": (by_cells & observed).sum(axis=1) / by_cells.sum(axis=1),
        }


def _spearman(pred: np.ndarray, real: np.ndarray, genes: np.ndarray) -> np.ndarray:
    scores = np.full(len(genes), np.nan)
    for row, chosen in enumerate(genes & np.isfinite(pred) & np.isfinite(real)):
        values = pred[row, chosen], real[row, chosen]
        if chosen.sum() > 1 and all(np.ptp(side) > 0 for side in values):
            scores[row] = stats.spearmanr(*values).statistic
    return scores
