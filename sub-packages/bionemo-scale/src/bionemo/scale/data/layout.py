# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Where each cell goes: groups from labels, and the store row of every cell of every file."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bionemo.scale.data.format import CHUNK_ROWS
from bionemo.scale.data.groups import GroupTable
from bionemo.scale.data.h5ad import H5adSource, Labels
from bionemo.scale.data.split import Condition, ResolvedSplit
from bionemo.scale.data.suggest import suggest
from bionemo.scale.types import InputError, ObsKeys


@dataclass(frozen=True, kw_only=True)
class FileLabels:
    """Labels of the cells of one file; every control label is already the first one."""

    path: Path
    dataset: str
    cell_type: Labels
    perturbation: Labels
    batch: Labels


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Order of the store."""

    groups: GroupTable
    rows: tuple[np.ndarray, ...]
    """For each file [cells] int64: store row of each cell, -1 for cells left out."""


@dataclass(frozen=True, kw_only=True)
class BlockTable:
    """The blocks of one file, in store order."""

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


class _FileGroups(NamedTuple):
    """The groups of one file."""

    columns: dict[str, np.ndarray]
    """[groups] arrays by their name in the group table."""
    rows: np.ndarray
    """[cells] int64 store rows, -1 for cells left out."""


def read_labels(
    sources: Sequence[H5adSource], datasets: Sequence[str], keys: ObsKeys, controls: Sequence[str]
) -> tuple[FileLabels, ...]:
    """Read the label columns of every file and give all controls one name.

    Args:
        sources: Open files.
        datasets: Name of each file's dataset.
        keys: obs columns.
        controls: Perturbation labels that mean control; the first stands for all.

    Raises:
        InputError: A column is missing, or a control label is in no file.
    """
    found: set[str] = set()
    files = []
    for source, dataset in zip(sources, datasets, strict=True):
        perturbation = source.labels(keys.perturbation)
        found.update(perturbation.names)
        names = tuple(controls[0] if name in controls else name for name in perturbation.names)
        files.append(
            FileLabels(
                path=source.path,
                dataset=dataset,
                cell_type=source.labels(keys.cell_type),
                perturbation=Labels(codes=perturbation.codes, names=names),
                batch=source.labels(keys.batch),
            )
        )
    for control in controls:
        if control not in found:
            where = ", ".join(str(source.path) for source in sources)
            raise InputError(
                f"{where}: obs[{keys.perturbation!r}] has no control label {control!r}; {suggest(control, found)}"
            )
    return tuple(files)


def count_conditions(files: Sequence[FileLabels]) -> dict[Condition, int]:
    """Return the number of cells of every (dataset, cell type, perturbation)."""
    counts: Counter[Condition] = Counter()
    for file in files:
        width = len(file.perturbation.names)
        pairs, sizes = np.unique(
            file.cell_type.codes.astype(np.int64) * width + file.perturbation.codes, return_counts=True
        )
        for pair, size in zip(pairs.tolist(), sizes.tolist(), strict=True):
            cell_type, perturbation = divmod(pair, width)
            names = (file.cell_type.names[cell_type], file.perturbation.names[perturbation])
            counts[Condition(file.dataset, *names)] += size
    return dict(counts)


def lay_out(files: Sequence[FileLabels], split: ResolvedSplit) -> Layout:
    """Group the cells and number them group by group, file by file, perturbed groups before controls.

    Raises:
        InputError: Two files of one dataset have cells of the same group.
    """
    kept = [_keep(file, split) for file in files]
    names = _vocabularies(files, kept, split)
    parts: list[_FileGroups] = []
    for shard, (file, keep) in enumerate(zip(files, kept, strict=True)):
        first_row = sum(int(part.columns["num_cells"].sum()) for part in parts)
        parts.append(_group_cells(file, keep, names, shard=shard, first_row=first_row))
    columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns}
    columns["first_row"] = np.cumsum(columns["num_cells"]) - columns["num_cells"]
    groups = _with_splits(columns, names, split)
    _check_unique(groups, files)
    return Layout(groups=groups, rows=tuple(part.rows for part in parts))


def blocks_of_shard(groups: GroupTable, shard: int) -> BlockTable:
    """Cut the groups of one file into blocks of at most ``CHUNK_ROWS`` cells."""
    members = np.flatnonzero(groups.shard == shard)
    num_blocks = -(-groups.num_cells[members] // CHUNK_ROWS)
    group = np.repeat(members, num_blocks)
    chunk = np.arange(len(group)) - np.repeat(np.cumsum(num_blocks) - num_blocks, num_blocks)
    return BlockTable(
        group=group,
        chunk=chunk,
        first_row=groups.first_row[group] + chunk * CHUNK_ROWS,
        num_cells=np.minimum(groups.num_cells[group] - chunk * CHUNK_ROWS, CHUNK_ROWS),
        is_control=groups.is_control[group],
    )


def _keep(file: FileLabels, split: ResolvedSplit) -> np.ndarray:
    """[cells] bool, False for cells of conditions that the split leaves out."""
    table = np.array(
        [
            [
                split.assignments.get(Condition(file.dataset, cell_type, perturbation)) is not None
                for perturbation in file.perturbation.names
            ]
            for cell_type in file.cell_type.names
        ]
    )
    return table[file.cell_type.codes, file.perturbation.codes]


def _vocabularies(files: Sequence[FileLabels], kept: Sequence[np.ndarray], split: ResolvedSplit) -> _Names:
    """Names that kept cells have, sorted; datasets as given."""
    used = [condition for condition, part in split.assignments.items() if part is not None]
    batches = {
        file.batch.names[code]
        for file, keep in zip(files, kept, strict=True)
        for code in np.unique(file.batch.codes[keep]).tolist()
    }
    return _Names(
        datasets=tuple(dict.fromkeys(file.dataset for file in files)),
        cell_types=tuple(sorted({condition.cell_type for condition in used})),
        perturbations=tuple(sorted({condition.perturbation for condition in used} - {split.control})),
        batches=tuple(sorted(batches)),
    )


def _group_cells(file: FileLabels, keep: np.ndarray, names: _Names, *, shard: int, first_row: int) -> _FileGroups:
    """Sort a file's kept cells by group, in file order within a group, and number them from ``first_row``."""
    cell_type = _global_codes(file.cell_type, names.cell_types)[keep]
    perturbation = _global_codes(file.perturbation, names.perturbations)[keep]
    batch = _global_codes(file.batch, names.batches)[keep]
    # One number a group, whose order is that of the store: perturbed before control, then label by label.
    key = (perturbation < 0).astype(np.int64)
    for codes, size in (
        (cell_type, len(names.cell_types)),
        (perturbation + 1, len(names.perturbations) + 1),
        (batch, len(names.batches)),
    ):
        key = key * size + codes
    _, example, group, num_cells = np.unique(key, return_index=True, return_inverse=True, return_counts=True)
    order = np.argsort(group, kind="stable")
    rows = np.full(len(keep), -1, dtype=np.int64)
    rows[np.flatnonzero(keep)[order]] = first_row + np.arange(len(order))
    columns = {
        "dataset": np.full(len(num_cells), names.datasets.index(file.dataset)),
        "cell_type": cell_type[example],
        "perturbation": perturbation[example],
        "batch": batch[example],
        "num_cells": num_cells,
        "shard": np.full(len(num_cells), shard),
    }
    return _FileGroups(columns, rows)


