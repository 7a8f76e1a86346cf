# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Where each cell goes: groups from labels, and the store row of every cell of a file.

The table of groups is made of what every file counts; the row of each cell only when its file is read, so that
memory follows the largest file and not the sum of all.
"""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bionemo.scale.data.labels.split import Condition, ResolvedSplit
from bionemo.scale.data.store.format import CHUNK_ROWS
from bionemo.scale.data.store.groups import GroupTable
from bionemo.scale.files.anndata.anndata_file import H5adSource
from bionemo.scale.files.anndata.label_column import Labels
from bionemo.scale.files.labels.grammar import Grammar
from bionemo.scale.files.suggest import MAX_NAMES, some, suggest
from bionemo.scale.types import NO_COLUMN, Group, InputError, ObsKeys


_MAX_KEY_TABLE = 1 << 24


@dataclass(frozen=True, kw_only=True)
class FileLabels:
    """Labels of the cells of one file; every control label is already the first one."""

    path: Path
    dataset: str
    cell_type: Labels
    perturbation: Labels
    batch: Labels
    covariates: tuple[Labels, ...] = ()
    kept: np.ndarray | None = None
    """[cells] bool, cells that passed a filter; ``None`` keeps all."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What was changed about the labels."""
        columns = (self.cell_type, self.perturbation, self.batch, *self.covariates)
        return tuple(note for labels in columns for note in labels.notes)


@dataclass(frozen=True, kw_only=True)
class FileGroups:
    """How many cells a file has of every group."""

    path: Path
    dataset: str
    counts: Mapping[Group, int]


@dataclass(frozen=True, kw_only=True)
class BlockTable:
    """The blocks of one input, in store order; groups and rows are counted from the first of that input."""

    group: np.ndarray
    """[blocks] int64."""
    chunk: np.ndarray
    """[blocks] int64, number within the group."""
    first_row: np.ndarray
    """[blocks] int64."""
    num_cells: np.ndarray
    """[blocks] int64."""
    is_control: np.ndarray
    """[blocks] bool."""


class _Names(NamedTuple):
    """Vocabularies of the store."""

    datasets: tuple[str, ...]
    cell_types: tuple[str, ...]
    perturbations: tuple[str, ...]
    batches: tuple[str, ...]
    covariates: tuple[tuple[str, ...], ...]


def read_labels(source: H5adSource, dataset: str, keys: ObsKeys, *, grammar: Grammar) -> FileLabels:
    """Read the label columns of a file and give all controls, and all spellings of a combination, one name.

    Args:
        source: Open file.
        dataset: Name of its dataset.
        keys: obs columns.
        grammar: How perturbations are read; the first of its controls stands for all.

    Raises:
        InputError: A column is missing, or some cells have no label.
    """
    _check_columns(source, keys)
    perturbation = source.labels(keys.perturbation, named=grammar.controls)
    names = tuple(map(grammar.canonical, perturbation.names))
    return FileLabels(
        path=source.path,
        dataset=dataset,
        cell_type=source.labels(keys.cell_type),
        perturbation=replace(perturbation, names=names),
        batch=source.labels(keys.batch),
        covariates=tuple(map(source.labels, keys.covariates)),
    )


def _check_columns(source: H5adSource, keys: ObsKeys) -> None:
    """Refuse a file that lacks several columns in one line, so that not each try finds the next."""
    named = {"--perturbation-key": keys.perturbation, "--cell-type-key": keys.cell_type, "--batch-key": keys.batch}
    missing = [f"{key!r} ({option})" for option, key in named.items() if not source.has_labels(key)]
    if len(missing) > 1:
        found = some(source.columns(), most=MAX_NAMES)
        raise InputError(
            f"{source.path}: obs has no columns {' and '.join(missing)}; found {found}; {NO_COLUMN} stands for "
            "one cell type or one batch of all cells"
        )


def check_controls(labels: Mapping[Path, Sequence[str]], keys: ObsKeys, controls: Sequence[str]) -> None:
    """Check that every control label is in some file.

    Args:
        labels: Perturbation labels of each file.
        keys: obs columns.
        controls: Perturbation labels that mean control.

    Raises:
        InputError: One is in no file.
    """
    known = {name for names in labels.values() for name in names}
    for control in controls:
        if control not in known:
            where = ", ".join(str(path) for path in labels)
            raise InputError(
                f"{where}: obs[{keys.perturbation!r}] has no control label {control!r}; {suggest(control, known)}"
            )


