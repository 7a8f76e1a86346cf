# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The LMDB files of a store as one process reads them."""

import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from weakref import WeakValueDictionary

import lmdb

from bionemo.scale.data.format import Block, block_key, decode_block
from bionemo.scale.data.groups import GroupTable
from bionemo.scale.types import InputError


CACHED_BLOCKS = 1 << 16
"""Blocks whose header is kept decoded; their cells stay in the memory map."""


class Shards:
    """Blocks of the shards of a store; files are opened at their first block.

    Only the process that made the object may use it: an LMDB file must not be used across a fork.

    Args:
        paths: Perturbed and control shard of input 0, then of input 1, ...
        groups: Groups of the store.
    """

    def __init__(self, paths: Sequence[Path], groups: GroupTable) -> None:
        self.process = os.getpid()
        self._paths = paths
        self._number = (2 * groups.shard + groups.is_control).tolist()
        self._files: dict[int, _ShardFile] = {}
        self._blocks: OrderedDict[tuple[int, int], Block] = OrderedDict()

    def block(self, group: int, chunk: int) -> Block:
        """Return a block, as views into the memory map that live as long as this object.

        Raises:
            InputError: The block is missing or damaged.
        """
        key = (group, chunk)
        found = self._blocks.get(key)
        if found is None:
            found = self._load(group, chunk)
            self._blocks[key] = found
            if len(self._blocks) > CACHED_BLOCKS:
                self._blocks.popitem(last=False)
        return found

    def close(self) -> None:
        """Let go of blocks and files."""
        self._blocks.clear()
        self._files.clear()

    def _load(self, group: int, chunk: int) -> Block:
        number = self._number[group]
        path = self._paths[number]
        try:
            if number not in self._files:
                self._files[number] = _open(path)
            value = self._files[number].transaction.get(block_key(group, chunk))
            if value is None:
                raise ValueError(f"expected block {chunk} of group {group}, found none")
            return decode_block(value)
        except (OSError, ValueError, lmdb.Error) as error:
            raise InputError(f"{path}: damaged shard, {error}") from error


class _ShardFile:
    """An open LMDB file; nothing ever writes, so that one transaction serves for good and no lock is needed."""

    def __init__(self, path: Path) -> None:
        self.environment = lmdb.open(str(path), subdir=False, readonly=True, lock=False, create=False)
        self.transaction = self.environment.begin(buffers=True)

    def close(self) -> None:
        self.transaction.abort()
        self.environment.close()


# LMDB refuses to open a file twice in one process, so that stores of one folder share it.
_open_files: WeakValueDictionary[tuple[int, int], _ShardFile] = WeakValueDictionary()


def _open(path: Path) -> _ShardFile:
    status = path.stat()
    key = (status.st_dev, status.st_ino)
    file = _open_files.get(key)
    if file is None:
        file = _open_files[key] = _ShardFile(path)
    return file


def _close_inherited() -> None:
    for file in list(_open_files.values()):
        file.close()
    _open_files.clear()


os.register_at_fork(after_in_child=_close_inherited)
