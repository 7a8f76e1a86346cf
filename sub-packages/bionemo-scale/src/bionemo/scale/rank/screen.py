# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Reads a virtual screen: the predicted change of each (cell type, perturbation), and how sure it is."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from bionemo.scale.eval.cells.population_file import PopulationFile
from bionemo.scale.eval.cells.read_population import read_population
from bionemo.scale.files.anndata.checked_anndata import CheckedAnnData
from bionemo.scale.files.label_list import settle_labels
from bionemo.scale.files.labels.grammar import Grammar, grammar_of
from bionemo.scale.files.suggest import suggest
from bionemo.scale.types import FileLabels, InputError, ObsKeys


CONTROL, SD, NUM_CELLS = "control", "sd", "num_cells"
"""Layers and obs column of pseudobulks."""
CONDITIONS, CHANGE, CHANGE_SD = "conditions", "change", "change_sd"
"""Table in uns and arrays in varm of files that say themselves what changed."""


@dataclass(frozen=True, kw_only=True)
class Screen:
    """Conditions of a screen, batches put together."""

    path: Path
    genes: tuple[str, ...]
    cell_types: np.ndarray
    """[n] str."""
    perturbations: np.ndarray
    """[n] str, controls left out."""
    change: np.ndarray
    """[n, G] float64, predicted mean log1p expression less that of the controls."""
    sd: np.ndarray | None
    """[n, G] float64, standard deviation of what is not known of the change; ``None`` where the file does not say."""
    grammar: Grammar
    """How the labels of combinations and doses are read."""
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of conditions."""
        return len(self.change)

    def select(self, rows: np.ndarray) -> "Screen":
        """Return some of the conditions."""
        sd = None if self.sd is None else self.sd[rows]
        return replace(
            self,
            cell_types=self.cell_types[rows],
            perturbations=self.perturbations[rows],
            change=self.change[rows],
            sd=sd,
        )

    def of_cell_types(self, names: tuple[str, ...]) -> "Screen":
        """Return the conditions of some cell types, all where none is named.

        Raises:
            InputError: There is no such cell type.
        """
        known = sorted(set(self.cell_types.tolist()))
        names = settle_labels(names, known)
        for name in names:
            if name not in known:
                raise InputError(f"{self.path}: no cell type {name!r}; {suggest(name, known)}")
        return self.select(np.isin(self.cell_types, names)) if names else self


def read_screen(
    path: Path,
    *,
    keys: ObsKeys | None = None,
    control: str | None = None,
    combination_separator: str | None = None,
    dose_separator: str | None = None,
) -> Screen:
    """Read a screen.

    Args:
        path: h5ad of pseudobulks as ``bionemo-scale-infer`` writes them, or of predicted cells and controls.
        keys: obs columns of files without a data card.
        control: Control label of files without a data card.
        combination_separator: Between agents, where no data card says so.
        dose_separator: Before doses, where no data card says so.

    Raises:
        InputError: The file cannot be read, or does not say what the predictions changed from.
    """
    labels = FileLabels(keys=keys or ObsKeys(), control=control or FileLabels().control)
    given = None if keys is None and control is None else labels
    found = read_population(path, labels=given)
    with CheckedAnnData(path) as file:
        table = _stated(file, found) or _summed(file, found) or _of_cells(found.with_shared_controls())
    if not len(table.labels):
        raise InputError(
            f"{path}: expected predicted conditions, found none beside the control {found.labels.control!r}"
        )
    combination, dose = combination_separator or "", dose_separator or ""
    if found.card is None:
        grammar = Grammar(combination=combination, dose=dose, controls=(found.labels.control,))
    else:
        grammar = grammar_of(found.card, combination=combination, dose=dose)
    return Screen(
        path=path,
        genes=found.population.genes,
        cell_types=np.array([cell_type for cell_type, _ in table.labels], dtype=object),
        perturbations=np.array([perturbation for _, perturbation in table.labels], dtype=object),
        change=table.change,
        sd=table.sd,
        grammar=grammar,
        notes=found.notes,
    )


@dataclass(frozen=True, kw_only=True)
class _Table:
    labels: list[tuple[str, str]]
    """(cell type, perturbation) of each row."""
    change: np.ndarray
    sd: np.ndarray | None


def _stated(file: CheckedAnnData, found: PopulationFile) -> _Table | None:
    """Return the changes that a file states by itself, over all batches; ``None`` where it states none."""
    if CHANGE not in file.names("varm") or CONDITIONS not in file.names("uns"):
        return None
    table = file.element(f"uns/{CONDITIONS}")
    if not isinstance(table, pd.DataFrame) or not {"cell_type", "perturbation"} <= set(table.columns):
        return None
    kinds = [name for name in (CHANGE, CHANGE_SD) if name in file.names("varm")]
    arrays = {name: file.numbers(f"varm/{name}").astype(np.float64).T for name in kinds}
    for name, array in arrays.items():
        if array.shape != (len(table), len(found.population.genes)) or not np.isfinite(array).all():
            raise InputError(
                f"{file.path}: expected finite numbers in varm[{name!r}], a column for each of {len(table)} rows of "
                f"uns[{CONDITIONS!r}], found {array.T.shape}"
            )
    labels = list(zip(table["cell_type"].astype(str), table["perturbation"].astype(str), strict=True))
    return _Table(labels=labels, change=arrays[CHANGE], sd=arrays.get(CHANGE_SD))


def _summed(file: CheckedAnnData, found: PopulationFile) -> _Table | None:
    """Return the changes of pseudobulks, weighed by their cells; ``None`` where the file has none."""
    if CONTROL not in file.names("layers") or NUM_CELLS not in file.columns("obs"):
        return None
    weights = np.asarray(file.column("obs", NUM_CELLS), dtype=np.float64)
    if not (np.isfinite(weights).all() and (weights > 0).all()):
        raise InputError(f"{file.path}: expected numbers above 0 in obs[{NUM_CELLS!r}], found others")
    control = _layer(file, CONTROL)
    sd = _layer(file, SD) if SD in file.names("layers") else None
    change = found.population.dense().astype(np.float64) - control
    rows = _rows_of(found, ~found.is_control)
    return _Table(
        labels=list(rows),
        change=_averages(change, rows, weights),
        # Batches of a condition err together: the average is as unsure as they are.
        sd=None if sd is None else _averages(sd, rows, weights),
    )


def _of_cells(found: PopulationFile) -> _Table:
    """Return the changes of cells from the controls of their batch, or of their cell type where the batch has none."""
    cells = found.population
    contexts = set(cells.cell_type[~found.is_control].tolist())
    without = sorted(contexts - set(cells.cell_type[found.is_control].tolist()))
    if without:
        raise InputError(
            f"{found.path}: expected what the predictions change from, found no layers[{CONTROL!r}] and no cells "
            f"{found.labels.control!r} of {without[0]!r}; predict with --output pseudobulk or --with-controls"
        )
    changes = {}
    for (cell_type, perturbation), rows in _rows_of(found, ~found.is_control).items():
        inside = found.is_control & (cells.cell_type == cell_type)
        parts = []
        for batch in np.unique(cells.batch[rows].astype(str)).tolist():
            same = inside & (cells.batch == batch)
            own = rows[cells.batch[rows] == batch]
            parts.append((len(own), _mean(found, own) - _mean(found, np.flatnonzero(same if same.any() else inside))))
        counts, values = zip(*parts, strict=True)
        changes[cell_type, perturbation] = np.average(values, axis=0, weights=counts)
    table = np.array(list(changes.values())).reshape(len(changes), len(cells.genes))
    return _Table(labels=list(changes), change=table, sd=None)


def _mean(found: PopulationFile, rows: np.ndarray) -> np.ndarray:
    return found.population.select(rows).dense().mean(axis=0, dtype=np.float64)


def _layer(file: CheckedAnnData, name: str) -> np.ndarray:
    whole = file.matrix(f"layers/{name}").whole()
    values = np.asarray(whole.toarray() if hasattr(whole, "toarray") else whole, dtype=np.float64)
    if not np.isfinite(values).all() or (values < 0).any():
        raise InputError(f"{file.path}: expected finite numbers of at least 0 in layers[{name!r}], found others")
    return values


def _rows_of(found: PopulationFile, chosen: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
    """Return the rows of each (cell type, perturbation), in the order in which they first appear."""
    cells, rows = found.population, np.flatnonzero(chosen)
    labels = pd.MultiIndex.from_arrays([cells.cell_type[rows].astype(str), cells.perturbation[rows].astype(str)])
    codes, names = pd.factorize(labels)
    order = np.argsort(codes, kind="stable")
    pieces = np.split(rows[order], np.cumsum(np.bincount(codes, minlength=len(names)))[:-1]) if len(names) else []
    return {tuple(name): piece for name, piece in zip(names, pieces, strict=True)}


def _averages(values: np.ndarray, rows: dict[tuple[str, str], np.ndarray], weights: np.ndarray) -> np.ndarray:
    found = [np.average(values[members], axis=0, weights=weights[members]) for members in rows.values()]
    return np.array(found).reshape(len(rows), values.shape[1])
