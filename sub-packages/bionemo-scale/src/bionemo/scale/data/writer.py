# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Second pass over a file: kept genes of kept cells, in store order, into two LMDB shards.

Cells come in file order and leave in store order. Store rows are known beforehand, so that cells are dealt into
buckets of consecutive store rows, each small enough for memory; buckets are spilled to disk when there is more than
one, then sorted and written one after the other. Reading and writing are sequential throughout.
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import lmdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.sparse import csr_matrix

from bionemo.scale.data.csr import concatenate_ranges, row_pointers
from bionemo.scale.data.format import Block, block_key, decode_block, encode_block, shard_name
from bionemo.scale.data.groups import GroupTable
from bionemo.scale.data.h5ad import CellChunk, H5adSource
from bionemo.scale.data.layout import BlockTable, blocks_of_shard
from bionemo.scale.data.manifest import FileEntry, hash_file


BUCKET_ENTRIES = 1 << 24
"""Stored values sorted in memory at once: below 1 GB at the peak."""
OBS_ROW_GROUP = 1 << 16
_FRAME = np.dtype("<u8")
# LMDB reserves address space, not disk: a value takes whole pages, so that two pages a block are added.
_PAGE_BYTES = 4096
_MIN_MAP_BYTES = 1 << 22
_BLOCKS_PER_COMMIT = 4096


@dataclass(frozen=True, kw_only=True)
class ShardJob:
    """What is written of one input file."""

    groups: GroupTable
    shard: int
    rows: np.ndarray
    """[cells] int64: store row of each cell of the file, -1 for cells left out."""
    num_entries: np.ndarray
    """[cells] int64, expressed genes of each cell, before genes are dropped."""
    library_size: np.ndarray
    """[cells] float64."""
    columns: np.ndarray
    """[genes of the file] int64: column in the store, -1 for genes left out."""
    num_genes: int
    """Genes of the store."""
    is_counts: bool
    bucket_entries: int = BUCKET_ENTRIES


class WrittenShards(NamedTuple):
    """The shards of one input file."""

    perturbed: FileEntry
    control: FileEntry
    value_dtype: np.dtype
    """Widest dtype among the blocks."""


class _Cells(NamedTuple):
    """Cells on their way to the store."""

    rows: np.ndarray
    lengths: np.ndarray
    library_size: np.ndarray
    indices: np.ndarray
    values: np.ndarray


def write_shards(source: H5adSource, job: ShardJob, *, folder: Path, progress: Callable[[int], None]) -> WrittenShards:
    """Write the perturbed and the control shard of one file.

    Args:
        source: The open file.
        job: What to write.
        folder: The store in the making.
        progress: Called with the number of cells of each piece read.
    """
    blocks = blocks_of_shard(job.groups, job.shard)
    edges = _bucket_edges(blocks, job)
    kinds = ("perturbed", "control")
    paths = [folder / shard_name(kind, job.shard) for kind in kinds]
    map_bytes = _MIN_MAP_BYTES + 8 * int(job.num_entries.sum()) + len(blocks.group) * 4 * _PAGE_BYTES
    widest = np.dtype("u1")
    with tempfile.TemporaryDirectory(dir=folder, prefix=".spill-") as spill:
        buckets = _deal(source, job, edges, Path(spill), progress)
        shards = [_ShardWriter(path, map_bytes) for path in paths]
        try:
            for cells, first, last in zip(buckets, edges[:-1].tolist(), edges[1:].tolist(), strict=True):
                widest = max(widest, _write_bucket(cells, blocks, slice(first, last), job, shards))
        finally:
            for shard in shards:
                shard.close()
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
    return WrittenShards(entries[0], entries[1], widest)


class ObsWriter:
    """Writes ``obs.parquet``: for each store row the cell's name in its file and its labels."""

    def __init__(self, path: Path, groups: GroupTable) -> None:
        self._groups = groups
        text = pa.dictionary(pa.int32(), pa.string())
        labels = [(name, text) for name in ("dataset", "cell_type", "perturbation", "batch")]
        self._schema = pa.schema([("cell", pa.string()), *labels])
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")

    def write(self, names: np.ndarray, rows: np.ndarray) -> None:
        """Add one file.

        Args:
            names: [cells] names.
            rows: [cells] store rows, -1 for cells left out; files come in store order.
        """
        kept = np.flatnonzero(rows >= 0)
        kept = kept[np.argsort(rows[kept])]
        for first in range(0, len(kept), OBS_ROW_GROUP):
            cells = kept[first : first + OBS_ROW_GROUP]
            self._writer.write_table(self._table(names[cells], rows[cells]))

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()

    def _table(self, names: np.ndarray, rows: np.ndarray) -> pa.Table:
        groups = self._groups
        group = np.searchsorted(groups.first_row, rows, side="right") - 1
        coded = (
            (groups.dataset, groups.datasets),
            (groups.cell_type, groups.cell_types),
            (groups.perturbation + 1, (groups.control, *groups.perturbations)),
            (groups.batch, groups.batches),
        )
        columns = [
            pa.DictionaryArray.from_arrays(pa.array(codes[group], pa.int32()), pa.array(names, pa.string()))
            for codes, names in coded
        ]
        return pa.table([pa.array(names.tolist(), pa.string()), *columns], schema=self._schema)


