# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Reads the label of every cell from obs columns, with the same checks in every command."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bionemo.scale.files.suggest import some
from bionemo.scale.files.text import is_line
from bionemo.scale.types import JOINED, NO_COLUMN, InputError


if TYPE_CHECKING:
    from bionemo.scale.files.anndata.checked_anndata import CheckedAnnData

MISSING = ("", "nan", "NaN", "NA", "<NA>", "NaT", "None")
"""What becomes of a missing value when a column is turned into text; no label but where it is called the control."""
ALL_CELLS = "all cells"
"""The label where :data:`bionemo.scale.types.NO_COLUMN` is given for a column."""
_SHOWN = 3
_NUMBER = re.compile(r"\d+\.?\d*|\.\d+")


@dataclass(frozen=True, kw_only=True)
class Labels:
    """One obs column: every cell has one of a few names."""

    codes: np.ndarray
    """[cells] int32, row in ``names``."""
    names: tuple[str, ...]
    """Each once, without blanks at its ends."""
    notes: tuple[str, ...] = ()
    """What was changed, a line each."""

    def of_cells(self) -> np.ndarray:
        """Return the label of each cell, [cells] objects that are str."""
        return np.asarray(self.names, dtype=object)[self.codes]


def read_labels_of(values: Any, *, where: str, named: Collection[str] = ()) -> Labels:
    """Return a column of any type as labels. Blanks at their ends are removed, with a note.

    Args:
        values: A pandas column or array, [cells].
        where: File and column, for messages.
        named: Labels that the user named, such as the control: one of them may be called "None" or "NA".

    Raises:
        InputError: Some cells have no label; their number is said.
    """
    if not isinstance(values, pd.Categorical):
        # pandas takes a label for another one that ends where this has a zero byte.
        check_text((value for value in values if isinstance(value, str) and "\0" in value), where=where)
        values = pd.Categorical(np.asarray(values, dtype=object))
    column = values
    counts = np.bincount(column.codes[column.codes >= 0], minlength=len(column.categories))
    written = [str(name) for name in column.categories]
    stripped = [name.strip() for name in written]
    without = Counter({"missing": int((column.codes < 0).sum())})
    for name, count in zip(stripped, counts.tolist(), strict=True):
        if name in MISSING and name not in named:
            without[repr(name)] += count
    if without.total():
        kinds = ", ".join(f"{count} {name}" for name, count in without.items() if count)
        raise InputError(
            f"{where} must label every cell, found {without.total()} of {len(column)} without a label ({kinds}); "
            "remove those cells, name them or choose another column"
        )
    names = tuple(dict.fromkeys(stripped))
    check_text(names, where=where)
    row = {name: code for code, name in enumerate(names)}
    codes = np.array([row[name] for name in stripped], dtype=np.int32)[column.codes]
    changed = [
        name for name, plain, count in zip(written, stripped, counts.tolist(), strict=True) if name != plain and count
    ]
    notes = (f"{where}: blanks at the ends of {len(changed)} labels left out ({some(changed)})",) if changed else ()
    return Labels(codes=codes, names=names, notes=notes)


def has_labels(file: "CheckedAnnData", key: str) -> bool:
    """Return whether obs has the columns that a key names, or the key names none."""
    known = file.columns("obs")
    return key == NO_COLUMN or set(columns_of(key, known)) <= set(known)


def columns_of(key: str, known: Collection[str]) -> tuple[str, ...]:
    """Return the obs columns that a key names: one, or several with commas between them.

    Args:
        key: As the user gives it.
        known: Columns that there are; a column whose own name has a comma is one column.
    """
    return (key,) if key in known or "," not in key else tuple(part.strip() for part in key.split(","))


def read_label_columns(file: "CheckedAnnData", key: str, *, named: Collection[str] = ()) -> Labels:
    """Return the labels of cells in one obs column, or in several that together are one label ("patient:cell type").

    Args:
        file: AnnData.
        key: Column, columns with commas between them, or ``none``: all cells have one label.
        named: See :func:`read_labels_of`.

    Raises:
        InputError: A column is missing or some cells have no label.
    """
    known = file.columns("obs")
    if key == NO_COLUMN and key not in known:
        return same_label(file.num_cells)
    columns = columns_of(key, known)
    parts = [
        read_labels_of(file.column("obs", column), where=f"{file.path}: obs[{column!r}]", named=named)
        for column in columns
    ]
    return joined(parts, where=f"{file.path}: obs[{key!r}]")


def same_label(num_cells: int, name: str = ALL_CELLS) -> Labels:
    """Return one label for all cells."""
    return Labels(codes=np.zeros(num_cells, dtype=np.int32), names=(name,))


def joined(parts: Sequence[Labels], *, where: str) -> Labels:
    """Return labels of several columns as one label each, "patient:cell type"; those of one column as they are.

    Args:
        parts: Labels of the same cells.
        where: File and columns, for messages.

    Raises:
        InputError: Two combinations would have one label.
    """
    if len(parts) == 1:
        return parts[0]
    rows, codes = np.unique(np.stack([part.codes for part in parts]), axis=1, return_inverse=True)
    names = tuple(
        JOINED.join(part.names[code] for part, code in zip(parts, row, strict=True)) for row in rows.T.tolist()
    )
    if len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise InputError(f"{where}: two combinations of labels would both be called {twice!r}; rename one of them")
    notes = tuple(note for part in parts for note in part.notes)
    return Labels(codes=codes.reshape(-1).astype(np.int32), names=names, notes=notes)


def check_text(names: Iterable[str], *, where: str) -> None:
    """Refuse names with line breaks or control characters, which break tables, file names and terminals.

    Args:
        names: Labels, or names of genes.
        where: File and column, for the message.

    Raises:
        InputError: Naming the first with a control character, a line break or a half of a surrogate pair.
    """
    for name in names:
        if not is_line(name):
            raise InputError(f"{where} must hold text without control characters and line breaks, found {name!a}")


def is_number(label: str) -> bool:
    """Return whether a label is a plain number such as "12" or "0.5", which may number anything."""
    return _NUMBER.fullmatch(label) is not None


def look_alikes(names: Iterable[str], *, what: str) -> tuple[str, ...]:
    """Return a line about labels that may be one label written twice.

    They differ only in capitals and blanks, or in how a number is written: "1" and "1.0" of an integer and a float.

    Args:
        names: Labels.
        what: What they label.
    """
    alike: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        plain = "".join(name.split()).casefold()
        alike.setdefault(str(float(plain)) if is_number(plain) else plain, []).append(name)
    groups = [" and ".join(map(repr, sorted(group))) for group in alike.values() if len(group) > 1]
    if not groups:
        return ()
    more = f", and {len(groups) - _SHOWN} more such" if len(groups) > _SHOWN else ""
    return (f"{what}: taken as different labels: {'; '.join(groups[:_SHOWN])}{more}",)
