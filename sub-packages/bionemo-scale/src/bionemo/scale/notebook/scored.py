# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The cells that a notebook scores: their names, labels and values."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from bionemo.scale.files.suggest import suggest
from bionemo.scale.notebook.cells import CellsLike, GivenFiles, PathLike, is_anndata
from bionemo.scale.types import FileLabels, InputError


if TYPE_CHECKING:
    from bionemo.scale.eval.cells.population_file import PopulationFile


def named_predictions(pred: CellsLike | Mapping[str, CellsLike]) -> Mapping[str, CellsLike]:
    """Return predictions by the name they have in tables: that of their file, or of the argument."""
    if isinstance(pred, Mapping):
        return pred
    return {"prediction" if is_anndata(pred) else Path(cast(PathLike, pred)).stem: pred}


def labels_by_name(
    given: FileLabels | Mapping[str, FileLabels] | None, names: Sequence[str], default: FileLabels | None
) -> dict[str, FileLabels | None]:
    """Return how each prediction is labelled.

    Args:
        given: Of all predictions, or by name.
        names: Of the predictions.
        default: Of those that are not named.

    Raises:
        InputError: A name is none of the predictions.
    """
    if not isinstance(given, Mapping):
        return dict.fromkeys(names, given or default)
    for name in given:
        if name not in names:
            raise InputError(f"pred_labels: no prediction {name!r}; {suggest(name, names)}")
    return {name: given.get(name, default) for name in names}


def read_cells(files: GivenFiles, cells: CellsLike, name: str, *, labels: FileLabels | None) -> "PopulationFile":
    """Return cells as they are scored; those of a notebook are called by the argument, for their file goes away.

    Raises:
        InputError: They cannot be scored.
    """
    from bionemo.scale.eval.cells.read_population import read_population

    found = read_population(files.path(cells, name, matrix="X"), labels=labels)
    return replace(found, path=Path(name)) if is_anndata(cells) else found


def read_predictions(
    files: GivenFiles, named: Mapping[str, CellsLike], labels: Mapping[str, FileLabels | None]
) -> "dict[str, PopulationFile]":
    """Return predictions by name, as :func:`read_cells` reads them."""
    found = {}
    for row, (name, cells) in enumerate(named.items()):
        found[name] = read_cells(files, cells, f"pred-{row}" if row else "pred", labels=labels[name])
    return found
