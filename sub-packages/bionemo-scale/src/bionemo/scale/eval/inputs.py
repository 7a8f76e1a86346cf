# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Read predicted and real h5ad files, and refuse what cannot be compared.

An evaluator that guesses (scale, gene order, control label) turns a mistake into a score. Every guess is a refusal
here, and what is repaired (gene order, labels of other tools) is reported as a note.
"""

import difflib
import hashlib
import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from bionemo.scale.eval.populations import Population
from bionemo.scale.types import DataCard, InputError, ObsKeys


logger = logging.getLogger(__name__)

ControlPolicy = Literal["same-real", "predicted"]

MAX_LOG1P = 15.0
"""cell-eval takes values from here on as no log1p data; log1p(1e4) is 9.2."""
_MIN_FRACTION = 1e-3
"""What cell-eval takes for more than the rounding of a whole number."""
_VALUES_AT_ONCE = 1 << 22
_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Which obs columns label cells, and how controls are called."""

    keys: ObsKeys = field(default_factory=ObsKeys)
    control: str = "control"


@dataclass(frozen=True, kw_only=True)
class PopulationFile:
    """A file as read, with what it says of itself."""

    path: Path
    population: Population
    labels: Labels
    card: DataCard | None
    """``None`` for files of other tools."""
    store: str | None
    """Path of the training store, as the file names it."""
    sha256: str
    notes: tuple[str, ...] = ()

    @property
    def is_control(self) -> np.ndarray:
        """[cells] bool."""
        return self.population.perturbation == self.labels.control


def read_population(path: Path, *, labels: Labels | None = None) -> PopulationFile:
    """Read an h5ad whose X is log1p expression.

    Args:
        path: The file. ``uns["bionemo_scale"]["card"]``, where present, names the obs columns and the control label.
        labels: Columns and control label of files without a card; ``None`` takes the defaults.

    Raises:
        InputError: The file is no h5ad, has no cells or genes, lacks a column, or holds no log1p expression.
    """
    adata = _read_h5ad(path)
    own = adata.uns.get("bionemo_scale", {})
    card = _read_card(own, path)
    used = labels or Labels()
    notes = []
    if card is not None:
        if labels is not None and labels != Labels(keys=card.keys, control=card.control):
            notes.append(f"{path.name} says itself how its cells are labelled; label options are not used for it")
        used = Labels(keys=card.keys, control=card.control)
    genes = _gene_names(adata, path)
    expression = _expression(adata, path)
    check_log1p(expression, path)
    batch, note = _batches(adata, used.keys.batch, path, required=used.keys.batch != ObsKeys().batch)
    population = Population(
        expression=expression,
        genes=genes,
        perturbation=_obs_column(adata, used.keys.perturbation, path),
        cell_type=_obs_column(adata, used.keys.cell_type, path),
        batch=batch,
    )
    store = own.get("store")
    return PopulationFile(
        path=path,
        population=population,
        labels=used,
        card=card,
        store=None if store is None else str(store),
        sha256=hash_file(path),
        notes=tuple(notes + note),
    )


