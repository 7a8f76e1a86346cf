# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What is done to one input file: look at its labels, scan it, write its shards. Each runs in any process.

Results that take long are kept in the work folder, so that the same call with the same folder goes on from them.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import lmdb
import numpy as np

from bionemo.scale.data.prepare.conversion.knockdown import cells_with_knockdown
from bionemo.scale.data.prepare.conversion.layout import (
    FileGroups,
    FileLabels,
    count_groups,
    read_labels,
    rows_of_file,
)
from bionemo.scale.data.prepare.conversion.scan import (
    FileStatistics,
    ScanJournal,
    note_library_sizes,
    read_library_size,
    scan,
)
from bionemo.scale.data.prepare.conversion.workspace import WORK_NAME, file_lock
from bionemo.scale.data.prepare.conversion.writer import ShardJob, write_obs, write_shards
from bionemo.scale.data.prepare.settings import Knockdown
from bionemo.scale.data.store.groups import GroupTable
from bionemo.scale.data.store.manifest import FileEntry, InputEntry, is_store
from bionemo.scale.files.anndata.anndata_file import H5adSource
from bionemo.scale.files.expression_scale import StatedScale
from bionemo.scale.files.labels.grammar import Grammar
from bionemo.scale.files.provenance import hash_file, size_of
from bionemo.scale.files.text import read_json
from bionemo.scale.files.writing.atomic import atomic, write_text
from bionemo.scale.types import Codec, InputError, ObsKeys, Split, ValueKind


Progress = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class InputFile:
    """One input, and how it is read."""

    number: int
    path: Path
    dataset: str
    folder: Path
    """The store in the making."""
    matrix: str
    gene_key: str | None
    keys: ObsKeys
    grammar: Grammar
    """How perturbations are read, and which are controls."""
    library_size_key: str | None
    target_sum: float
    values: ValueKind | None
    """What the user says the values are."""
    is_target_stated: bool
    """Whether the user gave ``target_sum``."""
    knockdown: Knockdown | None
    hvg_factor: float = 1.0
    """What log1p values are multiplied with where genes are chosen."""

    @property
    def scan_path(self) -> Path:
        """Journal of the first pass, without ending."""
        return self.folder / WORK_NAME / f"scan-{self.number:05d}"

    def work_path(self, name: str) -> Path:
        """Return a file of the work folder that is this input's alone."""
        return self.folder / WORK_NAME / f"{name}-{self.number:05d}"


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What the columns of an input tell."""

    genes: np.ndarray
    """[genes] strings."""
    num_cells: int
    perturbations: tuple[str, ...]
    """Labels as they are in the file."""
    groups: FileGroups
    num_filtered: int
    """Cells without knockdown of their target."""
    notes: tuple[str, ...]
    """What was changed about the labels."""


@dataclass(frozen=True, kw_only=True)
class ScanTask:
    """First pass over an input."""

    file: InputFile
    groups: GroupTable


@dataclass(frozen=True, kw_only=True)
class WriteTask:
    """Second pass over an input."""

    file: InputFile
    groups: GroupTable
    genes: tuple[str, ...]
    """Genes of the store."""
    codec: Codec
    bucket_entries: int


@dataclass(frozen=True, kw_only=True)
class WrittenInput:
    """What the store has of an input."""

    shards: tuple[FileEntry, FileEntry]
    """Perturbed and control."""
    obs: FileEntry
    value_dtype: str
    source: InputEntry


def survey(file: InputFile, progress: Progress) -> Survey:
    """Read the labels of an input, and with ``knockdown`` its targets' expression.

    Raises:
        InputError: A column is missing, or some cells have no label.
    """
    with _open(file) as source:
        perturbations = source.labels(file.keys.perturbation, named=file.grammar.controls).names
        labels = _labels(file, source, progress)
        return Survey(
            genes=source.genes,
            num_cells=source.num_cells,
            perturbations=perturbations,
            groups=count_groups(labels),
            num_filtered=0 if labels.kept is None else int((~labels.kept).sum()),
            notes=labels.notes,
        )


def scan_input(task: ScanTask, progress: Progress) -> FileStatistics:
    """Read all values of an input; see :func:`~bionemo.scale.data.prepare.conversion.scan.scan`."""
    file = task.file
    with file_lock(file.work_path("lock")), _open(file) as source:
        rows = rows_of_file(_labels(file, source), task.groups, file.number)
        members = np.flatnonzero(task.groups.shard == file.number)
        is_training = np.repeat(task.groups.split[members] == Split.TRAIN, task.groups.num_cells[members])
        chosen = rows >= 0
        chosen[chosen] = is_training[rows[chosen]]
        found = _scan(file, source, chosen, progress=progress)
        if found.kind == "counts" and file.library_size_key is None:
            found = replace(found, size_notes=note_library_sizes(source, found.library_size))
        return _with_empty_cells(found, rows, task.groups, members=members)


def _with_empty_cells(
    statistics: FileStatistics, rows: np.ndarray, groups: GroupTable, *, members: np.ndarray
) -> FileStatistics:
    """Count the cells of the store without counts, and find the cell types whose controls have none."""
    used = rows >= 0
    is_empty = statistics.num_entries[used] == 0
    group = np.repeat(members, groups.num_cells[members])[rows[used]]
    control = groups.is_control[group]
    all_types, bare = groups.cell_type[group[control]], is_empty[control]
    empty = sorted(set(all_types[bare].tolist()) - set(all_types[~bare].tolist()))
    names = tuple(groups.cell_types[code] for code in empty)
    return replace(statistics, num_empty=int(is_empty.sum()), empty_controls=names)


def write_input(task: WriteTask, progress: Progress) -> WrittenInput:
    """Write the shards of an input that has been scanned.

    Raises:
        OSError: Something cannot be written.
    """
    file = task.file
    done = file.work_path("written").with_suffix(".json")
    with file_lock(file.work_path("lock")):
        if done.exists():
            progress(0)
            return _read_written(done)
        try:
            written = _write(task, progress)
        except lmdb.Error as error:
            raise OSError(f"{file.folder}: {error}") from error
        write_text(done, json.dumps(asdict(written)))
        return written


def positions(genes: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Return where each gene is in ``among``, [genes] int64, -1 for nowhere."""
    index = {gene: position for position, gene in enumerate(among.tolist())}
    return np.array([index.get(gene, -1) for gene in genes.tolist()], dtype=np.int64)


