# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Changes of all genes in one (cell type, perturbation): what the page's figures and those of a notebook draw."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from bionemo.scale.eval.metrics.formulas import FDR
from bionemo.scale.types import Z_OF_INTERVAL


@dataclass(frozen=True, kw_only=True)
class GeneChanges:
    """Changes of mean log1p expression from the controls, gene by gene."""

    model: str
    """Who predicted them; empty where only one did."""
    context: str
    """Cell type."""
    perturbation: str
    genes: tuple[str, ...]
    pred: np.ndarray
    """[G]."""
    real: np.ndarray | None = None
    """[G]; ``None`` where nothing was measured."""
    fdr: np.ndarray | None = None
    """[G], adjusted p-values of the measured changes."""
    sd: np.ndarray | None = None
    """[G], standard deviation of the prediction; ``None`` where it does not say."""
    error: np.ndarray | None = None
    """[G], standard error of the measured change."""
    low: np.ndarray | None = None
    """[G], lower end of the 90 % interval of the prediction."""
    high: np.ndarray | None = None
    """[G], its upper end."""

    @property
    def significant(self) -> np.ndarray:
        """[G] bool: whether the measured cells differ from the controls."""
        return np.zeros(len(self.genes), dtype=bool) if self.fdr is None else self.fdr < FDR


def changes_of(frame: pl.DataFrame) -> GeneChanges:
    """Return one pair of the gene table of an evaluation (``genes.parquet``), of one model."""
    arrays = {
        name: frame[name].cast(pl.Float64).to_numpy()
        for name in ("pred", "real", "fdr_real", "sd_pred", "error_real")
        if name in frame
    }
    # Scores of earlier releases do not have them, and models that do not say it have NaN.
    known = {name: values for name, values in arrays.items() if np.isfinite(values).all()}
    pred, sd = arrays["pred"], known.get("sd_pred")
    reach = None if sd is None else Z_OF_INTERVAL * sd
    model, context, perturbation = (str(frame[name][0]) for name in ("model", "context", "perturbation"))
    return GeneChanges(
        model=model,
        context=context,
        perturbation=perturbation,
        genes=tuple(frame["gene"].to_list()),
        pred=pred,
        real=arrays["real"],
        fdr=arrays["fdr_real"],
        sd=sd,
        error=known.get("error_real"),
        low=None if reach is None else pred - reach,
        high=None if reach is None else pred + reach,
    )


def strongest_pairs(genes: pl.DataFrame) -> list[tuple[str, str]]:
    """Return the (cell type, perturbation) pairs of a gene table by the size of the measured change, largest first."""
    keys = ["context", "perturbation"]
    sizes = genes.group_by(keys, maintain_order=True).agg(effect=(pl.col("real").cast(pl.Float64) ** 2).sum())
    return list(sizes.sort("effect", descending=True, maintain_order=True).select(keys).iter_rows())
