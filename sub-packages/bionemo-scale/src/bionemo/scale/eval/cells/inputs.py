# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Read predicted and real h5ad files, and refuse what cannot be compared.

An evaluator that guesses (scale, gene order, control label) turns a mistake into a score. Every guess is a refusal
here, and what is repaired (gene order, labels of other tools) is reported as a note.
"""

import difflib
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from scipy import sparse

from bionemo.scale.eval.cells.populations import Expression, Population
from bionemo.scale.eval.cells.stored import StoredMatrix, value_blocks
from bionemo.scale.files.anndata.checked_anndata import CheckedAnnData
from bionemo.scale.files.anndata.label_column import Labels, look_alikes, read_labels_of
from bionemo.scale.files.anndata.matrix_on_disk import MatrixOnDisk
from bionemo.scale.files.expression_scale import (
    StatedScale,
    base_refusal,
    check_range,
    check_transformation,
    find_scale,
    read_base,
)
from bionemo.scale.files.labels.grammar import Grammar
from bionemo.scale.files.provenance import hash_file
from bionemo.scale.files.scale_evidence import ScaleEvidence
from bionemo.scale.files.suggest import some, suggest
from bionemo.scale.types import DataCard, FileLabels, InputError, ObsKeys


ControlPolicy = Literal["same-real", "predicted"]

_MIN_FRACTION = 1e-3
"""What cell-eval takes for more than the rounding of a whole number."""
IN_MEMORY = 1 << 28
"""Files whose dense X would have up to this many bytes are read at once; larger ones context by context."""
_TENTHS = (8.0, 12.5)
"""Ratios of mean expression that a division by 10 explains, and next to nothing else does."""
_ALMOST = 0.7
"""Likeness of names that are meant to be the same: "celltype" and "cell_type", not "cell_line"."""
ONE_CELL_TYPE = "all cells"
"""Cell type of files that name none."""
ONE_BATCH = "one batch"
"""Batch of files that name none."""


@dataclass(frozen=True, kw_only=True)
class PopulationFile:
    """A file as read, with what it says of itself."""

    path: Path
    population: Population
    labels: FileLabels
    card: DataCard | None
    """``None`` for files of other tools."""
    store: str | None
    """Path of the training store, as the file names it."""
    sha256: str
    row_sums: np.ndarray
    """[cells] float64, total of each cell's values."""
    has_cell_types: bool = True
    """``False`` where all cells are taken for one cell type, because no column names any."""
    origin: str | None = None
    """Checkpoint or baseline that predicted the cells, as the file names it."""
    evidence: ScaleEvidence | None = None
    """What the values show of their scale; ``None`` where nobody looked."""
    notes: tuple[str, ...] = ()

    @property
    def is_control(self) -> np.ndarray:
        """[cells] bool."""
        return self.population.perturbation == self.labels.control

    def spelled(self, grammar: Grammar) -> "PopulationFile":
        """Return the file with each combination in one spelling; its own control is no part of one.

        Raises:
            InputError: A label cannot be read.
        """
        own = replace(grammar, controls=(self.labels.control,))
        labels, codes = np.unique(self.population.perturbation.astype(str), return_inverse=True)
        names = np.array([own.canonical(label) for label in labels.tolist()], dtype=object)
        changed = int((names != labels).sum())
        note = (f"{self.path.name}: {changed} perturbations are spelled in one way",) if changed else ()
        return replace(
            self,
            population=replace(self.population, perturbation=names[codes]),
            notes=(*self.notes, *note),
        )

    @property
    def target_sum(self) -> float | None:
        """Library size behind the values; ``None`` where nobody says."""
        return self.labels.target_sum if self.card is None else self.card.scale.target_sum


