# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Reading a store: cells by row number, in any order, as normalised expression."""

import logging
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.sparse import csr_matrix

from bionemo.scale.data.store.blind import Fold, held_out_groups, identity_of, with_held_out, without_seen
from bionemo.scale.data.store.compiled import CsrRows
from bionemo.scale.data.store.csr import concatenate_ranges
from bionemo.scale.data.store.format import CHUNK_ROWS, MANIFEST_NAME, SPLIT_NAME, covariate_column
from bionemo.scale.data.store.gather import gather_rows
from bionemo.scale.data.store.groups import GroupTable
from bionemo.scale.data.store.manifest import FileEntry, read_manifest
from bionemo.scale.data.store.shards import Shards
from bionemo.scale.files.labels.grammar import grammar_of
from bionemo.scale.files.provenance import hash_file, stamp_of
from bionemo.scale.files.text import read_text
from bionemo.scale.types import Codec, DataCard, Group, GroupMeans, InputError, Split


logger = logging.getLogger(__name__)

_MEAN_ROWS = 16 * CHUNK_ROWS


class Store:
    """A store made by ``bionemo-scale-prepare``, open for reading.

    Files are opened by the process that reads, at its first read; a store can be handed to forked or spawned workers.

    Args:
        path: The folder; see :meth:`open`.
        blind: See :meth:`open`.
    """

    def __init__(self, path: Path, *, blind: Fold | None = None) -> None:
        self.path = path
        self._manifest, self._stamp = read_manifest(path), stamp_of(path / MANIFEST_NAME)
        self.card: DataCard = self._manifest.card
        """Genes, vocabularies and scale."""
        self.groups: GroupTable = self._manifest.groups
        """Where each group's cells are."""
        if blind is not None:
            self.hold_out(blind)
        for entry in self._manifest.files:
            _check_size(path / entry.name, entry)
        num_blocks = -(-self.groups.num_cells // CHUNK_ROWS)
        self._first_block = np.cumsum(num_blocks) - num_blocks
        self._shards: Shards | None = None

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, blind: Fold | None = None) -> "Store":
        """Open a store and check its manifest and the size of its files.

        Args:
            path: The folder.
            blind: Move this part of the training groups to the validation split; see
                :mod:`bionemo.scale.data.store.blind`.

        Raises:
            InputError: No store, another schema version, or a file is missing or cut off.
        """
        return cls(Path(path), blind=blind)

    def hold_out(self, fold: Fold) -> str:
        """Move a part of the training groups to the validation split, and return a name that only these groups have.

        Args:
            fold: Which part.
        """
        held_out = held_out_groups(self.groups, fold.read_by(fold.grammar or grammar_of(self.card)))
        self.groups = with_held_out(self.groups, held_out)
        return identity_of(held_out)

    def leave_out_seen(self, seen: Collection[Group]) -> None:
        """Take groups that a network has learned from elsewhere out of the validation split.

        Args:
            seen: Their labels, also of groups that this store does not have.
        """
        self.groups = without_seen(self.groups, seen)

    def __enter__(self) -> "Store":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_shards": None}

    @property
    def num_cells(self) -> int:
        """Cells in the store; rows are numbered from 0."""
        return self._manifest.num_cells

    @property
    def num_genes(self) -> int:
        """Genes of each cell, columns of :meth:`read`."""
        return len(self.card.genes)

    @property
    def counted_genes(self) -> int | None:
        """Genes that library sizes were summed over, of the input with fewest; ``None`` where sums were not needed."""
        scale = self.card.scale
        if scale.source != "counts" or scale.library_size_key is not None:
            return None
        return min(entry.num_genes for entry in self._manifest.inputs)

    @property
    def identity(self) -> str:
        """Hash of the manifest, which holds the hash of every other file: the same for copies, wherever they are."""
        return hash_file(self.path / MANIFEST_NAME)

    @property
    def is_split_by_batch(self) -> bool:
        """Whether batches of one (dataset, cell type, perturbation) may be in different splits."""
        return self._manifest.is_split_by_batch

    @property
    def codec(self) -> Codec:
        """How the first block is packed, and so all blocks of its input."""
        return self._open_shards().codec(0)

    @property
    def split_json(self) -> str | None:
        """Text of the resolved split; ``None`` when every cell is training data."""
        path = self.path / SPLIT_NAME
        return read_text(path) if path.is_file() else None

    def close(self) -> None:
        """Close the files; the next read opens them again."""
        if self._shards is not None and self._shards.process == os.getpid():
            self._shards.close()
        self._shards = None

    def read(self, rows: Sequence[int] | np.ndarray) -> csr_matrix:
        """Return log1p expression of cells.

        Args:
            rows: [n] store rows in any order; rows may repeat and come from any groups.

        Returns:
            [n, G] float32, row i is cell ``rows[i]``, genes ascending.

        Raises:
            IndexError: A row is not in the store.
            InputError: A block is missing or damaged.
        """
        rows = np.asarray(rows, dtype=np.int64)
        if len(rows) and not 0 <= rows.min() <= rows.max() < self.num_cells:
            raise IndexError(f"expected rows in 0..{self.num_cells - 1}, got {rows.min()}..{rows.max()}")
        if not len(rows):
            return csr_matrix((0, self.num_genes), dtype=np.float32)
        return _as_csr(self._gather(rows), self.num_genes)

    def group_means(self, split: Split) -> GroupMeans:
        """Return the pseudobulk of a split's perturbed groups and of the control groups that it may use.

        Control groups of training come with each split because every split shares them. Cells are read once, in order.
        """
        groups = self.groups
        return self.pseudobulks(np.union1d(np.flatnonzero(groups.split == split), groups.training_controls()))

    def pseudobulks(self, chosen: np.ndarray) -> GroupMeans:
        """Return the pseudobulks of some groups, read once and in order.

        Args:
            chosen: [n] int64, indices of groups, ascending.
        """
        groups = self.groups
        sums, squares = np.zeros((len(chosen), self.num_genes)), np.zeros(self.num_genes)
        counts = groups.num_cells[chosen]
        owner = np.repeat(np.arange(len(chosen)), counts)
        rows = concatenate_ranges(groups.first_row[chosen], counts)
        for first in range(0, len(rows), _MEAN_ROWS):
            part = owner[first : first + _MEAN_ROWS]
            low, high = int(part[0]), int(part[-1]) + 1
            member = csr_matrix(
                (np.ones(len(part)), (part - low, np.arange(len(part)))), shape=(high - low, len(part))
            )
            cells = self.read(rows[first : first + _MEAN_ROWS])
            sums[low:high] += (member @ cells).toarray()
            squares += np.asarray(cells.power(2).sum(axis=0, dtype=np.float64)).ravel()
        means = sums / np.maximum(counts, 1)[:, None]
        freedom = max(int(counts.sum()) - int((counts > 0).sum()), 1)
        variance = np.maximum(squares - (means * sums).sum(axis=0), 0.0) / freedom
        return GroupMeans(
            groups=tuple(groups.label(index) for index in chosen.tolist()),
            means=means,
            counts=counts,
            cell_sd=np.sqrt(variance),
        )

    def obs(self, rows: Sequence[int] | np.ndarray) -> pd.DataFrame:
        """Return names and labels of cells.

        Args:
            rows: [n] store rows in any order.

        Returns:
            Columns ``cell`` (its name in the input file), ``dataset``, ``cell_type``, ``perturbation``, ``batch``, and
            ``covariate_0`` and so on for covariates.
        """
        rows = np.asarray(rows, dtype=np.int64)
        groups = self.groups
        group = np.searchsorted(groups.first_row, rows, side="right") - 1
        covariates = {
            covariate_column(number): pd.Categorical.from_codes(groups.covariate[group, number], names)
            for number, names in enumerate(groups.covariates)
        }
        return pd.DataFrame(
            {
                "cell": self._cell_names(rows),
                "dataset": pd.Categorical.from_codes(groups.dataset[group], groups.datasets),
                "cell_type": pd.Categorical.from_codes(groups.cell_type[group], groups.cell_types),
                "perturbation": pd.Categorical.from_codes(
                    groups.perturbation[group] + 1, (groups.control, *groups.perturbations)
                ),
                "batch": pd.Categorical.from_codes(groups.batch[group], groups.batches),
                **covariates,
            }
        )

    def verify(self) -> None:
        """Read every file of the store and compare its sha256 with the manifest.

        Raises:
            InputError: A file differs.
        """
        for entry in self._manifest.files:
            found = hash_file(self.path / entry.name)
            if found != entry.sha256:
                raise InputError(f"{self.path / entry.name}: expected sha256 {entry.sha256}, found {found}")

    def _gather(self, rows: np.ndarray) -> CsrRows:
        """Copy rows out of their blocks, as log1p expression."""
        groups = self.groups
        group = np.searchsorted(groups.first_row, rows, side="right") - 1
        chunk, local = np.divmod(rows - groups.first_row[group], CHUNK_ROWS)
        _, first, which = np.unique(self._first_block[group] + chunk, return_index=True, return_inverse=True)
        shards = self._open_shards()
        blocks = [shards.block(*key) for key in zip(group[first].tolist(), chunk[first].tolist(), strict=True)]
        scale = self.card.scale
        try:
            return gather_rows(blocks, which, local, target_sum=scale.target_sum if scale.source == "counts" else None)
        except ValueError as error:
            raise InputError(f"{self.path}: damaged store, {error}") from error

    def _open_shards(self) -> Shards:
        if self._shards is None or self._shards.process != os.getpid():
            self._shards = Shards(
                [self.path / entry.name for entry in self._manifest.shards],
                self.groups,
                self.num_genes,
                check=self._check_not_replaced,
            )
        return self._shards

    def _check_not_replaced(self) -> None:
        """Refuse files of another store in the place of this one: what is open already stays as it was."""
        try:
            is_same = stamp_of(self.path / MANIFEST_NAME) == self._stamp
        except OSError:
            is_same = False
        if not is_same:
            raise InputError(
                f"{self.path}: the store was replaced or removed while it was read; start again with the one that is "
                "there"
            )

    def _cell_names(self, rows: np.ndarray) -> np.ndarray:
        names = np.empty(len(rows), dtype=object)
        ends = np.cumsum([entry.num_cells for entry in self._manifest.obs])
        part = np.searchsorted(ends, rows, side="right")
        for number in np.unique(part).tolist():
            entry = self._manifest.obs[number]
            inside = np.flatnonzero(part == number)
            local = rows[inside] - (ends[number] - entry.num_cells)
            path = self.path / entry.name
            starts = _row_group_starts(path, stamp_of(path))
            self._check_not_replaced()
            piece = np.searchsorted(starts, local, side="right") - 1
            for group in np.unique(piece).tolist():
                chosen = piece == group
                of_group = _names_of_row_group(path, stamp_of(path), group)
                names[inside[chosen]] = of_group[local[chosen] - starts[group]]
        return names