def count_groups(file: FileLabels) -> FileGroups:
    """Count the cells of every group of a file."""
    labels, group = _label_cells(file)
    sizes = np.bincount(group[group >= 0], minlength=len(labels))
    counts: Counter[Group] = Counter()
    for label, size in zip(labels, sizes.tolist(), strict=True):
        # Several control labels have one name.
        counts[label] += size
    return FileGroups(path=file.path, dataset=file.dataset, counts={label: n for label, n in counts.items() if n})


def count_conditions(files: Sequence[FileGroups]) -> dict[Condition, int]:
    """Return the number of cells of every (dataset, cell type, perturbation)."""
    counts: Counter[Condition] = Counter()
    for file in files:
        for group, size in file.counts.items():
            counts[Condition(*group[:3])] += size
    return dict(counts)


def lay_out(files: Sequence[FileGroups], split: ResolvedSplit) -> GroupTable:
    """Order the groups that the split uses: file by file, perturbed before control, then by name.

    Raises:
        InputError: Two files of one dataset have cells of the same group.
    """
    used = [[group for group in file.counts if _is_used(group, split)] for file in files]
    _check_unique(used, files)
    names = _vocabularies(files, used, split)
    _check_contexts({group for part in used for group in part})
    indices = [{name: code for code, name in enumerate(vocabulary)} for vocabulary in names[:4]]
    codes_of = [{name: code for code, name in enumerate(vocabulary)} for vocabulary in names.covariates]
    columns: dict[str, list] = {
        name: []
        for name in ("dataset", "cell_type", "perturbation", "batch", "split", "num_cells", "shard", "covariate")
    }
    for shard, (file, groups) in enumerate(zip(files, used, strict=True)):
        for group in sorted(groups, key=lambda group: (group.perturbation == split.control, *group)):
            for name, index, label in zip(
                ("dataset", "cell_type", "perturbation", "batch"), indices, group[:4], strict=True
            ):
                # The control label is in no vocabulary.
                columns[name].append(index.get(label, -1) if name == "perturbation" else index[label])
            columns["split"].append(split.assignments[Condition(*group[:3])])
            columns["num_cells"].append(file.counts[group])
            columns["shard"].append(shard)
            columns["covariate"].append([own[name] for own, name in zip(codes_of, group.covariates, strict=True)])
    ends = np.cumsum(columns["num_cells"], dtype=np.int64)
    first_row = (ends - columns["num_cells"]).tolist()
    return GroupTable.from_columns({**columns, "first_row": first_row}, **names._asdict(), control=split.control)


def rows_of_file(file: FileLabels, groups: GroupTable, shard: int) -> np.ndarray:
    """Return where each cell of a file goes; cells of a group keep their order.

    Args:
        file: Its labels.
        groups: Groups of the store.
        shard: Number of the file.

    Returns:
        [cells] int64 rows, counted from the first row of the file; -1 for cells left out.
    """
    number = {groups.label(index): index for index in np.flatnonzero(groups.shard == shard).tolist()}
    labels, group = _label_cells(file)
    # One more for the cells that a filter left out.
    owner = np.array([*(number.get(label, -1) for label in labels), -1], dtype=np.int64)
    group = owner[group]
    rows = np.full(len(group), -1, dtype=np.int64)
    cells = np.flatnonzero(group >= 0)
    # Groups are numbered in row order, so that sorting by group numbers the cells.
    rows[cells[np.argsort(group[cells], kind="stable")]] = np.arange(len(cells))
    return rows