def read_population(path: Path, *, labels: FileLabels | None = None, in_memory: int = IN_MEMORY) -> PopulationFile:
    """Read an h5ad file or zarr store whose X is log1p expression; what is large stays in the file until it is needed.

    Args:
        path: The file. ``uns["bionemo_scale"]["card"]``, where present, names the obs columns and the control label.
        labels: Columns, control label and scale of files without a card; ``None`` takes the defaults.
        in_memory: Bytes of dense float32 up to which X is read now.

    Raises:
        InputError: The file is no AnnData or damaged, has no cells or genes, lacks a column, or holds no log1p expression.
    """
    used = labels or FileLabels()
    notes: list[str] = []
    with CheckedAnnData(path) as file:
        own = file.element("uns/bionemo_scale") or {}
        card = _read_card(own, path)
        if card is not None:
            if labels is not None and (labels.keys, labels.control) != (card.keys, card.control):
                notes.append(f"{path.name} says itself how its cells are labelled; label options are not used for it")
            used = FileLabels(keys=card.keys, control=card.control)
        used = replace(used, control=used.control.strip())
        matrix = file.matrix("X")
        genes = _gene_names(file)
        seen = _Values(matrix.shape[0], path, read_base(file.element("uns/log1p/base")))
        expression = _read_expression(matrix, seen, in_memory)
        batch, note = _batches(file, used.keys.batch, required=used.keys.batch != ObsKeys().batch)
        has_cell_types = card is not None or _names_cell_types(file, used.keys.cell_type)
        if not has_cell_types:
            note.append(f"{path.name} has no obs column {used.keys.cell_type!r}: taken as one cell type")
        perturbation = _obs_column(file, used.keys.perturbation, named=(used.control,))
        cell_type = _obs_column(file, used.keys.cell_type) if has_cell_types else _same(ONE_CELL_TYPE, file.num_cells)
    for what, column in (("perturbations", perturbation), ("cell types", cell_type), ("batches", batch)):
        note += (*column.notes, *look_alikes(column.names, what=f"{path.name}: {what}"))
    population = Population(
        expression=expression,
        genes=genes,
        perturbation=perturbation.of_cells(),
        cell_type=cell_type.of_cells(),
        batch=batch.of_cells(),
    )
    store, origin = own.get("store"), own.get("checkpoint", own.get("baseline"))
    return PopulationFile(
        path=path,
        population=population,
        labels=used,
        card=card,
        store=None if store is None else str(store),
        sha256=hash_file(path),
        row_sums=seen.sums,
        evidence=seen.evidence,
        has_cell_types=has_cell_types,
        origin=None if origin is None else str(origin),
        notes=tuple(notes + note),
    )


class _Values:
    """Looks at all values of a file, and refuses what plainly is no log1p of scaled counts."""

    def __init__(self, num_cells: int, path: Path, base: float | None) -> None:
        self.sums = np.zeros(num_cells)
        """[cells] float64, the sum of each cell's values."""
        self.evidence = ScaleEvidence(num_cells)
        self.path, self._where, self._base = path, str(path), base

    def look(self, x: np.ndarray | sparse.csr_matrix | MatrixOnDisk) -> None:
        """Look at every value.

        Raises:
            InputError: NaN or infinite, negative, too large, whole numbers only, or another transformation.
        """
        lowest, bad, fractions = np.inf, 0, False
        for block in value_blocks(x, x.shape[1]):
            values = block.values
            if not np.issubdtype(values.dtype, np.number):
                raise InputError(f"{self._where}: X must be numeric, found {values.dtype}")
            if not values.size:
                continue
            bad += int(values.size - np.isfinite(values).sum())
            lowest = min(lowest, float(values.min()))
            if not bad and lowest >= 0:
                fractions = fractions or bool((np.modf(values)[0] > _MIN_FRACTION).any())
                self.sums[block.rows] = block.row_sums()
                self.evidence.add(block.expressed(x.shape[1]), block.rows.start)
        expected = f"{self._where}: X must hold log1p of normalised counts"
        if bad:
            raise InputError(f"{expected}, found {bad} NaN or infinite values")
        if lowest < 0:
            raise InputError(f"{expected}, found negative values down to {lowest:.4g}")
        self._check(expected, fractions)

    def _check(self, expected: str, fractions: bool) -> None:
        if self.evidence.highest == 0:
            raise InputError(f"{expected}, every value is 0")
        if not fractions:
            raise InputError(f"{expected}, found whole numbers only (up to {self.evidence.highest:g}): raw counts")
        stated = StatedScale(takes_counts=False, base=self._base)
        check_range(self.evidence, self._where, stated)
        if self._base is not None:
            raise base_refusal(self._where, stated)
        check_transformation(self.evidence, self._where, stated)


def check_scale(file: PopulationFile, *, is_measured: bool = True) -> None:
    """Refuse values of an unknown scale, or of another than is said of them.

    Args:
        file: The file.
        is_measured: Whether its cells were measured, so that their values show how they were scaled; predictions do not.

    Raises:
        InputError: Naming the option that says it, or what was found.
    """
    if file.target_sum is None:
        raise InputError(
            f"{file.path}: scale unknown: no card in uns['bionemo_scale'] says which library size its counts were "
            "scaled to before log1p; expected --target-sum, such as --target-sum 10000 (in Python target_sum=10000)"
        )
    if is_measured and file.evidence is not None:
        stated = StatedScale(
            # A file with a card was judged when its store was made.
            values=file.labels.values if file.card is None else "log1p",
            target_sum=file.target_sum,
            takes_counts=False,
            way_out="; give --target-sum {found} if all files have it",
        )
        find_scale(file.evidence, str(file.path), stated)