def _write(task: WriteTask, progress: Progress) -> WrittenInput:
    file, groups, kept = task.file, task.groups, np.array(task.genes)
    with _open(file) as source:
        rows = rows_of_file(_labels(file, source), groups, file.number)
        known = _scan(file, source, np.zeros(source.num_cells, dtype=bool), progress=lambda cells: None)
        job = ShardJob(
            groups=groups,
            shard=file.number,
            rows=rows,
            num_entries=known.num_entries,
            library_size=known.library_size,
            columns=positions(source.genes, kept),
            num_genes=len(kept),
            is_whole=known.kind == "counts" and known.is_whole,
            codec=task.codec,
            bucket_entries=task.bucket_entries,
        )
        written = write_shards(source, job, folder=file.folder, spill=file.work_path("spill"), progress=progress)
        return WrittenInput(
            shards=(written.perturbed, written.control),
            obs=write_obs(
                source,
                groups,
                file.number,
                rows=rows,
                fingerprint=written.fingerprints,
                folder=file.folder,
            ),
            value_dtype=written.value_dtype.name,
            source=InputEntry(
                name=file.path.name,
                dataset=file.dataset,
                num_bytes=size_of(file.path),
                sha256=hash_file(file.path),
                num_cells=source.num_cells,
                num_genes=source.num_genes,
                num_missing_genes=int((positions(kept, source.genes) < 0).sum()),
            ),
        )


@contextmanager
def _open(file: InputFile) -> Iterator[H5adSource]:
    if is_store(file.path):
        raise InputError(f"{file.path}: expected h5ad files to prepare, found a store, which --store names")
    with H5adSource(file.path, matrix=file.matrix, gene_key=file.gene_key) as source:
        yield source


def _scan(file: InputFile, source: H5adSource, is_training: np.ndarray, *, progress: Progress) -> FileStatistics:
    """Scan, or read what a scan has left."""
    return scan(
        source,
        is_training=is_training,
        library_size=_library_size(file, source),
        target_sum=file.target_sum,
        hvg_factor=file.hvg_factor,
        stated=StatedScale(
            values=file.values,
            target_sum=file.target_sum,
            is_target_stated=file.is_target_stated,
            base=source.log_base(),
            way_out="; give --target-sum {found} if all files have it",
        ),
        progress=progress,
        journal=ScanJournal(file.scan_path, source.num_cells, source.num_genes),
    )


def _library_size(file: InputFile, source: H5adSource) -> np.ndarray | None:
    return None if file.library_size_key is None else read_library_size(source, file.library_size_key)


def _labels(file: InputFile, source: H5adSource, progress: Progress = lambda cells: None) -> FileLabels:
    labels = read_labels(source, file.dataset, file.keys, grammar=file.grammar)
    if file.knockdown is None:
        return labels
    path = file.work_path("kept").with_suffix(".npy")
    if not path.exists():
        kept = cells_with_knockdown(
            source,
            labels,
            file.knockdown,
            control=file.grammar.controls[0],
            library_size=_library_size(file, source),
            values=file.values,
            progress=progress,
        )
        with atomic(path) as temporary, temporary.open("wb") as stream:
            np.save(stream, kept)
    return FileLabels(**{**vars(labels), "kept": np.load(path, allow_pickle=False)})


def _read_written(path: Path) -> WrittenInput:
    fields = read_json(path)
    perturbed, control = (FileEntry(**entry) for entry in fields["shards"])
    return WrittenInput(
        shards=(perturbed, control),
        obs=FileEntry(**fields["obs"]),
        value_dtype=fields["value_dtype"],
        source=InputEntry(**fields["source"]),
    )