def blocks_of_shard(groups: GroupTable, shard: int) -> BlockTable:
    """Cut the groups of one file into blocks of at most ``CHUNK_ROWS`` cells."""
    members = np.flatnonzero(groups.shard == shard)
    sizes, is_control = groups.num_cells[members], groups.is_control[members]
    num_blocks = -(-sizes // CHUNK_ROWS)
    group = np.repeat(np.arange(len(members)), num_blocks)
    chunk = np.arange(len(group)) - np.repeat(np.cumsum(num_blocks) - num_blocks, num_blocks)
    return BlockTable(
        group=group,
        chunk=chunk,
        first_row=(np.cumsum(sizes) - sizes)[group] + chunk * CHUNK_ROWS,
        num_cells=np.minimum(sizes[group] - chunk * CHUNK_ROWS, CHUNK_ROWS),
        is_control=is_control[group],
    )


def _label_cells(file: FileLabels) -> tuple[list[Group], np.ndarray]:
    """Labels that cells of a file have, and which of them each cell has, [cells] int32, -1 for filtered cells."""
    parts: list[tuple[np.ndarray, Sequence[Any]]] = [
        (labels.codes, labels.names) for labels in (file.cell_type, file.perturbation, file.batch)
    ]
    parts.append(_combined(file.covariates, len(file.batch.codes)))
    num_keys = math.prod(len(names) for _, names in parts)
    key: np.ndarray = np.zeros(len(file.batch.codes), dtype=np.int32 if num_keys < 1 << 31 else np.int64)
    for own, names in parts:
        key *= len(names)
        key += own
    if num_keys <= _MAX_KEY_TABLE:
        present = np.flatnonzero(np.bincount(key, minlength=num_keys))
        table = np.zeros(num_keys, dtype=np.int32)
        table[present] = np.arange(len(present))
        group = table[key]
    else:
        present, group = np.unique(key, return_inverse=True)
    if file.kept is not None:
        group[~file.kept] = -1
    codes = np.unravel_index(present, [len(names) for _, names in parts])
    columns = [[names[code] for code in column.tolist()] for (_, names), column in zip(parts, codes, strict=True)]
    return [Group(file.dataset, *label) for label in zip(*columns, strict=True)], group


def _combined(covariates: Sequence[Labels], num_cells: int) -> tuple[np.ndarray, list[tuple[str, ...]]]:
    """Return which combination of covariates each cell has, [cells] int32, and the combinations that there are."""
    if not covariates:
        return np.zeros(num_cells, dtype=np.int32), [()]
    rows, codes = np.unique(np.stack([each.codes for each in covariates]), axis=1, return_inverse=True)
    values = [tuple(each.names[code] for each, code in zip(covariates, row, strict=True)) for row in rows.T.tolist()]
    return codes.reshape(-1).astype(np.int32), values


def _is_used(group: Group, split: ResolvedSplit) -> bool:
    return split.assignments.get(Condition(*group[:3])) is not None


def _vocabularies(files: Sequence[FileGroups], used: Sequence[Sequence[Group]], split: ResolvedSplit) -> _Names:
    """Names that kept cells have, sorted; datasets as given."""
    groups = [group for part in used for group in part]
    covariates = zip(*(each.covariates for each in groups), strict=True)
    return _Names(
        datasets=tuple(dict.fromkeys(file.dataset for file in files)),
        cell_types=tuple(sorted({group.cell_type for group in groups})),
        perturbations=tuple(sorted({group.perturbation for group in groups} - {split.control})),
        batches=tuple(sorted({group.batch for group in groups})),
        covariates=tuple(tuple(sorted(set(values))) for values in covariates),
    )


def _check_contexts(groups: Collection[Group]) -> None:
    """Refuse labels that scores could not tell apart, where a context is called by its cell type and covariates."""
    parts: dict[str, tuple[str, ...]] = {}
    for group in groups:
        own = (group.cell_type, *group.covariates)
        if parts.setdefault(group.context, own) != own:
            raise InputError(
                f"--covariate-key: {own} and {parts[group.context]} would both be called {group.context!r}; rename "
                "one of the labels"
            )


def _check_unique(used: Sequence[Sequence[Group]], files: Sequence[FileGroups]) -> None:
    seen: dict[Group, int] = {}
    for number, groups in enumerate(used):
        for group in groups:
            other = seen.setdefault(group, number)
            if other != number:
                raise InputError(
                    f"{files[number].path}: cells of {tuple(group)} are in {files[other].path} too; give the files "
                    "different --dataset names"
                )