def check_controls(real: PopulationFile) -> None:
    """Refuse a real file without control cells, or with a context that lacks either kind of cell.

    Raises:
        InputError: Naming the control label and the labels that are there, or the model whose prediction it is.
    """
    if real.origin is not None:
        raise InputError(
            f"{real.path}: holds predicted cells (of {real.origin}, says uns['bionemo_scale']); expected measured cells "
            "and measured controls"
        )
    key, control = real.labels.keys.perturbation, real.labels.control
    is_control = real.is_control
    if not is_control.any():
        found = sorted(set(real.population.perturbation.tolist()))
        raise InputError(f"{real.path}: obs[{key!r}] has no control cells {control!r}; {suggest(control, found)}")
    if is_control.all():
        raise InputError(f"{real.path}: every cell is a control ({control!r}); expected perturbed cells too")
    bare = sorted(set(real.population.cell_type[~is_control]) - set(real.population.cell_type[is_control]))
    if bare:
        raise InputError(
            f"{real.path}: no control cells ({control!r}) in {real.labels.keys.cell_type} {some(bare)}; "
            "effects are measured against the controls of the same cell type"
        )


def align(pred: PopulationFile, real: PopulationFile) -> PopulationFile:
    """Bring a prediction onto the genes, the control label and the groups of the real file.

    Returns:
        The prediction with the real file's gene order and control label, its notes extended.

    Raises:
        InputError: Genes, scale, cell types or perturbations differ.
    """
    _check_genes(pred, real)
    _check_scale(pred, real)
    pred = _with_cell_types(pred, real)
    notes = list(pred.notes)
    if pred.population.genes != real.population.genes:
        notes.append(f"genes of {pred.path.name} put into the order of {real.path.name} by name")
    population = pred.population.with_genes(real.population.genes)
    perturbation = np.where(pred.is_control, real.labels.control, population.perturbation.astype(object))
    aligned = replace(
        pred,
        population=replace(population, perturbation=perturbation),
        labels=replace(pred.labels, control=real.labels.control),
        notes=tuple(notes),
    )
    _check_groups(aligned, real)
    return replace(aligned, notes=aligned.notes + _check_magnitude(aligned, real))


def choose_controls(pred: PopulationFile, real: PopulationFile, policy: ControlPolicy) -> tuple[Population, str]:
    """Return the control cells of the predicted side, and one line that says what was done.

    ``same-real`` uses the real controls on both sides, so that scores measure the perturbed cells alone (appendix A
    of the paper); ``predicted`` uses the controls in the prediction, as STATE does.

    Raises:
        InputError: ``predicted``, and a cell type of the prediction has no controls.
    """
    own = pred.population.select(pred.is_control)
    if policy == "same-real":
        real_controls = real.population.select(real.is_control)
        dropped = f"; {len(own)} control cells in {pred.path.name} dropped" if len(own) else ""
        return real_controls, f"real controls on both sides{dropped}"
    missing = sorted(set(pred.population.cell_type[~pred.is_control]) - set(own.cell_type))
    if missing:
        raise InputError(
            f"{pred.path}: control policy 'predicted' needs controls ({pred.labels.control!r}) of every cell type, "
            f"found none of {some(missing)}"
        )
    return own, f"{len(own)} control cells of {pred.path.name} on the predicted side"


def _read_expression(matrix: MatrixOnDisk, seen: _Values, in_memory: int) -> Expression:
    """Return X, in memory where it is small, after a look at every value."""
    num_cells, num_genes = matrix.shape
    if num_cells * num_genes * 4 > in_memory and matrix.layout != "csc":
        seen.look(matrix)
        rows = np.arange(num_cells, dtype=np.int64)
        return StoredMatrix(path=seen.path, num_stored=num_cells, num_columns=num_genes, rows=rows)
    whole = matrix.whole()
    seen.look(whole)
    return whole.astype(np.float32) if sparse.issparse(whole) else np.ascontiguousarray(whole, dtype=np.float32)


def _read_card(own: dict, path: Path) -> DataCard | None:
    if "card" not in own:
        return None
    try:
        return DataCard.from_json(str(own["card"]))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: uns['bionemo_scale']['card'] is no data card ({error!r})") from error


def _gene_names(file: CheckedAnnData) -> tuple[str, ...]:
    names = pd.Index(file.index("var")).astype(str)
    twice = names[names.duplicated()].unique().tolist()
    if twice:
        raise InputError(f"{file.path}: gene names must be unique, found {some(twice)} more than once")
    return tuple(names)


def _obs_column(file: CheckedAnnData, key: str, *, named: Collection[str] = ()) -> Labels:
    columns = file.columns("obs")
    if key not in columns:
        raise InputError(f"{file.path}: no obs column {key!r}; {suggest(key, columns)}")
    return read_labels_of(file.column("obs", key), where=f"{file.path}: obs[{key!r}]", named=named)


