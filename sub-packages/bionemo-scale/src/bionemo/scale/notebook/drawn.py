# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a figure of a notebook is of: scores or predictions, and one (cell type, perturbation) of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Union, cast

import polars as pl

from bionemo.scale.eval.evaluate import Evaluation
from bionemo.scale.eval.page.gene_changes import GeneChanges, changes_of, strongest_pairs
from bionemo.scale.eval.page.prediction import Prediction, read_prediction
from bionemo.scale.eval.page.sources import ScoreFiles, find_scores
from bionemo.scale.files.suggest import suggest
from bionemo.scale.notebook.cells import CellsLike, PathLike, given_files, is_anndata
from bionemo.scale.types import InputError


if TYPE_CHECKING:
    import anndata

Drawn = Union[Evaluation, PathLike, "anndata.AnnData"]
"""Scores (what ``evaluate`` returns, or its folder), or predictions (AnnData, or their h5ad)."""


def scores_of(found: "Drawn") -> ScoreFiles:
    """Read the scores that a figure is of.

    Raises:
        InputError: There are none.
    """
    if is_anndata(found):
        raise InputError("expected what api.evaluate returns, or its folder, found an AnnData object")
    path = found.out if isinstance(found, Evaluation) else Path(cast(PathLike, found))
    return find_scores(path, None)


def changes(found: "Drawn", *, model: str | None, context: str | None, perturbation: str | None) -> GeneChanges:
    """Return the genes of one pair; by default that with the largest change.

    Args:
        found: Scores or predictions.
        model: Name of a model, if several were scored; ``None`` is the first.
        context: Cell type; ``None`` is any.
        perturbation: ``None`` is any.

    Raises:
        InputError: There is no such model or pair.
    """
    if is_anndata(found):
        with given_files() as files:
            path = files.path(cast(CellsLike, found), "prediction", matrix="", columns=())
            return _of_prediction(read_prediction(path), model, context, perturbation=perturbation)
    if not isinstance(found, Evaluation) and Path(cast(PathLike, found)).is_file():
        return _of_prediction(read_prediction(Path(cast(PathLike, found))), model, context, perturbation=perturbation)
    return _of_scores(scores_of(found).genes, model, context, perturbation=perturbation)


def _of_scores(
    genes: pl.DataFrame, model: str | None, context: str | None, *, perturbation: str | None
) -> GeneChanges:
    models = genes["model"].unique(maintain_order=True).to_list()
    chosen = models[0] if model is None else _known(model, models, "model")
    own = genes.filter(pl.col("model") == chosen)
    pair = chosen_pair(strongest_pairs(own), context, perturbation)
    return changes_of(own.filter((pl.col("context") == pair[0]) & (pl.col("perturbation") == pair[1])))


def _of_prediction(
    found: Prediction, model: str | None, context: str | None, *, perturbation: str | None
) -> GeneChanges:
    if model is not None:
        raise InputError(f"model {model!r}: a prediction is of one model; scores may be of several")
    labels = found.table[["cell_type", "perturbation"]].astype(str)
    rows = {tuple(labels.iloc[row]): row for row in found.strongest_first.tolist()}
    return found.changes(rows[chosen_pair(list(rows), context, perturbation)])


def chosen_pair(pairs: Sequence[tuple[str, str]], context: str | None, perturbation: str | None) -> tuple[str, str]:
    """Return the first pair with the labels that are asked for.

    Args:
        pairs: All that there are.
        context: Cell type; ``None`` is any.
        perturbation: ``None`` is any.

    Raises:
        InputError: There is no such pair.
    """
    if context is not None:
        _known(context, [pair[0] for pair in pairs], "context")
    if perturbation is not None:
        _known(perturbation, [pair[1] for pair in pairs], "perturbation")
    for pair in pairs:
        if context in (None, pair[0]) and perturbation in (None, pair[1]):
            return pair
    raise InputError(f"no pair of context {context!r} and perturbation {perturbation!r} is here")


def _known(name: str, names: Sequence[str], what: str) -> str:
    if name not in names:
        raise InputError(f"{what} {name!r} is not here; {suggest(name, names)}")
    return name
