# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Brings a prediction onto the genes, the control label and the groups of the real cells.

An evaluator that guesses (scale, gene order, control label) turns a mistake into a score. Every guess is a refusal
here, and what is repaired (gene order, labels of other tools) is reported as a note.
"""

from dataclasses import replace

import numpy as np

from bionemo.scale.eval.cells.population_file import PopulationFile
from bionemo.scale.eval.cells.scale_check import check_magnitude, check_same_scale
from bionemo.scale.files.suggest import some, suggest
from bionemo.scale.types import InputError


_SAME_SUM = 1e-10
"""Relative distance of sums that only the order of genes keeps apart."""
_SAMPLE = 100
"""Pairs of cells that are compared value by value."""
_RUN = 10
"""Neighbours among them: a file on disk is read in few places."""
_BY_CHANCE = 0.01
"""Share of the cells that may be alike by chance, as those with few counts are."""


def align(pred: PopulationFile, real: PopulationFile) -> PopulationFile:
    """Bring a prediction onto the genes, the control label and the groups of the real file.

    Returns:
        The prediction with the real file's gene order and control label, its notes extended.

    Raises:
        InputError: Genes, scale, cell types or perturbations differ.
    """
    _check_genes(pred, real)
    check_same_scale(pred, real)
    pred = _with_cell_types(pred, real)
    notes = list(pred.notes)
    if pred.population.genes != real.population.genes:
        notes.append(f"genes of {pred.path.name} put into the order of {real.path.name} by name")
    population = pred.population.with_genes(real.population.genes)
    perturbation = np.where(pred.is_control, real.labels.control, population.perturbation.astype(object))
    aligned = replace(
        pred,
        population=replace(population, perturbation=perturbation),
        predicted_sd=pred.predicted_sd.with_genes(real.population.genes),
        labels=replace(pred.labels, control=real.labels.control),
        notes=tuple(notes),
    )
    aligned = _of_measured_pairs(aligned, real)
    return replace(aligned, notes=aligned.notes + check_magnitude(aligned, real))


def note_copies(pred: PopulationFile, real: PopulationFile) -> tuple[str, ...]:
    """Warn of a prediction that holds measured cells.

    Cells whose values have the same sum are taken for one cell, as far as a sample of them has the same values.

    Args:
        pred: The prediction, on the genes of the real file.
        real: Measured cells.
    """
    predicted = np.flatnonzero(~pred.is_control)
    measured = np.flatnonzero(~real.is_control & (real.row_sums > 0))
    if not len(measured):
        return ()
    measured = measured[np.argsort(real.row_sums[measured], kind="stable")]
    sums, wanted = real.row_sums[measured], pred.row_sums[predicted]
    nearest = np.searchsorted(sums, wanted * (1 - _SAME_SUM)).clip(max=len(sums) - 1)
    found = np.flatnonzero(abs(sums[nearest] - wanted) <= _SAME_SUM * wanted)
    sample = found[_spread_runs(len(found))]
    ours = pred.population.select(predicted[sample]).dense()
    theirs = real.population.select(measured[nearest[sample]]).dense()
    same = np.isclose(ours, theirs, rtol=1e-5).all(axis=1)
    num_copies = round(len(found) * float(same.mean())) if len(found) else 0
    if num_copies <= _BY_CHANCE * len(predicted):
        return ()
    return (
        f"warning: {num_copies} of {len(predicted)} predicted cells of {pred.path.name} are measured perturbed cells "
        f"of {real.path.name}: scores of copies say nothing about predictions",
    )


def _spread_runs(length: int) -> np.ndarray:
    """Return at most :data:`_SAMPLE` of so many positions, ascending: runs of neighbours that are spread over all."""
    if length <= _SAMPLE:
        return np.arange(length)
    starts = np.linspace(0, length - _RUN, _SAMPLE // _RUN).astype(np.int64)
    return (starts[:, np.newaxis] + np.arange(_RUN)).ravel()


def _check_genes(pred: PopulationFile, real: PopulationFile) -> None:
    ours, theirs = set(pred.population.genes), set(real.population.genes)
    lacking, extra = sorted(theirs - ours), sorted(ours - theirs)
    if lacking or extra:
        raise InputError(
            f"{pred.path}: genes differ from {real.path}: {len(lacking)} missing{_listed(lacking)}, "
            f"{len(extra)} unknown{_listed(extra)}; expected the same {len(theirs)} names"
        )


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


def _of_measured_pairs(pred: PopulationFile, real: PopulationFile) -> PopulationFile:
    """Leave out predicted (cell type, perturbation) pairs that were not measured; refuse to lack a measured one."""
    predicted = pred.population.select(~pred.is_control).pairs()
    observed = real.population.select(~real.is_control).pairs()
    if not predicted:
        raise InputError(f"{pred.path}: every cell is a control ({pred.labels.control!r}); expected perturbed cells")
    if missing := observed - predicted:
        raise InputError(_missing_message(pred, missing, real))
    if not (extra := predicted - observed):
        return pred
    population = pred.population
    pairs = zip(population.cell_type.tolist(), population.perturbation.tolist(), strict=True)
    kept = np.array([pair not in extra for pair in pairs])
    note = (
        f"{len(extra)} predicted (cell type x perturbation) pairs of {pred.path.name} are not in {real.path.name} and "
        f"have no score: {some([f'{cell_type} x {name}' for cell_type, name in sorted(extra)])}"
    )
    return replace(pred, population=population.select(kept), row_sums=pred.row_sums[kept], notes=(*pred.notes, note))


def _missing_message(file: PopulationFile, missing: set[tuple[str, str]], other: PopulationFile) -> str:
    cell_types = sorted({cell_type for cell_type, _ in missing} - set(file.population.cell_type))
    perturbations = sorted({name for _, name in missing} - set(file.population.perturbation))
    for kind, names, known in (
        (file.labels.keys.cell_type, cell_types, file.population.cell_type),
        (file.labels.keys.perturbation, perturbations, file.population.perturbation),
    ):
        if names:
            hint = suggest(names[0], set(known.tolist()))
            return f"{file.path}: no cells with {kind} {some(names)}, which {other.path} has; {hint}"
    shown = some([f"{cell_type} x {name}" for cell_type, name in sorted(missing)])
    return f"{file.path}: no cells of {len(missing)} (cell type x perturbation) pairs that {other.path} has: {shown}"


def _listed(names: list[str]) -> str:
    return f" ({some(names)})" if names else ""