def _batches(file: CheckedAnnData, key: str, *, required: bool) -> tuple[Labels, list[str]]:
    if required or key in file.columns("obs"):
        return _obs_column(file, key), []
    return _same(ONE_BATCH, file.num_cells), [f"{file.path.name} has no obs column {key!r}: taken as one batch"]


def _names_cell_types(file: CheckedAnnData, key: str) -> bool:
    """Whether there is the column, or must be: it was asked for, or one with almost its name is there."""
    columns = file.columns("obs")
    if key in columns or key != ObsKeys().cell_type:
        return True
    return bool(difflib.get_close_matches(key, [name.lower() for name in columns], cutoff=_ALMOST))


def _same(label: str, num: int) -> Labels:
    return Labels(codes=np.zeros(num, dtype=np.int32), names=(label,))


def _with_cell_types(pred: PopulationFile, real: PopulationFile) -> PopulationFile:
    """Give one side's only cell type to the cells of a prediction, where one side does not name any."""
    if pred.has_cell_types and real.has_cell_types:
        return pred
    for file, other in ((pred, real), (real, pred)):
        named = sorted(set(other.population.cell_type.tolist()))
        if len(named) > 1:
            key = file.labels.keys.cell_type
            raise InputError(
                f"{file.path}: no obs column {key!r}; expected one, as {other.path} has {len(named)} cell types: "
                f"{some(named)}"
            )
    only = np.full(len(pred.population), real.population.cell_type[0], dtype=object)
    return replace(pred, population=replace(pred.population, cell_type=only))


def _check_genes(pred: PopulationFile, real: PopulationFile) -> None:
    ours, theirs = set(pred.population.genes), set(real.population.genes)
    lacking, extra = sorted(theirs - ours), sorted(ours - theirs)
    if lacking or extra:
        raise InputError(
            f"{pred.path}: genes differ from {real.path}: {len(lacking)} missing{_listed(lacking)}, "
            f"{len(extra)} unknown{_listed(extra)}; expected the same {len(theirs)} names"
        )


def _check_scale(pred: PopulationFile, real: PopulationFile) -> None:
    check_scale(pred, is_measured=False)
    check_scale(real)
    if pred.target_sum != real.target_sum:
        raise InputError(f"{_scale(pred)} is not that of {_scale(real)}")
    if pred.card is not None and real.card is not None and pred.card.scale.source != real.card.scale.source:
        raise InputError(f"{_scale(pred)} is not that of {_scale(real)}")


def _scale(file: PopulationFile) -> str:
    source = "" if file.card is None else f", from {file.card.scale.source}"
    return f"{file.path}: expression scale (target_sum {file.target_sum:g}{source})"


def _check_groups(pred: PopulationFile, real: PopulationFile) -> None:
    predicted = pred.population.select(~pred.is_control).pairs()
    observed = real.population.select(~real.is_control).pairs()
    if not predicted:
        raise InputError(f"{pred.path}: every cell is a control ({pred.labels.control!r}); expected perturbed cells")
    for file, missing, other in ((pred, observed - predicted, real), (real, predicted - observed, pred)):
        if missing:
            raise InputError(_missing_message(file, missing, other))


def _missing_message(file: PopulationFile, missing: set[tuple[str, str]], other: PopulationFile) -> str:
    cell_types = sorted({cell_type for cell_type, _ in missing} - set(file.population.cell_type))
    perturbations = sorted({name for _, name in missing} - set(file.population.perturbation))
    for kind, names, known in (
        (file.labels.keys.cell_type, cell_types, file.population.cell_type),
        (file.labels.keys.perturbation, perturbations, file.population.perturbation),
    ):
        if names:
            return f"{file.path}: no cells with {kind} {some(names)}, which {other.path} has; {suggest(names[0], set(known.tolist()))}"
    shown = some([f"{cell_type} x {name}" for cell_type, name in sorted(missing)])
    return f"{file.path}: no cells of {len(missing)} (cell type x perturbation) pairs that {other.path} has: {shown}"


def _check_magnitude(pred: PopulationFile, real: PopulationFile) -> tuple[str, ...]:
    """Refuse a division by 10, which no check of single values can see, and warn of other constant factors."""
    sums = [float(file.row_sums[~file.is_control].mean()) for file in (pred, real)]
    ratio = sums[0] / sums[1] if sums[1] > 0 else float("inf")
    line = f"mean expression is {ratio:.3g} times that of {real.path.name}"
    if _TENTHS[0] < max(ratio, 1 / ratio if ratio else 0.0) < _TENTHS[1]:
        raise InputError(f"{pred.path}: {line}: expected one scale, found what a division by 10 looks like")
    if 1 / 3 < ratio < 3:
        return ()
    return (f"warning: {pred.path.name}: {line}: on the same scale?",)


def _listed(names: list[str]) -> str:
    return f" ({some(names)})" if names else ""
