# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Second pass over a file: kept genes of kept cells, in store order, into two LMDB shards.

Cells come in file order and leave in store order. Rows are known beforehand, so that cells are dealt into buckets of
consecutive rows, each small enough for memory; buckets are spilled to disk when there is more than one, then sorted
and written one after the other. Reading and writing are sequential throughout.

Both steps go on where a killed process stopped: the spill file has a journal of what was dealt, chunk by chunk, and
blocks are committed to LMDB in order, some hundred at a time.
"""

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import lmdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.sparse import csr_matrix

from bionemo.scale.data.prepare.conversion.copies import fingerprints
from bionemo.scale.data.prepare.conversion.layout import BlockTable, blocks_of_shard
from bionemo.scale.data.prepare.settings import BUCKET_ENTRIES
from bionemo.scale.data.store.csr import copy_ranges, row_pointers
from bionemo.scale.data.store.format import (
    FINGERPRINT,
    Block,
    block_key,
    count_dtype,
    covariate_column,
    decode_block,
    encode_block,
    index_dtype,
    obs_name,
    shard_name,
    value_dtype_of,
)
from bionemo.scale.data.store.groups import GroupTable
from bionemo.scale.data.store.manifest import FileEntry
from bionemo.scale.files.anndata.anndata_file import CellChunk, H5adSource
from bionemo.scale.files.provenance import hash_file
from bionemo.scale.types import Codec, Group


OBS_ROW_GROUP = 1 << 16
_FRAME = np.dtype("<u8")
# LMDB reserves address space, not disk: a value takes whole pages, so that two pages a block are added.
_PAGE_BYTES = 4096
_MIN_MAP_BYTES = 1 << 22
# Counted in blocks, so that neither the size of buckets nor a kill in between changes the bytes of a shard.
_BLOCKS_PER_COMMIT = 256


@dataclass(frozen=True, kw_only=True)
class ShardJob:
    """What is written of one input file."""

    groups: GroupTable
    shard: int
    rows: np.ndarray
    """[cells] int64: row of each cell, counted from the first of the file; -1 for cells left out."""
    num_entries: np.ndarray
    """[cells] int32, expressed genes of each cell, before genes are dropped."""
    library_size: np.ndarray
    """[cells] float64."""
    columns: np.ndarray
    """[genes of the file] int64: column in the store, -1 for genes left out."""
    num_genes: int
    """Genes of the store."""
    is_whole: bool
    """Whether values are whole numbers, and stored as such."""
    codec: Codec = "none"
    bucket_entries: int = BUCKET_ENTRIES

    @cached_property
    def keeps_genes(self) -> bool:
        """Whether the store has the genes of the file, in its order."""
        return np.array_equal(self.columns, np.arange(self.num_genes))


class WrittenShards(NamedTuple):
    """The shards of one input file."""

    perturbed: FileEntry
    control: FileEntry
    value_dtype: np.dtype
    """Widest dtype among the blocks."""
    fingerprints: np.ndarray
    """[cells] uint64 of :func:`~bionemo.scale.data.prepare.conversion.copies.fingerprints`, in row order."""


class _Cells(NamedTuple):
    """Cells on their way to the store."""

    rows: np.ndarray
    lengths: np.ndarray
    library_size: np.ndarray
    indices: np.ndarray
    values: np.ndarray


def write_shards(
    source: H5adSource, job: ShardJob, *, folder: Path, spill: Path, progress: Callable[[int], None]
) -> WrittenShards:
    """Write the perturbed and the control shard of one file.

    Args:
        source: The open file.
        job: What to write.
        folder: The store in the making.
        spill: Where cells wait, a file that is removed at the end; ``.journal`` is added for what is in it, and
            ``.prints`` for the fingerprints of written cells, which stay.
        progress: Called with the number of cells of each piece read.
    """
    blocks = blocks_of_shard(job.groups, job.shard)
    edges = _bucket_edges(blocks, job)
    paths = [folder / shard_name(kind, job.shard) for kind in ("perturbed", "control")]
    map_bytes = _MIN_MAP_BYTES + 8 * int(job.num_entries.sum()) + len(blocks.group) * 4 * _PAGE_BYTES
    with contextlib.ExitStack() as stack:
        shards = [stack.enter_context(contextlib.closing(_ShardWriter(path, map_bytes))) for path in paths]
        done = sum(shard.num_blocks for shard in shards)
        num_buckets = len(edges) - 1
        first_bucket = int(np.searchsorted(edges, done, side="right")) - 1
        if first_bucket < num_buckets:
            buckets = _deal(source, job, edges, spill=_Spill(spill, num_buckets), progress=progress)
        for number in range(first_bucket, num_buckets):
            members = slice(max(done, int(edges[number])), int(edges[number + 1]))
            _write_bucket(
                buckets(number),
                blocks,
                members,
                first_row=int(blocks.first_row[edges[number]]),
                job=job,
                shards=shards,
                prints=spill.with_suffix(".prints"),
            )
        for shard in shards:
            shard.commit()
        widest = max(shard.value_dtype for shard in shards)
    for path in (spill, spill.with_suffix(".journal")):
        path.unlink(missing_ok=True)
    entries = [
        FileEntry(
            name=path.name,
            num_bytes=path.stat().st_size,
            sha256=hash_file(path),
            num_cells=int(blocks.num_cells[blocks.is_control == bool(is_control)].sum()),
            num_blocks=int((blocks.is_control == bool(is_control)).sum()),
        )
        for is_control, path in enumerate(paths)
    ]
    return WrittenShards(entries[0], entries[1], widest, _known_prints(spill.with_suffix(".prints"), blocks))


def write_obs(
    source: H5adSource,
    groups: GroupTable,
    shard: int,
    *,
    rows: np.ndarray,
    fingerprint: np.ndarray,
    folder: Path,
) -> FileEntry:
    """Write the names and labels of a file's cells, in row order.

    Args:
        source: The open file.
        groups: Groups of the store.
        shard: Number of the file.
        rows: [cells] row of each cell, counted from the first of the file; -1 for cells left out.
        fingerprint: [kept cells] uint64, in row order.
        folder: The store in the making.
    """
    members = np.flatnonzero(groups.shard == shard)
    ends = np.cumsum(groups.num_cells[members])
    names = source.name_column()
    kept = np.flatnonzero(rows >= 0)
    cells = np.empty_like(kept)
    cells[rows[kept]] = kept
    text = pa.dictionary(pa.int32(), pa.string())
    columns = {name: _label_of(name) for name in ("dataset", "cell_type", "perturbation", "batch")}
    columns |= {covariate_column(number): _covariate(number) for number in range(len(groups.covariates))}
    schema = pa.schema([("cell", pa.string()), *((name, text) for name in columns), (FINGERPRINT, pa.uint64())])
    path = folder / obs_name(shard)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for first in range(0, len(cells), OBS_ROW_GROUP):
            part = cells[first : first + OBS_ROW_GROUP]
            group = members[np.searchsorted(ends, np.arange(first, first + len(part)), side="right")]
            here, position = np.unique(group, return_inverse=True)
            named = [groups.label(index) for index in here.tolist()]
            labels = [_label_column([label(each) for each in named], position) for label in columns.values()]
            taken = names.take(pa.array(part)).combine_chunks()
            own = pa.array(fingerprint[first : first + len(part)], pa.uint64())
            writer.write_table(pa.table([taken, *labels, own], schema=schema))
    return FileEntry(name=path.name, num_bytes=path.stat().st_size, sha256=hash_file(path), num_cells=len(cells))


def _label_of(name: str) -> Callable[[Group], str]:
    return lambda group: getattr(group, name)


def _covariate(number: int) -> Callable[[Group], str]:
    return lambda group: group.covariates[number]


def _label_column(labels: list[str], position: np.ndarray) -> pa.DictionaryArray:
    """Labels of cells by their groups, with only the names that occur, so that the file knows no other file."""
    names, codes = np.unique(np.array(labels, dtype=object).astype(str), return_inverse=True)
    return pa.DictionaryArray.from_arrays(pa.array(codes[position], pa.int32()), pa.array(names.tolist(), pa.string()))


class _ShardWriter:
    """One LMDB file, filled in key order; what is committed is there after a kill."""

    def __init__(self, path: Path, map_bytes: int) -> None:
        self._env = lmdb.open(str(path), subdir=False, map_size=map_bytes, lock=False, max_dbs=0)
        self.num_blocks = int(self._env.stat()["entries"])
        with self._env.begin(buffers=True) as transaction:
            # Of an earlier run. Looking at all blocks in the end would bring most of the file into this process's
            # memory.
            self.value_dtype = max(
                (value_dtype_of(value) for _, value in transaction.cursor()), default=np.dtype("u1")
            )
            """Widest dtype among the blocks."""
        self._transaction = self._env.begin(write=True)
        self._pending = 0

    def put(self, key: bytes, value: bytes) -> None:
        self._transaction.put(key, value, append=True)
        self.value_dtype = max(self.value_dtype, value_dtype_of(value))
        self._pending += 1
        if self._pending == _BLOCKS_PER_COMMIT:
            self.commit()

    def commit(self) -> None:
        if self._pending:
            self._transaction.commit()
            self._transaction = self._env.begin(write=True)
            self._pending = 0

    def close(self) -> None:
        self._transaction.abort()
        self._env.close()


class _Spill:
    """Cells of every bucket in one file, with a journal: a row a chunk, of the next cell and each bucket's bytes."""

    def __init__(self, path: Path, num_buckets: int) -> None:
        self._path, self._journal_path = path, path.with_suffix(".journal")
        self._width = 1 + num_buckets
        self._journal = self._read_journal()
        self.next_cell = int(self._journal[-1, 0]) if len(self._journal) else 0

    def _read_journal(self) -> np.ndarray:
        if not self._journal_path.exists():
            return np.zeros((0, self._width), dtype=_FRAME)
        records = np.fromfile(self._journal_path, dtype=_FRAME)
        # A row that a kill cut off does not count.
        return records[: len(records) // self._width * self._width].reshape(-1, self._width)

    @contextlib.contextmanager
    def adding(self) -> Iterator[Callable[[int, list[bytes]], None]]:
        """Give a function that adds what a chunk holds of every bucket, and the cell after the chunk."""
        mode = "r+b" if self._path.exists() else "w+b"
        with self._path.open(mode) as cells, self._journal_path.open("ab") as journal:
            cells.truncate(int(self._journal[:, 1:].sum()))
            cells.seek(0, os.SEEK_END)
            journal.truncate(self._journal.nbytes)
            rows = list(self._journal)

            def add(next_cell: int, parts: list[bytes]) -> None:
                cells.write(b"".join(parts))
                cells.flush()
                os.fdatasync(cells.fileno())
                rows.append(np.array([next_cell, *map(len, parts)], dtype=_FRAME))
                journal.write(rows[-1].tobytes())
                journal.flush()

            yield add
        self._journal = np.array(rows, dtype=_FRAME).reshape(-1, self._width)

    def bucket(self, number: int) -> list[_Cells]:
        """Read the cells of a bucket."""
        sizes = self._journal[:, 1:].reshape(-1)
        starts = np.cumsum(sizes) - sizes
        parts: list[_Cells] = []
        with self._path.open("rb") as file:
            for start, size in zip(starts[number :: self._width - 1], sizes[number :: self._width - 1], strict=True):
                file.seek(int(start))
                parts += _unspill(file.read(int(size)))
        return parts


def _bucket_edges(blocks: BlockTable, job: ShardJob) -> np.ndarray:
    """Cut the blocks into runs of at most ``bucket_entries`` stored values: [buckets + 1] block numbers."""
    kept = job.rows >= 0
    entries = np.zeros(int(kept.sum()), dtype=np.int64)
    entries[job.rows[kept]] = job.num_entries[kept]
    if not len(entries):
        return np.zeros(1, dtype=np.int64)
    per_block = np.add.reduceat(entries, blocks.first_row)
    ends = np.cumsum(per_block)
    edges = [0]
    while edges[-1] < len(ends):
        done = int(ends[edges[-1] - 1]) if edges[-1] else 0
        edges.append(max(int(np.searchsorted(ends, done + job.bucket_entries, side="right")), edges[-1] + 1))
    return np.array(edges)


def _deal(
    source: H5adSource, job: ShardJob, edges: np.ndarray, *, spill: _Spill, progress: Callable[[int], None]
) -> Callable[[int], list[_Cells]]:
    """Read the whole file and return a function that gives the cells of a bucket, not yet in order."""
    num_buckets = len(edges) - 1
    if num_buckets <= 1:
        selected = []
        for chunk in source.chunks():
            selected.append(_select(chunk, job))
            progress(chunk.matrix.shape[0])
        return lambda number: selected
    first_rows = blocks_of_shard(job.groups, job.shard).first_row[edges[:-1]]
    progress(spill.next_cell)
    with spill.adding() as add:
        for chunk in source.chunks(spill.next_cell) if spill.next_cell < source.num_cells else ():
            cells = _select(chunk, job)
            bucket = np.searchsorted(first_rows, cells.rows, side="right") - 1
            parts = [_take(cells, np.flatnonzero(bucket == number)) for number in range(num_buckets)]
            add(chunk.first_cell + chunk.matrix.shape[0], [_spilled(part, job.num_genes) for part in parts])
            progress(chunk.matrix.shape[0])
    return spill.bucket


def _select(chunk: CellChunk, job: ShardJob) -> _Cells:
    """Keep the cells and genes that go to the store; genes ascend in the store's order."""
    cells = slice(chunk.first_cell, chunk.first_cell + chunk.matrix.shape[0])
    rows = job.rows[cells]
    kept = rows >= 0
    matrix = chunk.matrix if kept.all() else chunk.matrix[kept]
    selected = matrix if job.keeps_genes else _of_store(matrix, job)
    dtype = count_dtype(int(selected.data.max(initial=0))) if job.is_whole else np.dtype(np.float32)
    return _Cells(
        rows=rows[kept],
        lengths=np.diff(selected.indptr),
        library_size=job.library_size[cells][kept].astype(np.float32),
        # As narrow as in a block: cells are copied several times on their way.
        indices=selected.indices.astype(index_dtype(job.num_genes)),
        values=selected.data.astype(dtype),
    )


def _of_store(matrix: csr_matrix, job: ShardJob) -> csr_matrix:
    """Return the columns that the store has, in its order."""
    inside = np.flatnonzero((job.columns >= 0)[matrix.indices])
    indptr = np.searchsorted(inside, matrix.indptr)
    columns = job.columns[matrix.indices[inside]]
    selected = csr_matrix((matrix.data[inside], columns, indptr), shape=(matrix.shape[0], job.num_genes))
    selected.sort_indices()
    return selected


def _take(cells: _Cells, positions: np.ndarray) -> _Cells:
    lengths, starts = cells.lengths[positions], row_pointers(cells.lengths)[positions]
    indices, values = (
        copy_ranges(array.view(np.uint8), array.itemsize * starts, lengths, dtype=array.dtype)
        for array in (cells.indices, cells.values)
    )
    return _Cells(cells.rows[positions], lengths, cells.library_size[positions], indices, values)


def _spilled(cells: _Cells, num_genes: int) -> bytes:
    if not len(cells.rows):
        return b""
    block = encode_block(
        Block(
            first_row=0,
            num_genes=num_genes,
            indptr=row_pointers(cells.lengths),
            library_size=cells.library_size,
            indices=cells.indices,
            values=cells.values,
        )
    )
    frame = np.array([len(cells.rows), len(block)], dtype=_FRAME)
    return frame.tobytes() + cells.rows.astype(_FRAME).tobytes() + block


def _unspill(data: bytes) -> Iterator[_Cells]:
    file = io.BytesIO(data)
    while header := file.read(2 * _FRAME.itemsize):
        num_cells, num_bytes = np.frombuffer(header, dtype=_FRAME).tolist()
        rows = np.frombuffer(file.read(num_cells * _FRAME.itemsize), dtype=_FRAME).astype(np.int64)
        block = decode_block(file.read(num_bytes))
        lengths = np.diff(block.indptr.astype(np.int64))
        yield _Cells(rows, lengths, block.library_size, block.indices, block.values)


def _add_prints(path: Path, first_row: int, found: np.ndarray) -> None:
    """Write fingerprints of rows to their places."""
    with path.open("r+b" if path.exists() else "wb") as file:
        file.seek(first_row * _FRAME.itemsize)
        file.write(found.astype(_FRAME).tobytes())


def _known_prints(path: Path, blocks: BlockTable) -> np.ndarray:
    """Return the fingerprints of all rows; 0 for those that a version without any had written before a kill."""
    found = np.zeros(int(blocks.num_cells.sum()), dtype=_FRAME)
    if path.exists():
        known = np.fromfile(path, dtype=_FRAME, count=len(found))
        found[: len(known)] = known
    return found


def _write_bucket(
    parts: list[_Cells],
    blocks: BlockTable,
    members: slice,
    *,
    first_row: int,
    job: ShardJob,
    shards: list[_ShardWriter],
    prints: Path,
) -> None:
    """Sort the cells of a bucket, which start at a row, and write its blocks that are still to be written."""
    merged = _Cells(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    cells = _take(merged, np.argsort(merged.rows))
    # Before the blocks, so that a bucket whose blocks are there need not be read again.
    _add_prints(prints, first_row, fingerprints(cells.lengths, cells.indices, cells.values, num_genes=job.num_genes))
    pointers = row_pointers(cells.lengths)
    for number in range(members.start, members.stop):
        start = int(blocks.first_row[number]) - first_row
        stop = start + int(blocks.num_cells[number])
        first, last = pointers[start], pointers[stop]
        data = encode_block(
            Block(
                first_row=int(blocks.first_row[number]),
                num_genes=job.num_genes,
                indptr=pointers[start : stop + 1] - first,
                library_size=cells.library_size[start:stop],
                indices=cells.indices[first:last],
                values=cells.values[first:last],
            ),
            job.codec,
        )
        is_control = bool(blocks.is_control[number])
        if is_control:
            # The number of committed blocks tells which are done: perturbed ones come first.
            shards[0].commit()
        shards[int(is_control)].put(block_key(int(blocks.group[number]), int(blocks.chunk[number])), data)
