# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The report of predictions without measurements: changes, their intervals, and distances to the training data."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bionemo.scale.eval.cells.predicted_sd import CONDITIONS, LABELS, SD
from bionemo.scale.eval.enrichment import enrich, open_gene_sets
from bionemo.scale.eval.page.gene_changes import GeneChanges
from bionemo.scale.eval.page.page import render_template
from bionemo.scale.eval.page.payload import MAX_PAIRS, MAX_VALUES, encode
from bionemo.scale.eval.page.provenance import file_notes
from bionemo.scale.eval.page.set_tables import predicted_tables
from bionemo.scale.eval.page.tables import condition_tables
from bionemo.scale.files.anndata.checked_anndata import CheckedAnnData
from bionemo.scale.files.provenance import versions_of
from bionemo.scale.types import InputError


_ARRAYS = {"change": "pred", "change_low": "low", "change_high": "high", SD: "sd"}
"""Arrays of varm, by their names in :class:`GeneChanges`."""
_MOST_CONDITIONS = 2000


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a file of predictions says of each (cell type, perturbation)."""

    path: Path
    genes: tuple[str, ...]
    table: pd.DataFrame
    arrays: dict[str, np.ndarray]
    """[genes, conditions] float32, by the names of varm; low and high where there are intervals."""
    notes: dict[str, str]

    @property
    def strongest_first(self) -> np.ndarray:
        """Rows of the table by the size of the predicted change, the largest first: [conditions] int64."""
        return np.argsort(-np.linalg.norm(self.arrays["change"], axis=0), kind="stable")

    def changes(self, row: int) -> GeneChanges:
        """Return the genes of one condition."""
        labels = self.table.iloc[row]
        return GeneChanges(
            model="",
            context=str(labels["cell_type"]),
            perturbation=str(labels["perturbation"]),
            genes=self.genes,
            **{_ARRAYS[name]: values[:, row] for name, values in self.arrays.items()},
        )


def read_prediction(path: Path) -> Prediction:
    """Read a file of bionemo-scale-infer.

    Raises:
        InputError: It is no AnnData, or does not say what changes it predicts.
    """
    with CheckedAnnData(path) as file:
        there = set(file.names("varm"))
        if "change" not in there or CONDITIONS not in file.names("uns"):
            raise InputError(
                f"{path}: expected predictions of this version of bionemo-scale-infer, with uns[{CONDITIONS!r}] and "
                "varm['change'], found neither or one of them; predict again, or give a run folder with scores"
            )
        table = file.element(f"uns/{CONDITIONS}")
        arrays = {name: file.numbers(f"varm/{name}").astype(np.float32) for name in _ARRAYS if name in there}
        genes = tuple(str(name) for name in file.index("var"))
    if not isinstance(table, pd.DataFrame):
        raise InputError(f"{path}: expected a table in uns[{CONDITIONS!r}], found {type(table).__name__}")
    shape = (len(genes), len(table))
    for name, values in arrays.items():
        if values.shape != shape or not np.isfinite(values).all():
            raise InputError(f"{path}: expected numbers of shape {shape} in varm[{name!r}], found {values.shape}")
    if not set(LABELS) <= set(table.columns) or not len(table):
        raise InputError(f"{path}: expected rows with cell_type and perturbation in uns[{CONDITIONS!r}], found none")
    return Prediction(path=path, genes=genes, table=table, arrays=arrays, notes=file_notes(path))


def render_prediction(found: Prediction, gene_sets: Path | None = None) -> str:
    """Return the page as text.

    Args:
        found: The prediction.
        gene_sets: .gmt file of sets to score.

    Raises:
        InputError: The gene sets cannot be scored.
    """
    order = found.strongest_first
    rows = found.table.iloc[order]
    sizes = np.linalg.norm(found.arrays["change"], axis=0)[order]
    return render_template(
        "prediction.html",
        _figures(found, order),
        title=f"Predictions in {found.path.name}",
        subtitle=f"{len(rows):,} (cell type, perturbation) pairs, {len(found.genes):,} genes, without measured cells",
        version=versions_of(("bionemo-scale",))["bionemo-scale"],
        lines=_lines(found, rows, sizes),
        cautions=[line for line in found.notes.get("warnings", "").splitlines() if line],
        tables=condition_tables(rows.iloc[:_MOST_CONDITIONS], sizes[:_MOST_CONDITIONS]),
        hidden=max(0, len(rows) - _MOST_CONDITIONS),
        sets=None if gene_sets is None else _sets(found, gene_sets, order),
        provenance=[(name, value) for name, value in found.notes.items() if name not in ("warnings", "versions")],
    )


def _sets(found: Prediction, path: Path, order: np.ndarray) -> dict[str, Any]:
    sets = open_gene_sets(path, found.genes)
    shown = order[:MAX_PAIRS]
    titles = [", ".join(map(str, labels)) for labels in found.table.iloc[shown][list(LABELS)].itertuples(index=False)]
    scored = enrich(found.arrays["change"][:, shown].T.astype(np.float64), sets)
    hidden = len(order) - len(shown)
    return {"note": sets.note, "tables": predicted_tables(sets, titles, scored), "hidden": hidden}


def _lines(found: Prediction, rows: pd.DataFrame, sizes: np.ndarray) -> list[str]:
    first = rows.iloc[0]
    lines = [
        f"The strongest predicted change is that of {first['perturbation']} in {first['cell_type']} ({sizes[0]:.3g})."
    ]
    if {"change_low", "change_high"} <= set(found.arrays):
        sure = (found.arrays["change_low"] > 0) | (found.arrays["change_high"] < 0)
        per_pair = sure.sum(axis=0)
        lines.append(
            f"In the median pair {int(np.median(per_pair)):,} of {len(found.genes):,} genes have a 90 % interval that "
            f"does not include 0 (at most {int(per_pair.max()):,}). For them the direction is predicted too."
        )
    else:
        lines.append("The file has no intervals, so it does not say how sure these changes are.")
    if "trained_contexts" in rows:
        new = int((rows["trained_contexts"] == 0).sum())
        lines.append(f"{new:,} of {len(rows):,} pairs have a perturbation that was never trained.")
    if "is_trained_cell_type" in rows:
        new = int((~rows["is_trained_cell_type"].astype(bool)).sum())
        lines.append(f"{new:,} of {len(rows):,} pairs are of a cell type that was never trained with perturbed cells.")
    return lines


def _figures(found: Prediction, order: np.ndarray) -> dict[str, Any]:
    shown = order[: max(1, min(MAX_PAIRS, MAX_VALUES // max(1, len(found.genes))))]
    entries = [_entry(found.changes(row)) for row in shown.tolist()]
    genes = {"names": list(found.genes), "entries": entries, "pairs": len(found.table)}
    return {"models": [""], "genes": genes, "clouds": [], "curves": {}}


def _entry(changes: GeneChanges) -> dict[str, Any]:
    labels = {name: getattr(changes, name) for name in ("model", "context", "perturbation")}
    arrays = {name: getattr(changes, name) for name in ("pred", "low", "high")}
    return {**labels, **{name: encode(values) for name, values in arrays.items() if values is not None}}