def _check_size(path: Path, entry: FileEntry) -> None:
    if not path.is_file():
        raise InputError(f"{path}: the store's manifest lists this file, found none")
    found = path.stat().st_size
    if found != entry.num_bytes:
        raise InputError(
            f"{path}: expected {entry.num_bytes} bytes, found {found}; the file is cut off or was changed"
        )


def _as_csr(cells: CsrRows, num_genes: int) -> csr_matrix:
    dtype = np.int32 if cells.pointers[-1] <= np.iinfo(np.int32).max else np.int64
    arrays, num_cells = (cells.values, cells.indices, cells.pointers.astype(dtype)), len(cells.pointers) - 1
    matrix = csr_matrix(arrays, shape=(num_cells, num_genes), copy=False)
    # Blocks are written that way; saying so spares a check of every read.
    matrix.has_sorted_indices = True
    matrix.has_canonical_format = True
    return matrix


@contextmanager
def _cell_names_file(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (pa.ArrowException, OSError, KeyError) as error:
        raise InputError(f"{path}: the names of cells cannot be read: {error}; prepare the store again") from error


@lru_cache(maxsize=8)
def _row_group_starts(path: Path, stamp: tuple[int, int, int]) -> np.ndarray:
    with _cell_names_file(path) as file:
        sizes = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
    return np.cumsum([0, *sizes[:-1]])


@lru_cache(maxsize=8)
def _names_of_row_group(path: Path, stamp: tuple[int, int, int], number: int) -> np.ndarray:
    with _cell_names_file(path) as file:
        return file.read_row_group(number, columns=["cell"])["cell"].to_numpy()
