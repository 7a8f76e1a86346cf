# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Cells of a notebook: where their expression is, and what predicted cells keep of them."""

import anndata
import numpy as np
import pandas as pd

from bionemo.scale.files.anndata.plain_anndata import plain_columns
from bionemo.scale.files.suggest import suggest
from bionemo.scale.infer.controls.control_cells import check_has_matrix
from bionemo.scale.types import DataCard, InputError


def matrix_of(adata: anndata.AnnData, card: DataCard, asked: str | None) -> str:
    """Return where the expression of some cells is.

    Args:
        adata: The cells.
        card: Says where the training data had it, which is where it must be if the user does not say.
        asked: Where the user says it is.

    Raises:
        InputError: It is not there.
    """
    slot, _, name = (asked or card.matrix).partition("/")
    known = {"layers": list(adata.layers), "obsm": list(adata.obsm), "raw": ["X"] if adata.raw is not None else []}
    if not name or name in known.get(slot, ()):
        return asked or card.matrix
    if asked is None:
        check_has_matrix(card, known.get(slot, ()), source="adata")
    raise InputError(f"adata: no {slot} {name!r}; {suggest(name, known.get(slot, ()))}")


def keep_obs(predicted: pd.DataFrame, obs: pd.DataFrame) -> pd.DataFrame:
    """Return the labels of predicted cells and beside them the other columns of the control cell that each began as.

    Where cells of one name cannot be told apart there are the labels alone.
    """
    names = pd.Index(np.asarray(obs.index, dtype=object).astype(str))
    if not names.is_unique:
        return predicted
    others = plain_columns(obs, [name for name in obs.columns if name not in predicted.columns])
    rows = others.iloc[names.get_indexer(predicted["control_cell"].astype(str))]
    return pd.concat([predicted, rows.set_axis(predicted.index)], axis=1)


def keep_var(genes: tuple[str, ...], adata: anndata.AnnData, *, matrix: str, gene_key: str | None) -> pd.DataFrame:
    """Return what the cells say of the model's genes, in the model's order."""
    if matrix.startswith("obsm/"):
        return pd.DataFrame(index=list(genes))
    var = adata.raw.var if matrix == "raw/X" else adata.var
    names = var.index if gene_key not in var.columns else var[gene_key]
    rows = pd.Index(np.asarray(names, dtype=object).astype(str)).get_indexer(list(genes))
    return plain_columns(var, var.columns).iloc[rows].set_axis(list(genes))
