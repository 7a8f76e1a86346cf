# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Control cells of any h5ad, brought to the genes and the scale of a model."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix, vstack

from bionemo.scale.data.prepare.conversion.scan import check_values
from bionemo.scale.data.store.format import covariate_column
from bionemo.scale.data.store.groups import GroupTable
from bionemo.scale.data.store.reader import Store
from bionemo.scale.files.anndata.anndata_file import H5adSource
from bionemo.scale.files.anndata.checked_anndata import CheckedAnnData
from bionemo.scale.files.anndata.held_anndata import HeldAnnData
from bionemo.scale.files.anndata.label_column import Labels, columns_of, is_number
from bionemo.scale.files.label_list import settle_labels
from bionemo.scale.files.suggest import some, suggest
from bionemo.scale.files.url import PathOrUrl
from bionemo.scale.infer.controls.control_scale import ControlValues
from bionemo.scale.infer.settings import GivenScale
from bionemo.scale.types import JOINED, DataCard, InputError


@dataclass(frozen=True, kw_only=True)
class ControlCells:
    """Control cells on a model's scale, with the labels a prediction needs."""

    expression: csr_matrix
    """[cells, G] float32 log1p, columns in the model's gene order."""
    cell_type: np.ndarray
    """[cells] strings."""
    batch: np.ndarray
    """[cells] strings."""
    names: np.ndarray
    """[cells] obs names."""
    notes: tuple[str, ...] = ()
    """What was changed about the labels, and what the user should know of the cells."""
    covariates: tuple[np.ndarray, ...] = ()
    """[cells] strings for each covariate of the model, under which the cells are predicted."""
    measured: tuple[np.ndarray, ...] = ()
    """The same as they were measured, where other ones are stated for the prediction."""
    is_again: np.ndarray | None = None
    """[cells] bool, which were drawn again of measured ones (:mod:`bionemo.scale.infer.controls.more_cells`)."""

    @property
    def context(self) -> np.ndarray:
        """[cells] strings, cell type with covariates."""
        return contexts_of([self.cell_type, *self.covariates])

    def with_covariates(self, values: Mapping[str, str], card: DataCard) -> "ControlCells":
        """Return the same cells, to be predicted under another value of some covariates.

        Raises:
            InputError: The model has no such covariate.
        """
        keys = card.keys.covariates
        for key in values:
            if key not in keys:
                raise InputError(f"--covariate: no covariate {key!r}; {suggest(key, keys)}")
        if not values:
            return self
        stated = [
            np.full(len(old), values.get(key), dtype=object) if key in values else old
            for key, old in zip(keys, self.covariates, strict=True)
        ]
        # A file without the column does not say when its cells were measured.
        measured = [new if set(old) == {""} else old for old, new in zip(self.covariates, stated, strict=True)]
        return replace(self, covariates=tuple(stated), measured=tuple(measured))

    def take(self, chosen: np.ndarray) -> "ControlCells":
        """Return some of the cells: a mask or positions."""
        return ControlCells(
            expression=self.expression[chosen],
            cell_type=self.cell_type[chosen],
            batch=self.batch[chosen],
            names=self.names[chosen],
            notes=self.notes,
            covariates=tuple(values[chosen] for values in self.covariates),
            measured=tuple(values[chosen] for values in self.measured),
            is_again=None if self.is_again is None else self.is_again[chosen],
        )

    def followed_by(self, others: "ControlCells") -> "ControlCells":
        """Return these cells and others after them, with the notes of these."""

        def both(name: str) -> tuple[np.ndarray, ...]:
            pairs = zip(getattr(self, name), getattr(others, name), strict=True)
            return tuple(np.concatenate(pair) for pair in pairs)

        return ControlCells(
            expression=csr_matrix(vstack([self.expression, others.expression])),
            cell_type=np.concatenate([self.cell_type, others.cell_type]),
            batch=np.concatenate([self.batch, others.batch]),
            names=np.concatenate([self.names, others.names]),
            notes=self.notes,
            covariates=both("covariates"),
            measured=both("measured"),
        )

    def thin_out(self, limit: int, *, seed: int) -> "ControlCells":
        """Return at most so many cells of each (context, batch), drawn without replacement, in their order."""
        return self.take(_draw(self.context, self.batch, limit, seed=seed))