def hash_file(path: Path) -> str:
    """Return the sha256 of a file as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_log1p(expression: np.ndarray | sparse.csr_matrix, path: Path) -> None:
    """Refuse values that cannot be log1p of normalised counts.

    Raises:
        InputError: NaN or infinite, negative, :data:`MAX_LOG1P` or larger, or whole numbers only.
    """
    values = expression.data if sparse.issparse(expression) else expression.reshape(-1)
    expected = f"{path}: X must hold log1p of normalised counts in [0, {MAX_LOG1P:g})"
    if not np.isfinite(values).all():
        raise InputError(f"{expected}, found {int((~np.isfinite(values)).sum())} NaN or infinite values")
    lowest, highest = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if lowest < 0:
        raise InputError(f"{expected}, found negative values down to {lowest:.4g}")
    if not _has_fractions(values):
        raise InputError(f"{expected}, found whole numbers only (up to {highest:g}): raw counts?")
    if highest >= MAX_LOG1P:
        raise InputError(f"{expected}, found values up to {highest:.4g}: normalised without log1p?")


def check_controls(real: PopulationFile) -> None:
    """Refuse a real file without control cells, or with a context that lacks either kind of cell.

    Raises:
        InputError: Naming the control label and the labels that are there.
    """
    key, control = real.labels.keys.perturbation, real.labels.control
    is_control = real.is_control
    if not is_control.any():
        found = sorted(set(real.population.perturbation.tolist()))
        raise InputError(
            f"{real.path}: obs[{key!r}] has no control cells {control!r}; {_nearest(control, found)}found {_some(found)}"
        )
    if is_control.all():
        raise InputError(f"{real.path}: every cell is a control ({control!r}); expected perturbed cells too")
    bare = sorted(set(real.population.cell_type[~is_control]) - set(real.population.cell_type[is_control]))
    if bare:
        raise InputError(
            f"{real.path}: no control cells ({control!r}) in {real.labels.keys.cell_type} {_some(bare)}; "
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
    return replace(aligned, notes=aligned.notes + _magnitude_note(aligned, real))


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
            f"found none of {_some(missing)}"
        )
    return own, f"{len(own)} control cells of {pred.path.name} on the predicted side"


def _read_h5ad(path: Path) -> ad.AnnData:
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected an h5ad")
    try:
        adata = ad.read_h5ad(path)
    except Exception as error:
        raise InputError(f"{path}: cannot be read as h5ad ({type(error).__name__}: {error})") from error
    if adata.n_obs == 0 or adata.n_vars == 0 or adata.X is None:
        raise InputError(f"{path}: empty: {adata.n_obs} cells, {adata.n_vars} genes; expected expression in X")
    return adata


def _read_card(own: dict, path: Path) -> DataCard | None:
    if "card" not in own:
        return None
    try:
        return DataCard.from_json(str(own["card"]))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: uns['bionemo_scale']['card'] is no data card ({error!r})") from error


def _gene_names(adata: ad.AnnData, path: Path) -> tuple[str, ...]:
    names = adata.var_names.astype(str)
    twice = names[names.duplicated()].unique().tolist()
    if twice:
        raise InputError(f"{path}: gene names must be unique, found {_some(twice)} more than once")
    return tuple(names)


def _expression(adata: ad.AnnData, path: Path) -> np.ndarray | sparse.csr_matrix:
    if sparse.issparse(adata.X):
        return sparse.csr_matrix(adata.X, dtype=np.float32)
    values = np.asarray(adata.X)
    if not np.issubdtype(values.dtype, np.number):
        raise InputError(f"{path}: X must be numeric, found {values.dtype}")
    return np.ascontiguousarray(values, dtype=np.float32)


def _has_fractions(values: np.ndarray) -> bool:
    # In pieces: log1p data answers in the first, and a copy of everything is not needed.
    pieces = (values[start : start + _VALUES_AT_ONCE] for start in range(0, values.size, _VALUES_AT_ONCE))
    return any(bool((np.modf(piece)[0] > _MIN_FRACTION).any()) for piece in pieces)


def _obs_column(adata: ad.AnnData, key: str, path: Path) -> np.ndarray:
    if key not in adata.obs:
        columns = adata.obs.columns.tolist()
        raise InputError(f"{path}: no obs column {key!r}; {_nearest(key, columns)}found {_some(columns)}")
    column = adata.obs[key]
    if column.isna().any():
        raise InputError(
            f"{path}: obs[{key!r}] has {int(column.isna().sum())} missing values; expected a label a cell"
        )
    labels = pd.Categorical(column.astype(str))
    return np.asarray(labels.categories, dtype=object)[labels.codes]


def _batches(adata: ad.AnnData, key: str, path: Path, *, required: bool) -> tuple[np.ndarray, list[str]]:
    if required or key in adata.obs:
        return _obs_column(adata, key, path), []
    return np.full(adata.n_obs, "", dtype=object), [f"{path.name} has no obs column {key!r}: taken as one batch"]


def _check_genes(pred: PopulationFile, real: PopulationFile) -> None:
    ours, theirs = set(pred.population.genes), set(real.population.genes)
    lacking, extra = sorted(theirs - ours), sorted(ours - theirs)
    if lacking or extra:
        raise InputError(
            f"{pred.path}: genes differ from {real.path}: {len(lacking)} missing{_listed(lacking)}, "
            f"{len(extra)} unknown{_listed(extra)}; expected the same {len(theirs)} names"
        )


def _check_scale(pred: PopulationFile, real: PopulationFile) -> None:
    if pred.card is None or real.card is None:
        return
    ours, theirs = pred.card.scale, real.card.scale
    if (ours.target_sum, ours.source) != (theirs.target_sum, theirs.source):
        raise InputError(
            f"{pred.path}: expression scale (target_sum {ours.target_sum:g}, from {ours.source}) is not that of "
            f"{real.path} (target_sum {theirs.target_sum:g}, from {theirs.source})"
        )


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
            hint = _nearest(names[0], sorted(set(known.tolist())))
            return (
                f"{file.path}: no cells with {kind} {_some(names)}, which {other.path} has; {hint}expected both alike"
            )
    shown = _some([f"{cell_type} x {name}" for cell_type, name in sorted(missing)])
    return f"{file.path}: no cells of {len(missing)} (cell type x perturbation) pairs that {other.path} has: {shown}"


def _magnitude_note(pred: PopulationFile, real: PopulationFile) -> tuple[str, ...]:
    """Warn of a constant factor (such as a division by 10), which no check of single values can see."""
    predicted = float(pred.population.select(~pred.is_control).expression.mean())
    observed = float(real.population.select(~real.is_control).expression.mean())
    ratio = predicted / observed if observed > 0 else float("inf")
    if 1 / 3 < ratio < 3:
        return ()
    return (f"warning: mean expression in {pred.path.name} is {ratio:.3g} times the real one: on the same scale?",)


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=_SHOWN, cutoff=0.5)
    return f"nearest: {', '.join(map(repr, close))}; " if close else ""


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(repr, names[:_SHOWN])) + more


def _listed(names: list[str]) -> str:
    return f" ({_some(names)})" if names else ""
