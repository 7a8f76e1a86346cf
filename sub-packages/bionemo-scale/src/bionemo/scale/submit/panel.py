# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a challenge asks for: genes in an order, and cells of each perturbation in each context."""

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bionemo.scale.files.anndata.label_column import check_text
from bionemo.scale.files.label_list import settle_labels
from bionemo.scale.files.suggest import some, suggest
from bionemo.scale.files.text import read_json, read_text
from bionemo.scale.submit.settings import SubmitSettings
from bionemo.scale.types import InputError


PERTURBATION, CONTEXT = "target_gene", "context"
"""obs columns of a submission, and columns of the list of perturbations."""
NUM_CELLS = "n_cells"
MANIFEST = "manifest.json"
"""File of the challenge's data that names the contexts."""
_HEADERS = ("gene", "genes", "gene_name", "gene_names", "gene_symbol")


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Genes and conditions that are asked for."""

    genes: tuple[str, ...]
    """In the order asked for."""
    contexts: tuple[str, ...]
    num_cells: dict[tuple[str, str], int]
    """Cells of each (context, perturbation)."""

    def perturbations(self, context: str) -> list[str]:
        """Return the perturbations of a context in the order of the list."""
        return [name for where, name in self.num_cells if where == context]


def read_panel(settings: SubmitSettings) -> Panel:
    """Read what is asked for.

    Raises:
        InputError: A file is no such list, a name is in it twice, no context is named, or more cells are asked for
            than a submission may have.
    """
    genes = _read_genes(settings.genes)
    listed = _read_conditions(settings.perturbations, settings.cells_per_condition)
    contexts = _contexts(settings, listed)
    num_cells: dict[tuple[str, str], int] = {}
    for context in contexts:
        mine = listed.get(context, listed.get(""))
        if mine is None:
            raise InputError(
                f"{settings.perturbations}: expected perturbations of the context {context!r}, found none; "
                f"{suggest(context, listed)}"
            )
        num_cells |= {(context, name): number for name, number in mine.items()}
    if sum(num_cells.values()) > settings.max_cells:
        raise InputError(
            f"--max-cells: expected at most {settings.max_cells:,} cells, found that the list asks for "
            f"{sum(num_cells.values()):,}"
        )
    return Panel(genes=genes, contexts=contexts, num_cells=num_cells)


def _read_genes(path: Path) -> tuple[str, ...]:
    names = [row[0].strip() for row in _rows(path) if row[0].strip()]
    if names and names[0].lower() in _HEADERS:
        names = names[1:]
    if not names:
        raise InputError(f"{path}: expected one gene a line, found none")
    _refuse_twice(names, f"{path}: genes")
    return tuple(names)


def _read_conditions(path: Path, cells_per_condition: int) -> dict[str, dict[str, int]]:
    """Return the cells of each perturbation by context; the context "" is every one."""
    rows = _rows(path)
    header = [name.strip() for name in next(rows, [])]
    if PERTURBATION not in header:
        raise InputError(f"{path}: expected a column {PERTURBATION!r}, found {some(header, most=5) or 'none'}")
    listed: dict[str, dict[str, int]] = {}
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise InputError(
                f"{path}: expected {len(header)} columns as the header has, found {len(row)} in row {number}"
            )
        values = dict(zip(header, (value.strip() for value in row), strict=True))
        name, context = values[PERTURBATION], values.get(CONTEXT, "")
        if not name or (CONTEXT in header and not context):
            raise InputError(f"{path}: expected a label in every row, found none in row {number}")
        if name in listed.setdefault(context, {}):
            raise InputError(f"{path}: expected each perturbation once, found {name!r} again in row {number}")
        listed[context][name] = _number(values.get(NUM_CELLS, ""), cells_per_condition, f"{path}: row {number}")
    if not listed:
        raise InputError(f"{path}: expected perturbations, found none")
    return listed


def _number(text: str, default: int, where: str) -> int:
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 10 and int(text) > 0):
        raise InputError(f"{where}: expected a number of cells in {NUM_CELLS!r}, found {text[:40]!r}")
    return int(text)


def _contexts(settings: SubmitSettings, listed: dict[str, dict[str, int]]) -> tuple[str, ...]:
    own = [context for context in listed if context]
    if settings.contexts:
        return settle_labels(settings.contexts, own)
    manifest = settings.perturbations.with_name(MANIFEST)
    if not manifest.is_file() and not own:
        raise InputError(f"--contexts: expected the contexts of the challenge, such as A,B,C; found no {manifest}")
    found = read_json(manifest) if manifest.is_file() else {CONTEXT + "s": own}
    names = found.get("contexts") if isinstance(found, dict) else None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise InputError(f"{manifest}: expected a list of labels under 'contexts', found {str(names)[:80]}")
    names = [name.strip() for name in names]
    _refuse_twice(names, f"{manifest}: contexts")
    return tuple(names)


def _refuse_twice(names: Sequence[str], where: str) -> None:
    check_text(names, where=where)
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"{where} must be there once, found {some(twice)} again")


def _rows(path: Path) -> Iterator[list[str]]:
    """Yield the rows of a CSV that are not empty."""
    try:
        yield from (row for row in csv.reader(read_text(path).splitlines(), strict=True) if row)
    except csv.Error as error:
        raise InputError(f"{path}: expected CSV, found {error}") from error