def _global_codes(labels: Labels, vocabulary: tuple[str, ...]) -> np.ndarray:
    """[cells] int64, row in the vocabulary; -1 for names that are not in it (control, or left out)."""
    index = {name: code for code, name in enumerate(vocabulary)}
    return np.array([index.get(name, -1) for name in labels.names], dtype=np.int64)[labels.codes]


def _with_splits(columns: dict[str, np.ndarray], names: _Names, split: ResolvedSplit) -> GroupTable:
    perturbations = (*names.perturbations, split.control)
    parts = [
        split.assignments[Condition(names.datasets[dataset], names.cell_types[cell_type], perturbations[perturbation])]
        for dataset, cell_type, perturbation in zip(
            columns["dataset"].tolist(), columns["cell_type"].tolist(), columns["perturbation"].tolist(), strict=True
        )
    ]
    lists = {name: values.tolist() for name, values in columns.items()}
    return GroupTable.from_columns({**lists, "split": parts}, **names._asdict(), control=split.control)


def _check_unique(groups: GroupTable, files: Sequence[FileLabels]) -> None:
    seen: dict[tuple, int] = {}
    for index in range(len(groups)):
        label = groups.label(index)
        other = seen.setdefault(label, index)
        if other != index:
            paths = [str(files[groups.shard[row]].path) for row in (other, index)]
            raise InputError(
                f"{paths[1]}: cells of {tuple(label)} are in {paths[0]} too; give the files different --dataset names"
            )
