# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Looking at a store: what is in it, and whether all of it is as it was written."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import lmdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bionemo.scale.data.labels.split import read_split_hash
from bionemo.scale.data.prepare.conversion.layout import BlockTable, blocks_of_shard
from bionemo.scale.data.prepare.preprocess import check_groups, count_other_covariates
from bionemo.scale.data.sets.controls import ControlMatcher
from bionemo.scale.data.store.format import (
    SPLIT_NAME,
    Block,
    block_key,
    decode_block,
    value_dtype_of,
)
from bionemo.scale.data.store.manifest import FileEntry, Manifest, read_manifest
from bionemo.scale.data.store.reader import Store
from bionemo.scale.data.store.shards import open_shard
from bionemo.scale.files.provenance import hash_file
from bionemo.scale.types import Codec, ExpressionScale, InputError, Split


@dataclass(frozen=True, kw_only=True)
class StoreInfo:
    """Summary of a store."""

    path: Path
    num_cells: int
    num_control_cells: int
    num_groups: int
    num_conditions: dict[str, int]
    """Perturbed (dataset, cell type, perturbation) of each split."""
    cells_by_split: dict[str, int]
    """Perturbed cells of each split."""
    datasets: tuple[str, ...]
    num_cell_types: int
    num_perturbations: int
    num_batches: int
    covariates: dict[str, int]
    """Values of each covariate, by its column."""
    num_genes: int
    control: str
    scale: ExpressionScale
    split_sha256: str | None
    num_fallback_groups: int
    """Perturbed groups whose controls come from other batches, or that have none."""
    num_other_covariates: int
    codec: Codec
    value_dtype: str
    num_bytes: int
    num_inputs: int
    versions: dict[str, str]


def describe_store(path: Path) -> StoreInfo:
    """Summarise a store from its manifest and the first block.

    Raises:
        InputError: No store, or a file is missing or cut off.
    """
    with Store.open(path) as store:
        manifest, groups, card = read_manifest(path), store.groups, store.card
        perturbed = {split: groups.perturbed_in(split) for split in Split}
        conditions = {
            split.value: len({groups.label(index)[:3] for index in members.tolist()})
            for split, members in perturbed.items()
        }
        fallback = ControlMatcher(groups, allow_missing=True).is_fallback
        return StoreInfo(
            path=path,
            num_cells=store.num_cells,
            num_control_cells=int(groups.num_cells[groups.is_control].sum()),
            num_groups=len(groups),
            num_conditions=conditions,
            cells_by_split={split.value: int(groups.num_cells[members].sum()) for split, members in perturbed.items()},
            datasets=groups.datasets,
            num_cell_types=len(card.cell_types),
            num_perturbations=len(card.perturbations),
            num_batches=len(card.batches),
            covariates=dict(zip(card.keys.covariates, map(len, card.covariates), strict=True)),
            num_genes=len(card.genes),
            control=card.control,
            scale=card.scale,
            split_sha256=card.split_sha256,
            num_fallback_groups=int((fallback & ~groups.is_control).sum()),
            num_other_covariates=count_other_covariates(groups),
            codec=store.codec,
            value_dtype=manifest.value_dtype,
            num_bytes=sum(file.stat().st_size for file in path.iterdir()),
            num_inputs=len(manifest.inputs),
            versions=manifest.versions,
        )


