# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Which predicted cells answer a panel: those of its conditions, as many as it asks for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bionemo.scale.eval.cells.read_population import labels_to_use, read_card
from bionemo.scale.files.anndata.anndata_file import H5adSource
from bionemo.scale.files.suggest import some
from bionemo.scale.submit.panel import Panel
from bionemo.scale.submit.settings import SubmitSettings
from bionemo.scale.types import InputError, ObsKeys


@dataclass(frozen=True, kw_only=True)
class ChosenCells:
    """Cells of one file that are submitted."""

    path: Path
    rows: np.ndarray
    """[cells] int64, ascending rows of the file."""
    condition: np.ndarray
    """[cells] int64, number of the (context, perturbation) in the panel."""
    column: np.ndarray
    """[genes of the file] int64, place in the panel; -1 of genes that it does not ask for."""


def choose_cells(settings: SubmitSettings, panel: Panel) -> tuple[list[ChosenCells], list[str]]:
    """Return the cells to submit, file by file, and notes on what was left out.

    Raises:
        InputError: A file cannot be read or is no prediction, or a context, a perturbation, cells or genes are
            missing.
    """
    notes: list[str] = []
    files = [_answers(path, settings, panel, notes=notes) for path in settings.inputs]
    present = np.concatenate([each.condition for each in files])
    _check_conditions(settings, panel, np.bincount(present, minlength=len(panel.num_cells)))
    kept = np.split(_drawn(present, panel, settings.seed), np.cumsum([len(each.rows) for each in files])[:-1])
    surplus = present.size - sum(int(part.sum()) for part in kept)
    if surplus:
        notes.append(
            f"{surplus:,} cells left out of conditions with more than are asked for; the rest were drawn with the "
            f"seed {settings.seed}"
        )
    chosen = [
        ChosenCells(path=each.path, rows=each.rows[part], condition=each.condition[part], column=each.column)
        for each, part in zip(files, kept, strict=True)
    ]
    return chosen, notes


def _answers(path: Path, settings: SubmitSettings, panel: Panel, *, notes: list[str]) -> ChosenCells:
    """Return the cells of a file that are of the panel's conditions."""
    with H5adSource(path) as source:
        column = _columns(source, settings, panel, notes=notes)
        own = source.facts("uns/bionemo_scale")
        card = read_card(own, path)
        if card is not None and not {"checkpoint", "baseline"} & set(own):
            raise InputError(f"{path}: expected predicted cells, found measured ones")
        labels, found = labels_to_use(path, card, settings.labels)
        controls = (labels.control,) if card is None else card.all_controls
        _check_covariates(source, labels.keys)
        context = source.labels(labels.keys.cell_type)
        perturbation = source.labels(labels.keys.perturbation, named=controls)
    notes += [*found, *context.notes, *perturbation.notes]
    number = {pair: row for row, pair in enumerate(panel.num_cells)}
    table = np.array(
        [[number.get((where, name), -1) for name in perturbation.names] for where in context.names], dtype=np.int64
    )
    # A label that is asked for is no control, whatever it is called elsewhere.
    condition = table[context.codes, perturbation.codes]
    is_control = np.isin(perturbation.of_cells(), controls) & (condition < 0)
    rows = np.flatnonzero(condition >= 0)
    others = (condition < 0) & ~is_control
    if is_control.any():
        notes.append(f"{path.name}: {int(is_control.sum()):,} control cells left out")
    if others.any():
        labelled = zip(context.codes[others].tolist(), perturbation.codes[others].tolist(), strict=True)
        names = [f"{perturbation.names[b]} in {context.names[a]}" for a, b in sorted(set(labelled))]
        notes.append(f"{path.name}: {int(others.sum()):,} cells left out: {some(names)} not asked for")
    return ChosenCells(path=path, rows=rows, condition=condition[rows], column=column)


def _check_covariates(source: H5adSource, keys: ObsKeys) -> None:
    """Refuse cells of several times or modalities, which the contexts of a submission would pool."""
    for key in keys.covariates:
        names = source.labels(key).names
        if len(names) > 1:
            raise InputError(
                f"{source.path}: expected one value of obs[{key!r}], found {some(names)}; bionemo-scale-infer "
                "--covariate predicts one"
            )


def _columns(source: H5adSource, settings: SubmitSettings, panel: Panel, *, notes: list[str]) -> np.ndarray:
    place = {gene: row for row, gene in enumerate(panel.genes)}
    column = np.array([place.get(gene, -1) for gene in source.genes.tolist()], dtype=np.int64)
    missing = sorted(set(panel.genes) - set(source.genes.tolist()))
    if missing:
        raise InputError(
            f"{source.path}: expected every gene of {settings.genes}, found no {some(missing)}; make the store with "
            "all genes (bionemo-scale-prepare --hvg 0) of data that have them"
        )
    others = int((column < 0).sum())
    if others:
        notes.append(f"{source.path.name}: {others} genes left out, which {settings.genes.name} does not list")
    if (np.diff(column[column >= 0]) < 0).any():
        notes.append(f"{source.path.name}: genes put in the order of {settings.genes.name}")
    return column


def _check_conditions(settings: SubmitSettings, panel: Panel, found: np.ndarray) -> None:
    """Refuse a panel that is not answered in full."""
    files = some([path.name for path in settings.inputs])
    number = dict(zip(panel.num_cells, found.tolist(), strict=True))
    for context in panel.contexts:
        names = panel.perturbations(context)
        missing = [name for name in names if not number[context, name]]
        if len(missing) == len(names):
            raise InputError(f"{files}: expected cells of the context {context!r}, found none with its perturbations")
        if missing:
            raise InputError(
                f"{files}: expected all {len(names)} perturbations in the context {context!r}, found no "
                f"{some(missing)}"
            )
        few = [name for name in names if number[context, name] < panel.num_cells[context, name]]
        if few:
            asked = panel.num_cells[context, few[0]]
            raise InputError(
                f"{files}: expected {asked} cells of {few[0]!r} in the context {context!r}, found "
                f"{number[context, few[0]]}, and too few of {len(few)} of {len(names)} perturbations; predict with "
                f"--cells-per-condition {asked}"
            )


def _drawn(condition: np.ndarray, panel: Panel, seed: int) -> np.ndarray:
    """Return which cells are kept, [cells] bool: as many of each condition as are asked for."""
    kept = np.ones(len(condition), dtype=bool)
    order = np.argsort(condition, kind="stable")
    pieces: Sequence[np.ndarray] = np.split(
        order, np.cumsum(np.bincount(condition, minlength=len(panel.num_cells)))[:-1]
    )
    for row, (piece, number) in enumerate(zip(pieces, panel.num_cells.values(), strict=True)):
        if len(piece) > number:
            kept[piece] = False
            kept[np.random.default_rng([seed, row]).choice(piece, number, replace=False)] = True
    return kept