def contexts_of(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Return [cells] strings, :attr:`bionemo.scale.types.Group.context` of cells.

    Args:
        columns: [cells] strings each, cell type and covariates.
    """
    if len(columns) == 1:
        return columns[0]
    return np.array([JOINED.join(map(str, labels)) for labels in zip(*columns, strict=True)], dtype=object)


def _draw(context: np.ndarray, batch: np.ndarray, limit: int, *, seed: int) -> np.ndarray:
    order = np.random.default_rng([seed, limit]).permutation(len(context))
    labels = pd.DataFrame({"context": context[order], "batch": batch[order]})
    return np.sort(order[labels.groupby(["context", "batch"]).cumcount().to_numpy() < limit])


def controls_of_store(store: Store, cell_types: Sequence[str] = (), *, limit: int, seed: int) -> ControlCells:
    """Return the control cells of a store, whatever split they are in: controls are known before an experiment.

    Args:
        store: The store.
        cell_types: Only these; all where none is named.
        limit: Most cells of a (context, batch).
        seed: Which ones.

    Raises:
        InputError: A cell type is not in the store, or has no controls.
    """
    groups, cell_types = store.groups, settle_labels(cell_types, store.card.cell_types)
    chosen = [i for i in np.flatnonzero(groups.is_control).tolist() if _is_asked(groups, i, cell_types)]
    present = {store.card.cell_types[groups.cell_type[i]] for i in chosen}
    _check_cell_types(cell_types, present, store.card.cell_types, source=store.path)
    rows = np.concatenate([groups.rows(i) for i in chosen])
    table = store.obs(rows).astype(str)
    # Drawn before anything is read: a store may hold far more controls than fit in memory.
    covariates = [covariate_column(number) for number in range(len(groups.covariates))]
    context = table[["cell_type", *covariates]].agg(JOINED.join, axis=1) if covariates else table["cell_type"]
    kept = _draw(context.to_numpy(dtype=object), table["batch"].to_numpy(dtype=object), limit, seed=seed)
    labels = {name: table[name].to_numpy(dtype=object)[kept] for name in table.columns}
    return ControlCells(
        expression=store.read(rows[kept]),
        cell_type=labels["cell_type"],
        batch=labels["batch"],
        names=labels["cell"],
        covariates=tuple(labels[name] for name in covariates),
    )


def _is_asked(groups: GroupTable, group: int, cell_types: Sequence[str]) -> bool:
    return not cell_types or groups.cell_types[groups.cell_type[group]] in cell_types


def _check_cell_types(asked: Sequence[str], present: set[str], known: Sequence[str], *, source: Path) -> None:
    for name in asked:
        if name not in present:
            raise InputError(
                f"{source}: expected control cells of cell type {name!r}, found none; {suggest(name, known)}"
            )


@dataclass(frozen=True, kw_only=True)
class CellSource:
    """Cells of raw counts, or of log1p values on a model's scale, and how it is read."""

    path: PathOrUrl
    held: anndata.AnnData | None = None
    """Cells of a notebook, which ``path`` is the name of; ``None`` reads the file."""
    given: GivenScale = field(default_factory=GivenScale)
    """What the user says of the values."""
    matrix: str | None = None
    """Where the expression is; ``None`` is where the training data had it."""
    gene_key: str | None = None
    """var column with the gene names; ``None`` is that of the training data."""
    stated: Collection[str] = ()
    """Covariates that the user states, which the file need not have."""

    def open(self, card: DataCard) -> H5adSource:
        """Open the file at what the user names, else at what the training data of a model had.

        Raises:
            InputError: The file does not have that; what is there instead may be something else.
        """
        matrix, gene_key = self.matrix, self.gene_key
        with self._opened() as file:
            if matrix is None:
                check_has_matrix(card, file.names(card.matrix.partition("/")[0]), source=self.path)
                matrix = card.matrix
            frame = "raw/var" if matrix == "raw/X" else "var"
            if gene_key is None and card.gene_key is not None and not matrix.startswith("obsm/"):
                _check_has_gene_key(file, frame, card.gene_key)
                gene_key = card.gene_key
        return H5adSource(self._opened(), matrix=matrix, gene_key=gene_key)

    def _opened(self) -> CheckedAnnData:
        return CheckedAnnData(self.path) if self.held is None else HeldAnnData(self.held, str(self.path))


def read_controls(source: CellSource, card: DataCard, *, cell_types: Sequence[str] = ()) -> ControlCells:
    """Read the control cells of a file.

    Cells whose perturbation is the control label are controls; a file without that column holds nothing else.

    Args:
        source: The file.
        card: The model's genes, labels and scale.
        cell_types: Only these; all where none is named.

    Raises:
        InputError: If a column, the control label, a cell type or genes are missing, or values are not expression, not
            on the model's scale, or do not show what they are.
    """
    with source.open(card) as file:
        keep, control_notes = _controls_of(file, card)
        if cell_types:
            labels = file.labels(card.keys.cell_type).of_cells()
            cell_types = settle_labels(cell_types, set(labels))
            _check_cell_types(cell_types, set(labels[keep]), sorted(set(labels)), source=source.path)
            keep &= np.isin(labels.astype(str), cell_types)
        cells = read_cells(file, card, keep, given=source.given, stated=source.stated)
        notes = (*control_notes, *cells.notes, *_empty_cells(cells.expression, source.path))
        return replace(cells, notes=tuple(dict.fromkeys(notes)))


def read_cells(
    file: H5adSource, card: DataCard, keep: np.ndarray, *, given: GivenScale, stated: Collection[str] = ()
) -> ControlCells:
    """Read chosen cells of an open file on a model's genes and scale.

    Args:
        file: The file.
        card: The model's genes, labels and scale.
        keep: [cells of the file] bool.
        given: What the user says of the values.
        stated: Covariates that the file need not have.

    Raises:
        InputError: A column or genes are missing, or values are not on the model's scale, or do not show what they
            are.
    """
    values = ControlValues(file, card, _columns_of(file, card), given=given)
    for chunk in file.chunks():
        check_values(file, chunk)
        first = chunk.first_cell
        values.add(chunk, keep[first : first + chunk.matrix.shape[0]])
    cell_type, batch = file.labels(card.keys.cell_type), file.labels(card.keys.batch)
    covariates = [_covariate(file, key, stated=key in stated) for key in card.keys.covariates]
    expression = values.on_scale(keep)
    return ControlCells(
        expression=expression,
        cell_type=cell_type.of_cells()[keep],
        batch=batch.of_cells()[keep],
        names=file.cell_names()[keep],
        notes=(*(note for labels in (cell_type, batch, *covariates) for note in labels.notes), *values.notes),
        covariates=tuple(labels.of_cells()[keep] for labels in covariates),
    )


def _covariate(source: H5adSource, key: str, *, stated: bool) -> Labels:
    """Return the values of a covariate; a file need not have what the user states instead."""
    if stated and not source.has_labels(key):
        return Labels(codes=np.zeros(source.num_cells, dtype=np.int32), names=("",))
    return source.labels(key)


def _empty_cells(expression: csr_matrix, path: Path) -> tuple[str, ...]:
    """Say how many cells express none of the model's genes; refuse if none does.

    Raises:
        InputError: Every value is 0.
    """
    empty = int((expression.getnnz(axis=1) == 0).sum())
    if empty == expression.shape[0]:
        raise InputError(f"{path}: expected control cells with expression of the model's genes, every value is 0")
    return (f"{path}: {empty} of {expression.shape[0]} control cells have no counts of the model's genes",) * (
        empty > 0
    )


def check_has_matrix(card: DataCard, names: Sequence[str], *, source: Path | str) -> None:
    """Refuse cells whose expression is not where that of the training data was.

    Args:
        card: Says where it was.
        names: What the cells have there, names of layers for one.
        source: The cells' name in the refusal.

    Raises:
        InputError: It is not among ``names``.
    """
    slot, _, name = card.matrix.partition("/")
    if name and name not in names:
        raise InputError(
            f"{source}: expected expression in {card.matrix}, where the training data had it, found "
            f"{some(names) or 'nothing'} in {slot}; say where it is with --matrix, such as --matrix X"
        )


def _check_has_gene_key(file: CheckedAnnData, frame: str, key: str) -> None:
    index, columns = file.index_name(frame), file.columns(frame)
    if key not in (index, *columns):
        raise InputError(
            f"{file.path}: expected gene names in {frame}[{key!r}], where the training data had them, found the "
            "columns "
            f"{some(columns) or 'none'}; give --gene-key, which is {index} for the index"
        )


def control_mask(source: H5adSource, card: DataCard) -> np.ndarray:
    """Return which cells of a file are controls, [cells] bool; all where no column says.

    Raises:
        InputError: None is, or another column seems to tell controls from perturbed cells.
    """
    return _controls_of(source, card)[0]


def _controls_of(source: H5adSource, card: DataCard) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return what :func:`control_mask` does, and what the user should know of it; obs is read once."""
    if not source.has_labels(card.keys.perturbation):
        return np.ones(source.num_cells, dtype=bool), tuple(_notes_of_other_columns(source, card))
    column = source.labels(card.keys.perturbation, named=card.all_controls)
    labels = column.of_cells()
    keep = np.isin(labels.astype(str), card.all_controls)
    if not keep.any():
        wanted = " or ".join(map(repr, card.all_controls))
        raise InputError(
            f"{source.path}: expected control cells, obs[{card.keys.perturbation!r}] = {wanted}, found none; "
            f"{suggest(card.control, set(labels))}"
        )
    return keep, column.notes


def _notes_of_other_columns(source: H5adSource, card: DataCard) -> Iterator[str]:
    """Say which columns of a file without the perturbation column may be it under another name.

    Raises:
        InputError: One is very likely to be.
    """
    keys, known = card.keys, source.columns()
    used = {name for key in (keys.cell_type, keys.batch, *keys.covariates) for name in columns_of(key, known)}
    for column, counts in source.text_columns():
        perturbed, of_control = (counts[counts.index.isin(names)] for names in (card.perturbations, card.all_controls))
        if column in used or not (len(perturbed) or 0 < of_control.sum() < source.num_cells):
            continue
        labels = some(perturbed.index.tolist())
        if _is_renamed(counts, perturbed, of_control):
            raise InputError(
                f"{source.path}: expected obs[{keys.perturbation!r}], which tells controls from perturbed cells, "
                f"found no such column, and {int(perturbed.sum())} cells of {labels} in obs[{column!r}]; rename that "
                "column, or give control cells without it"
            )
        yield (
            f"{source.path}: no obs column {keys.perturbation!r}, so all {source.num_cells} cells are taken for "
            f"controls; obs[{column!r}] calls "
        ) + (
            f"{int(perturbed.sum())} of them {labels}, as the model calls perturbations"
            if len(perturbed)
            else f"only {int(of_control.sum())} of them {card.control!r}"
        )


def _is_renamed(counts: pd.Series, perturbed: pd.Series, of_control: pd.Series) -> bool:
    """Return whether a column has perturbations of the model beside its controls, or little else.

    Plain numbers do not count: clusters, wells and donors are numbered too.

    Args:
        counts: Cells of each distinct label.
        perturbed: Those of perturbations of the model.
        of_control: Those of its controls.
    """
    known = sum(not is_number(str(label)) for label in perturbed.index)
    has_controls = any(not is_number(str(label)) for label in of_control.index)
    return len(perturbed) > 0 and (has_controls or 2 * known > len(counts))


def _columns_of(source: H5adSource, card: DataCard) -> np.ndarray:
    position = {gene: index for index, gene in enumerate(source.genes)}
    missing = [gene for gene in card.genes if gene not in position]
    if missing:
        raise InputError(
            f"{source.path}: expected the model's {len(card.genes)} genes, found {len(missing)} missing, the first "
            "are "
            f"{', '.join(missing[:5])}; genes of the file are {some(source.genes.tolist())}: give --gene-key if a var "
            "column has the model's names"
        )
    return np.array([position[gene] for gene in card.genes])
