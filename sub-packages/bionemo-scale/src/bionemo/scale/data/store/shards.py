# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The LMDB files of a store as one process reads them."""

import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from weakref import WeakValueDictionary

import lmdb
import numpy as np

from bionemo.scale.data.store.format import CHUNK_ROWS, block_key, codec_of, decode_block
from bionemo.scale.data.store.gather import PlacedBlock, place_block
from bionemo.scale.data.store.groups import GroupTable
from bionemo.scale.types import Codec, InputError


CACHED_BLOCKS = 1 << 16
"""Blocks whose header is kept decoded; the cells of blocks that are not packed stay in the memory map."""
CACHED_BYTES = 1 << 28
"""Unpacked cells that a process keeps."""


class Shards:
    """Blocks of the shards of a store; files are opened at their first block.

    Only the process that made the object may use it: an LMDB file must not be used across a fork.

    Args:
        paths: Perturbed and control shard of input 0, then of input 1, ...
        groups: Groups of the store.
        num_genes: Genes of the store.
        check: Called after a file is opened; raises where it is not one of the store that the groups are of.
    """

    def __init__(
        self, paths: Sequence[Path], groups: GroupTable, num_genes: int, *, check: Callable[[], None] = lambda: None
    ) -> None:
        self.process = os.getpid()
        self._paths = paths
        self._num_cells = groups.num_cells
        self._num_genes = num_genes
        self._check = check
        self._number = (2 * groups.shard + groups.is_control).tolist()
        # Keys count groups from the first one of their input.
        self._local = (np.arange(len(groups)) - np.searchsorted(groups.shard, groups.shard)).tolist()
        self._files: dict[int, ShardFile] = {}
        self._blocks: OrderedDict[tuple[int, int], tuple[PlacedBlock, int]] = OrderedDict()
        self._num_bytes = 0

    def block(self, group: int, chunk: int) -> PlacedBlock:
        """Return a block, as views into the memory map that live as long as this object.

        Raises:
            InputError: The block is missing or damaged.
        """
        key = (group, chunk)
        cached = self._blocks.get(key)
        if cached is not None:
            self._blocks.move_to_end(key)
            return cached[0]
        block, num_bytes = self._blocks[key] = self._load(group, chunk)
        self._num_bytes += num_bytes
        while len(self._blocks) > 1 and (len(self._blocks) > CACHED_BLOCKS or self._num_bytes > CACHED_BYTES):
            self._num_bytes -= self._blocks.popitem(last=False)[1][1]
        return block

    def codec(self, group: int) -> Codec:
        """Return how the first block of a group is packed.

        Raises:
            InputError: The shard is damaged.
        """
        try:
            return codec_of(self._value(group, 0))
        except (OSError, ValueError, lmdb.Error) as error:
            raise self._damaged(group, error) from error

    def close(self) -> None:
        """Let go of blocks and files."""
        self._blocks.clear()
        self._files.clear()
        self._num_bytes = 0

    def _load(self, group: int, chunk: int) -> tuple[PlacedBlock, int]:
        """Return a block and the memory it takes besides the memory map."""
        try:
            value = self._value(group, chunk)
            block = decode_block(value)
            # Rows are found by the table of groups: a block of another size would be read beyond its end.
            expected = (min(CHUNK_ROWS, int(self._num_cells[group]) - CHUNK_ROWS * chunk), self._num_genes)
            found = (len(block.library_size), block.num_genes)
            if found != expected:
                raise ValueError(f"expected (cells, genes) {expected}, found {found}")
            placed = place_block(block)
            return placed, 0 if codec_of(value) == "none" else block.indices.nbytes + block.values.nbytes
        except (OSError, ValueError, lmdb.Error) as error:
            raise self._damaged(group, error) from error

    def _damaged(self, group: int, error: Exception) -> InputError:
        return InputError(f"{self._paths[self._number[group]]}: damaged shard, {error}")

    def _value(self, group: int, chunk: int) -> memoryview:
        number = self._number[group]
        if number not in self._files:
            file = open_shard(self._paths[number])
            self._check()
            self._files[number] = file
        value = self._files[number].transaction.get(block_key(self._local[group], chunk))
        if value is None:
            raise ValueError(f"expected block {chunk} of group {group}, found none")
        return value


class ShardFile:
    """An open LMDB file; nothing ever writes, so that one transaction serves for good and no lock is needed."""

    def __init__(self, path: Path) -> None:
        self.environment = lmdb.open(str(path), subdir=False, readonly=True, lock=False, create=False)
        self.transaction = self.environment.begin(buffers=True)

    def close(self) -> None:
        """End the transaction and unmap the file."""
        self.transaction.abort()
        self.environment.close()


# LMDB refuses to open a file twice in one process, so that stores of one folder share it.
_open_files: WeakValueDictionary[tuple[int, int], ShardFile] = WeakValueDictionary()


def open_shard(path: Path) -> ShardFile:
    """Return an open shard, which is let go with the last reference to it.

    Raises:
        OSError: There is no such file.
        lmdb.Error: It is no LMDB file.
    """
    status = path.stat()
    key = (status.st_dev, status.st_ino)
    file = _open_files.get(key)
    if file is None:
        file = _open_files[key] = ShardFile(path)
    return file


def _close_inherited() -> None:
    for file in list(_open_files.values()):
        file.close()
    _open_files.clear()


os.register_at_fork(after_in_child=_close_inherited)
