# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Reads a signature: how strongly each gene is up or down, say in a disease."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from bionemo.scale.files.label_list import settle_labels
from bionemo.scale.files.suggest import some, suggest
from bionemo.scale.files.text import read_text
from bionemo.scale.types import InputError


_CHANGES = ("logfc", "log2fc", "log2foldchange", "logfoldchange", "logfoldchanges", "avg_log2fc", "avg_logfc", "lfc")
"""What columns of log fold changes are called, in small letters."""
_FEW_GENES = 10
"""Of fewer genes the score of an unrelated change is above 0.3 in size (1 / sqrt(genes), root mean square)."""
_MOST_OF_IT = 0.5
"""Share of a signature's squared size below which a cosine of the rest says little about the whole."""
_WORDS = {"up": 1.0, "down": -1.0}


def read_signature(path: Path) -> dict[str, float]:
    """Read gene and log fold change, or gene and "up" or "down".

    Args:
        path: .csv, or .tsv or .txt with tabs; a header, genes in the first column. Of several other columns the one
            with a usual name (logFC, log2FoldChange ...) counts.

    Returns:
        Gene to its change; genes without a number are left out.

    Raises:
        InputError: It is no such file, a gene is there twice, or no gene has a change.
    """
    table = _read(path)
    column = _column(path, table)
    genes = table.index.astype(str).str.strip()
    twice = genes[genes.duplicated()].unique().tolist()
    if twice:
        raise InputError(f"{path}: expected each gene once, found {some(twice)} more than once")
    words = table[column].astype(str).str.strip().str.lower()
    values = words.map(_WORDS) if words.isin(_WORDS).all() else pd.to_numeric(table[column], errors="coerce")
    numbers = values.to_numpy(dtype=np.float64)
    bad = int(((~np.isfinite(numbers)) & table[column].notna().to_numpy()).sum())
    if bad:
        raise InputError(
            f'{path}: expected numbers, or "up" and "down", in column {column!r}, found {bad} other values'
        )
    found = {gene: value for gene, value in zip(genes, numbers.tolist(), strict=True) if np.isfinite(value)}
    if not any(found.values()):
        raise InputError(f"{path}: expected genes with a change in column {column!r}, found none")
    return found


def listed_signature(up: Sequence[str], down: Sequence[str], genes: Sequence[str]) -> dict[str, float]:
    """Return 1 for genes that are up and -1 for those that are down.

    Args:
        up: As options give them.
        down: Likewise.
        genes: Of the screen.

    Raises:
        InputError: A gene is both.
    """
    found = dict.fromkeys(settle_labels(up, genes), 1.0)
    for gene in settle_labels(down, genes):
        if gene in found:
            raise InputError(f"--down: {gene!r} is in --up too")
        found[gene] = -1.0
    return found


def signature_of_genes(signature: Mapping[str, float], genes: Sequence[str], *, source: str) -> np.ndarray:
    """Return [G] float64, the signature of a screen's genes, NaN for those that it does not name.

    Raises:
        InputError: No gene with a change is among them.
    """
    values = np.array([signature.get(gene, np.nan) for gene in genes])
    if not np.nan_to_num(values).any():
        first = next(iter(signature))
        raise InputError(
            f"{source}: expected genes of the screen, found none, the first is {first!r}; {suggest(first, genes)}"
        )
    return values


def warn_of_signature(values: np.ndarray, signature: Mapping[str, float]) -> tuple[str, ...]:
    """Warn of a signature of which a screen has little.

    Args:
        values: [G] float64 of :func:`signature_of_genes`.
        signature: Gene to its change, the genes that the screen does not have among them.
    """
    num, share = int(np.isfinite(values).sum()), _share(values, signature)
    lines = []
    if num < _FEW_GENES:
        lines.append(
            f"warning: scores are of {num} genes alone: changes without relation to the signature have scores of "
            f"{num**-0.5:.2f} (root mean square), so that scores of such a size say nothing"
        )
    if share < _MOST_OF_IT:
        lines.append(
            f"warning: the screen has {share:.1%} of the signature ({num} of {len(signature)} genes, by their squared "
            "changes): scores say little about the rest; check that genes are named as in the screen, or predict "
            "from a store that keeps them"
        )
    return tuple(lines)


def _share(values: np.ndarray, signature: Mapping[str, float]) -> float:
    return float(np.nansum(values**2) / sum(change**2 for change in signature.values()))


def _read(path: Path) -> pd.DataFrame:
    separators = {".csv": ",", ".tsv": "\t", ".txt": "\t"}
    if path.suffix not in separators:
        raise InputError(f"{path}: expected a .csv or .tsv file of a signature")
    if not path.is_file():
        raise InputError(f"{path}: expected a file of a signature, found no such file")
    try:
        table = pd.read_csv(io.StringIO(read_text(path)), sep=separators[path.suffix], index_col=0)
    except ValueError as error:
        raise InputError(f"{path}: cannot be read as a table: {str(error).splitlines()[0]}") from error
    if table.index.hasnans:
        raise InputError(f"{path}: expected a gene in the first column of each row, found rows without one")
    return table


def _column(path: Path, table: pd.DataFrame) -> str:
    usual = [name for name in table.columns if str(name).strip().lower() in _CHANGES]
    if usual:
        return usual[0]
    if len(table.columns) != 1:
        found = some([str(name) for name in table.columns]) or "none"
        raise InputError(f"{path}: expected a column logFC beside the genes, found {found}")
    name = str(table.columns[0])
    if pd.notna(pd.to_numeric(name, errors="coerce")) or name.strip().lower() in _WORDS:
        raise InputError(f"{path}: expected a header in the first line, such as gene,logFC, found {name!r}")
    return table.columns[0]
