# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""AnnData objects of a notebook: the part of them that any version of AnnData can write."""

from collections.abc import Iterable, Mapping
from typing import Any

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

from bionemo.scale.files.anndata.label_column import columns_of


def plain_anndata(
    adata: anndata.AnnData,
    *,
    matrix: str | None = None,
    columns: Iterable[str | None] | None = None,
    gene_key: str | None = None,
) -> anndata.AnnData:
    """Return the part of some cells that readers ask for; the cells stay as they are.

    Args:
        adata: The cells.
        matrix: The expression to keep: "X", "layers/NAME", "raw/X" or "obsm/NAME"; "" keeps none, ``None`` all.
        columns: obs columns to keep, those that are not there are left out; ``None`` keeps all that a file can hold.
        gene_key: var column to keep.
    """
    if adata.isbacked:
        adata = adata.to_memory()
    slot, _, name = (matrix or "").partition("/")
    every = matrix is None
    small = anndata.AnnData(
        X=adata.X if every or slot == "X" else None,
        obs=plain_columns(adata.obs, _writable(adata.obs) if columns is None else columns),
        var=plain_columns(adata.var, (gene_key, "highly_variable")),
        layers=_arrays(adata.layers, None if every else name if slot == "layers" else ""),
        obsm=_arrays(adata.obsm, None if every else name if slot == "obsm" else ""),
        varm=_arrays(adata.varm, None),
        uns=_notes(adata.uns),
    )
    if adata.raw is not None and (every or slot == "raw"):
        var = plain_columns(adata.raw.var, (gene_key,))
        small.raw = anndata.AnnData(X=adata.raw.X, var=var, obs=small.obs[[]])
    return small


def _arrays(given: Mapping[str, Any], name: str | None) -> dict[str, Any]:
    """Return the arrays of a slot of AnnData: one of them, or all for ``None``."""
    chosen = given.items() if name is None else [(name, given[name])] if name in given else []
    arrays = {key: values.to_numpy() if isinstance(values, pd.DataFrame) else values for key, values in chosen}
    return {key: values for key, values in arrays.items() if sparse.issparse(values) or isinstance(values, np.ndarray)}


def _notes(uns: Mapping[str, Any]) -> dict[str, Any]:
    """Return what readers ask for; the rest may be what no file can hold."""
    log1p, own, conditions = uns.get("log1p"), uns.get("bionemo_scale"), uns.get("conditions")
    notes: dict[str, Any] = {"hvg_names": uns["hvg_names"]} if "hvg_names" in uns else {}
    if isinstance(log1p, Mapping):
        notes["log1p"] = {"base": log1p.get("base")}
    if isinstance(own, Mapping):
        notes["bionemo_scale"] = dict(own)
    if isinstance(conditions, pd.DataFrame):
        notes["conditions"] = plain_columns(conditions, conditions.columns)
    return notes


def plain_columns(frame: pd.DataFrame, columns: Iterable[str | None]) -> pd.DataFrame:
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


def _writable(frame: pd.DataFrame) -> list[str]:
    """Return the columns that a file can hold: numbers and text, and categories of one of them."""
    return [name for name, column in frame.items() if _can_be_written(column)]


def _can_be_written(column: pd.Series) -> bool:
    values = column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else column
    if values.dtype == object:
        return len(values) == 0 or pd.api.types.infer_dtype(values, skipna=True) == "string"
    return pd.api.types.is_numeric_dtype(values.dtype) or isinstance(values.dtype, pd.StringDtype)
