# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Cells of a notebook: what of them a file can hold, and what predicted cells keep of them."""

from collections.abc import Iterable, Mapping
from typing import Any

import anndata
import numpy as np
import pandas as pd

from bionemo.scale.files.anndata.label_column import columns_of
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


def plain_cells(
    adata: anndata.AnnData, columns: Iterable[str | None], *, matrix: str, gene_key: str | None
) -> anndata.AnnData:
    """Return the part of some cells that a prediction reads, as any version of AnnData can write it.

    Args:
        adata: The cells; they stay as they are.
        columns: obs columns; those that are not there are left out.
        matrix: Of :func:`matrix_of`.
        gene_key: var column with the gene names.
    """
    slot, _, name = matrix.partition("/")
    note = adata.uns.get("log1p")
    # Of uns nothing else is asked for, and it may hold what no file can.
    uns = {"log1p": {"base": note.get("base")}} if isinstance(note, Mapping) else {}
    small = anndata.AnnData(
        X=adata.X if slot == "X" else None,
        obs=_plain(adata.obs, columns),
        var=_plain(adata.var, (gene_key, "highly_variable")),
        layers={name: adata.layers[name]} if slot == "layers" else None,
        obsm={name: np.asarray(adata.obsm[name])} if slot == "obsm" else None,
        uns={**uns, **{key: adata.uns[key] for key in ("hvg_names",) if key in adata.uns}},
    )
    if slot == "raw":
        small.raw = anndata.AnnData(X=adata.raw.X, var=_plain(adata.raw.var, (gene_key,)), obs=small.obs[[]])
    return small


def keep_obs(predicted: pd.DataFrame, obs: pd.DataFrame) -> pd.DataFrame:
    """Return the labels of predicted cells and beside them the other columns of the control cell that each began as.

    Where cells of one name cannot be told apart there are the labels alone.
    """
    names = pd.Index(np.asarray(obs.index, dtype=object).astype(str))
    if not names.is_unique:
        return predicted
    others = _plain(obs, [name for name in obs.columns if name not in predicted.columns])
    rows = others.iloc[names.get_indexer(predicted["control_cell"].astype(str))]
    return pd.concat([predicted, rows.set_axis(predicted.index)], axis=1)


def keep_var(genes: tuple[str, ...], adata: anndata.AnnData, *, matrix: str, gene_key: str | None) -> pd.DataFrame:
    """Return what the cells say of the model's genes, in the model's order."""
    if matrix.startswith("obsm/"):
        return pd.DataFrame(index=list(genes))
    var = adata.raw.var if matrix == "raw/X" else adata.var
    names = var.index if gene_key not in var.columns else var[gene_key]
    rows = pd.Index(np.asarray(names, dtype=object).astype(str)).get_indexer(list(genes))
    return _plain(var, var.columns).iloc[rows].set_axis(list(genes))


def _plain(frame: pd.DataFrame, columns: Iterable[str | None]) -> pd.DataFrame:
    """Return some columns of a frame; text of pandas' own types as categories, which every AnnData writes."""
    known = list(frame.columns)
    named = [part for name in columns if name is not None for part in columns_of(name, known)]
    chosen = [name for name in dict.fromkeys(named) if name in known]
    index = pd.Index(np.asarray(frame.index, dtype=object).astype(str), dtype=object)
    return pd.DataFrame({name: _plain_column(frame[name]) for name in chosen}, index=index)


def _plain_column(column: pd.Series) -> Any:
    values = column.array
    text = values.categories if isinstance(values, pd.Categorical) else values
    if not isinstance(text.dtype, pd.StringDtype):
        return values
    codes, names = pd.factorize(np.asarray(values, dtype=object))
    return pd.Categorical.from_codes(codes, categories=pd.Index(names, dtype=object))