def verify_store(path: Path, progress: Callable[[str, int, int], None]) -> int:
    """Read a whole store: checksums, then every block against the table of groups.

    Args:
        path: The folder.
        progress: Told of bytes (``checksums``) and cells (``blocks``).

    Returns:
        Number of cells.

    Raises:
        InputError: The first thing that is not as it should be.
    """
    Store.open(path).close()
    manifest = read_manifest(path)
    total = sum(entry.num_bytes for entry in manifest.files)
    for entry in manifest.files:
        found = hash_file(path / entry.name)
        if found != entry.sha256:
            raise InputError(f"{path / entry.name}: expected sha256 {entry.sha256}, found {found}")
        progress("checksums", entry.num_bytes, total)
    _check_tables(path, manifest)
    for number in range(len(manifest.inputs)):
        blocks = blocks_of_shard(manifest.groups, number)
        for is_control, entry in enumerate(manifest.shards[2 * number : 2 * number + 2]):
            chosen = np.flatnonzero(blocks.is_control == bool(is_control))
            _check_shard(
                path / entry.name,
                entry,
                blocks,
                chosen=chosen,
                manifest=manifest,
                progress=lambda n: progress("blocks", n, manifest.num_cells),
            )
        _check_obs(path / manifest.obs[number].name, manifest.obs[number])
    return manifest.num_cells


def _check_tables(path: Path, manifest: Manifest) -> None:
    expected = manifest.card.split_sha256
    check_groups(manifest.groups, by_batch=manifest.is_split_by_batch)
    split = path / SPLIT_NAME
    found = read_split_hash(split) if split.is_file() else None
    if found != expected:
        raise InputError(f"{split}: expected the split {expected}, found {found}")


def _check_shard(
    path: Path,
    entry: FileEntry,
    blocks: BlockTable,
    *,
    chosen: np.ndarray,
    manifest: Manifest,
    progress: Callable[[int], None],
) -> None:
    if (entry.num_blocks, entry.num_cells) != (len(chosen), int(blocks.num_cells[chosen].sum())):
        raise InputError(
            f"{path}: expected {len(chosen)} blocks by the groups, found {entry.num_blocks} in the manifest"
        )
    widest, number = np.dtype(manifest.value_dtype), 0
    try:
        transaction = open_shard(path).transaction
        for number, (key, value) in zip(chosen.tolist(), transaction.cursor(), strict=False):
            expected = (int(blocks.first_row[number]), int(blocks.num_cells[number]), len(manifest.card.genes))
            if bytes(key) != block_key(int(blocks.group[number]), int(blocks.chunk[number])):
                raise ValueError(f"found the key {bytes(key).hex()} in its place")
            _check_block(decode_block(value), expected)
            if value_dtype_of(value).itemsize > widest.itemsize:
                raise ValueError(f"expected values of {widest}, found {value_dtype_of(value)}")
            progress(expected[1])
        found = sum(1 for _ in transaction.cursor().iternext(values=False))
    except (ValueError, lmdb.Error) as error:
        raise InputError(f"{path}: block {number}: {error}") from error
    if found != len(chosen):
        raise InputError(f"{path}: expected {len(chosen)} blocks, found {found}")


def _check_block(block: Block, expected: tuple[int, int, int]) -> None:
    """Raise ValueError if something is wrong with a block, given its first row, cells and genes."""
    found = (block.first_row, len(block.library_size), block.num_genes)
    if found != expected:
        raise ValueError(f"expected (first row, cells, genes) {expected}, found {found}")
    pointers = block.indptr.astype(np.int64)
    if pointers[0] != 0 or pointers[-1] != len(block.indices) or (np.diff(pointers) < 0).any():
        raise ValueError("its row pointers do not cover its entries")
    if len(block.indices) and int(block.indices.max()) >= block.num_genes:
        raise ValueError(f"it has gene {int(block.indices.max())} of {block.num_genes}")
    steps = np.diff(block.indices.astype(np.int64))
    within = np.ones(len(steps), dtype=bool)
    starts = pointers[1:-1]
    within[starts[(starts > 0) & (starts <= len(steps))] - 1] = False
    if (steps[within] <= 0).any():
        raise ValueError("genes of a cell do not ascend")
    if not (np.isfinite(block.values) & (block.values > 0)).all():
        raise ValueError("it has values that are not positive numbers")


def _check_obs(path: Path, entry: FileEntry) -> None:
    try:
        num_rows = pq.read_metadata(path).num_rows
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    if num_rows != entry.num_cells:
        raise InputError(f"{path}: expected {entry.num_cells} rows, found {num_rows}")