class _ShardWriter:
    """One LMDB file, filled in key order."""

    def __init__(self, path: Path, map_bytes: int) -> None:
        self._env = lmdb.open(str(path), subdir=False, map_size=map_bytes, lock=False, sync=False, max_dbs=0)
        self._transaction = self._env.begin(write=True)
        self._pending = 0

    def put(self, key: bytes, value: bytes) -> None:
        self._transaction.put(key, value, append=True)
        self._pending += 1
        if self._pending == _BLOCKS_PER_COMMIT:
            # Pages of an open transaction stay in memory until it commits.
            self._transaction.commit()
            self._transaction = self._env.begin(write=True)
            self._pending = 0

    def close(self) -> None:
        self._transaction.commit()
        self._env.sync(True)
        self._env.close()


def _bucket_edges(blocks: BlockTable, job: ShardJob) -> np.ndarray:
    """Cut the blocks into runs of at most ``bucket_entries`` stored values: [buckets + 1] block numbers."""
    kept = job.rows >= 0
    entries = np.zeros(int(kept.sum()), dtype=np.int64)
    first = int(blocks.first_row[0]) if len(blocks.first_row) else 0
    entries[job.rows[kept] - first] = job.num_entries[kept]
    if not len(entries):
        return np.zeros(1, dtype=np.int64)
    per_block = np.add.reduceat(entries, blocks.first_row - first)
    ends = np.cumsum(per_block)
    edges = [0]
    while edges[-1] < len(ends):
        done = int(ends[edges[-1] - 1]) if edges[-1] else 0
        edges.append(max(int(np.searchsorted(ends, done + job.bucket_entries, side="right")), edges[-1] + 1))
    return np.array(edges)


def _deal(
    source: H5adSource, job: ShardJob, edges: np.ndarray, spill: Path, progress: Callable[[int], None]
) -> Iterator[list[_Cells]]:
    """Read the whole file, then yield the cells of each bucket, not yet in order."""
    num_buckets = len(edges) - 1
    blocks = blocks_of_shard(job.groups, job.shard)
    first_rows = blocks.first_row[edges[:-1]]
    held: list[_Cells] = []
    for chunk in source.chunks():
        cells = _select(chunk, job)
        progress(chunk.matrix.shape[0])
        if num_buckets <= 1:
            held.append(cells)
            continue
        bucket = np.searchsorted(first_rows, cells.rows, side="right") - 1
        for number in np.unique(bucket).tolist():
            with (spill / str(number)).open("ab") as file:
                _spill(_take(cells, np.flatnonzero(bucket == number)), job.num_genes, file)
    if num_buckets == 1:
        yield held
    elif num_buckets > 1:
        for number in range(num_buckets):
            with (spill / str(number)).open("rb") as file:
                yield list(_unspill(file))
            (spill / str(number)).unlink()


def _select(chunk: CellChunk, job: ShardJob) -> _Cells:
    """Keep the cells and genes that go to the store; genes ascend in the store's order."""
    cells = slice(chunk.first_cell, chunk.first_cell + chunk.matrix.shape[0])
    rows = job.rows[cells]
    kept = rows >= 0
    matrix = chunk.matrix if kept.all() else chunk.matrix[kept]
    inside = np.flatnonzero((job.columns >= 0)[matrix.indices])
    indptr = np.searchsorted(inside, matrix.indptr)
    columns = job.columns[matrix.indices[inside]]
    selected = csr_matrix((matrix.data[inside], columns, indptr), shape=(matrix.shape[0], job.num_genes))
    selected.sort_indices()
    return _Cells(
        rows=rows[kept],
        lengths=np.diff(indptr),
        library_size=job.library_size[cells][kept].astype(np.float32),
        indices=selected.indices,
        values=selected.data.astype(np.uint32 if job.is_counts else np.float32),
    )


def _take(cells: _Cells, positions: np.ndarray) -> _Cells:
    lengths = cells.lengths[positions]
    entries = concatenate_ranges(row_pointers(cells.lengths)[positions], lengths)
    return _Cells(
        cells.rows[positions], lengths, cells.library_size[positions], cells.indices[entries], cells.values[entries]
    )


def _spill(cells: _Cells, num_genes: int, file: BinaryIO) -> None:
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
    file.write(np.array([len(cells.rows), len(block)], dtype=_FRAME).tobytes())
    file.write(cells.rows.astype(_FRAME).tobytes())
    file.write(block)


def _unspill(file: BinaryIO) -> Iterator[_Cells]:
    while header := file.read(2 * _FRAME.itemsize):
        num_cells, num_bytes = np.frombuffer(header, dtype=_FRAME).tolist()
        rows = np.frombuffer(file.read(num_cells * _FRAME.itemsize), dtype=_FRAME).astype(np.int64)
        block = decode_block(file.read(num_bytes))
        lengths = np.diff(block.indptr.astype(np.int64))
        yield _Cells(rows, lengths, block.library_size, block.indices, block.values)


def _write_bucket(
    parts: list[_Cells], blocks: BlockTable, members: slice, job: ShardJob, shards: list[_ShardWriter]
) -> np.dtype:
    """Sort a bucket's cells and write its blocks; return the widest dtype used."""
    merged = _Cells(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    cells = _take(merged, np.argsort(merged.rows))
    pointers = row_pointers(cells.lengths)
    widest = np.dtype("u1")
    start = 0
    for number in range(members.start, members.stop):
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
            )
        )
        widest = max(widest, decode_block(data).values.dtype)
        shard = shards[int(blocks.is_control[number])]
        shard.put(block_key(int(blocks.group[number]), int(blocks.chunk[number])), data)
        start = stop
    return widest
