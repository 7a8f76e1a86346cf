# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Which gene sets move: predicted and observed changes of mean expression scored by decoupler, side by side.

decoupler's univariate linear model is fitted for each condition and set over all G genes,
``change_g = a + b member_g + e_g``; the score is the t value of b, positive where the genes of the set go up against
all others. Its test takes genes as independent. Genes of a set are correlated, so p-values are too small; scores of
two sides are compared on one footing all the same.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl

from bionemo.scale.eval.metrics.formulas import FDR, MIN_EFFECT
from bionemo.scale.files.gene_sets import read_gene_sets
from bionemo.scale.files.provenance import version_of
from bionemo.scale.files.suggest import some
from bionemo.scale.types import InputError


FEWEST = 5
"""Genes of a set among those of the file, without which it is left out; decoupler's own default."""
_LEAST_SETS = 3
"""Sets without which scores are not correlated."""


@dataclass(frozen=True, kw_only=True)
class GeneSets:
    """Sets with enough genes among those of the files that are scored."""

    genes: tuple[str, ...]
    """All G genes, in the order of the changes."""
    members: dict[str, tuple[str, ...]]
    """The S sets with their genes among these."""
    note: str
    """What was read, in a line."""

    @property
    def names(self) -> list[str]:
        """The S sets in the order of the scores."""
        return list(self.members)


@dataclass(frozen=True, kw_only=True)
class Enrichment:
    """Scores of the sets under P conditions."""

    scores: np.ndarray
    """[P, S] float64; NaN of a condition without any change."""
    fdr: np.ndarray
    """[P, S] float64, p-values adjusted over the sets of a condition (Benjamini-Hochberg)."""


def open_gene_sets(path: Path, genes: tuple[str, ...]) -> GeneSets:
    """Read gene sets for the genes of the files that are scored.

    Args:
        path: .gmt file.
        genes: All genes of these files.

    Raises:
        InputError: decoupler is not installed, the file is no such file, or no set has enough of the genes.
    """
    if importlib.util.find_spec("decoupler") is None:
        raise InputError("--gene-sets needs decoupler; pip install 'bionemo-scale[gene-sets]'")
    given, known = read_gene_sets(path), set(genes)
    there = {name: tuple(gene for gene in members if gene in known) for name, members in given.items()}
    members = {name: found for name, found in there.items() if FEWEST <= len(found) < len(genes)}
    if not members:
        best = max(there, key=lambda name: len(there[name]))
        raise InputError(
            f"{path}: expected a set with at least {FEWEST} of the {len(genes)} genes that are scored, found at most "
            f"{len(there[best])} (in {best!r}); are genes named as in the file, {some(genes)}?"
        )
    note = f"{path.name}: {len(members)} of {len(given)} sets have at least {FEWEST} of the genes that are scored"
    return GeneSets(genes=genes, members=members, note=f"{note}; scored by decoupler {version_of('decoupler')}")


def enrich(changes: np.ndarray, sets: GeneSets) -> Enrichment:
    """Score the sets under each condition.

    Args:
        changes: [P, G] change of mean expression.
        sets: Of the same genes.
    """
    # Late: it imports numba.
    from decoupler import mt

    shape = (len(changes), len(sets.members))
    scores, fdr = np.full(shape, np.nan), np.full(shape, np.nan)
    moved = np.flatnonzero((np.abs(changes).max(axis=1) >= MIN_EFFECT) & (np.ptp(changes, axis=1) > 0))
    if len(moved):
        data = pd.DataFrame(changes[moved], index=moved.astype(str), columns=list(sets.genes))
        pairs = [(name, gene) for name, members in sets.members.items() for gene in members]
        net = pd.DataFrame(pairs, columns=["source", "target"])
        # Genes without any change count on one side as they do on the other.
        found = mt.ulm(data, net, tmin=FEWEST, empty=False)
        scores[moved], fdr[moved] = (each.loc[data.index, sets.names].to_numpy(np.float64) for each in found)
    return Enrichment(scores=scores, fdr=fdr)


def compare(pred: Enrichment, real: Enrichment) -> dict[str, np.ndarray]:
    """Compare two sides; see ``GENE_SETS`` of :mod:`bionemo.scale.eval.metrics.catalogue`.

    Returns:
        Column to [P] float64, NaN where it has no value.
    """
    found = {name: np.full(len(real.scores), np.nan) for name in ("sets_real", "sets_correlation", "sets_direction")}
    for row, (predicted, observed, fdr) in enumerate(zip(pred.scores, real.scores, real.fdr, strict=True)):
        moves = fdr < FDR
        found["sets_real"][row] = moves.sum() if np.isfinite(observed).all() else np.nan
        if not (np.isfinite(predicted).all() and np.isfinite(observed).all()):
            continue
        if len(predicted) >= _LEAST_SETS and np.ptp(predicted) > 0 and np.ptp(observed) > 0:
            found["sets_correlation"][row] = np.corrcoef(predicted, observed)[0, 1]
        if moves.any():
            found["sets_direction"][row] = (np.sign(predicted) == np.sign(observed))[moves].mean()
    return found


def set_table(
    sets: GeneSets, names: list[str], *, pred: Enrichment, real: Enrichment, model: str, context: str
) -> pl.DataFrame:
    """Return one row for each perturbation and set: scores and adjusted p-values of both sides.

    Args:
        sets: That were scored.
        names: The P perturbations.
        pred: Of the prediction.
        real: Of the measured cells.
        model: Name of the prediction.
        context: Cell type.
    """
    titles, num = sets.names, len(names)
    same = np.sign(pred.scores) == np.sign(real.scores)
    has_both = pl.all_horizontal(pl.col("score_pred", "score_real").is_not_null())
    values = {"score_pred": pred.scores, "score_real": real.scores, "fdr_pred": pred.fdr, "fdr_real": real.fdr}
    return pl.DataFrame(
        {
            "model": [model] * (num * len(titles)),
            "context": [context] * (num * len(titles)),
            "perturbation": [name for name in names for _ in titles],
            "gene_set": titles * num,
            "num_genes": [len(sets.members[title]) for title in titles] * num,
            **{name: pl.Series(table.reshape(-1)).fill_nan(None) for name, table in values.items()},
            "same_direction": pl.Series(same.reshape(-1)),
        }
    ).with_columns(pl.when(has_both).then(pl.col("same_direction")))
