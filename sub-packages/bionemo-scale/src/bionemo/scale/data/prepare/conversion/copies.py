# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Finds cells that are in a store more than once, under whatever names and labels.

Each cell gets a fingerprint of its values when it is written. Cells with one fingerprint are taken for copies, as far
as a sample of them has the same values.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import lgamma, log
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from bionemo.scale.data.store.csr import row_pointers
from bionemo.scale.data.store.format import FINGERPRINT, obs_name
from bionemo.scale.data.store.manifest import read_manifest
from bionemo.scale.data.store.reader import Store
from bionemo.scale.types import Split


_ENTRIES = 8
"""Values of a cell that its fingerprint is made of, evenly spread over the expressed genes."""
_BITS = 100
"""Cells are compared if at least ``2**_BITS`` sets of as many genes could be expressed. Among five public screens, cut
to panels of 10 to 4,805 genes and with values of 0 and 1 too, equal cells had 46 bits at most."""
_SHARE = 1e-3
"""Share of cells that may be copies without a word."""
_MOST_CELLS = 1 << 22
"""Fingerprints that are compared at once: of larger stores, those that leave no rest when they are divided."""
_SAMPLE = 100
"""Pairs of cells with one fingerprint that are compared value by value."""
_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(32))


def fingerprints(lengths: np.ndarray, indices: np.ndarray, values: np.ndarray, *, num_genes: int) -> np.ndarray:
    """Return a number for each cell that cells with other values hardly ever share.

    It is made of the number of expressed genes, and of columns and values of some of these, so that it costs little.

    Args:
        lengths: [cells] expressed genes of each cell.
        indices: [entries] their columns in the store, ascending within a cell.
        values: [entries] their values as they are stored.
        num_genes: Genes of the store.

    Returns:
        [cells] uint64; 0 for cells that may equal others by chance, because they express few genes or nearly all.
    """
    found = np.zeros(len(lengths), dtype=np.uint64)
    cells = np.flatnonzero(_is_telling(num_genes)[lengths])
    if not len(cells):
        return found
    starts, own = row_pointers(lengths)[cells], lengths[cells].astype(np.int64)
    chosen = starts[:, None] + own[:, None] * np.arange(_ENTRIES) // _ENTRIES
    bits = values[chosen] if values.dtype.kind in "iu" else values[chosen].astype(np.float32).view(np.uint32)
    mixed = bits.astype(np.uint64) << _MIX[2]
    mixed |= indices[chosen].astype(np.uint64)
    mixed *= _MIX[0]
    mixed ^= mixed >> _MIX[2]
    # Odd factors, one for each place, so that the order counts.
    mixed *= _MIX[1] * (2 * np.arange(_ENTRIES, dtype=np.uint64) + np.uint64(1))
    found[cells] = mixed.sum(axis=1, dtype=np.uint64) ^ (own.astype(np.uint64) * _MIX[0])
    return found


def note_copies(path: Path) -> tuple[str, ...]:
    """Say how many held-out cells are copies of training cells or, where they are few, how many cells are there twice.

    Args:
        path: A store; one that was made by a version without fingerprints says nothing.
    """
    with Store.open(path) as store:
        groups = store.groups
        read = _read_fingerprints(path, 1 + store.num_cells // _MOST_CELLS)
        if read is None:
            return ()
        chosen, found = read
        group = np.searchsorted(groups.first_row, chosen, side="right") - 1
        _, code, size = np.unique(found, return_inverse=True, return_counts=True)
        held_out = groups.split[group] != Split.TRAIN
        leaks = held_out & (np.bincount(code, weights=~held_out) > 0)[code]
        for copies, among, others in ((leaks, held_out, ~held_out), (size[code] > 1, size[code] > 0, None)):
            pairs = _pairs(code, np.flatnonzero(copies), others)
            same = (store.read(chosen[pairs[0]]) != store.read(chosen[pairs[1]])).sum(axis=1) == 0
            share = copies.sum() / max(1, among.sum()) * same.mean() if len(same) else 0.0
            if share > _SHARE:
                first = int(np.flatnonzero(same)[0])
                names = [" / ".join(groups.label(int(group[side[first]]))[:3]) for side in pairs]
                return (_line(share, names, is_leak=others is not None),)
    return ()


def _line(share: float, names: Sequence[str], *, is_leak: bool) -> str:
    what = (
        f"{share:.1%} of the cells have the values of another cell: means count them twice, and a split may have both",
        f"{share:.1%} of the held-out cells have the values of training cells, so that their scores say nothing",
    )[is_leak]
    return f"{what}; first {names[0]!r} and {names[1]!r}; leave one of the two out"


def _read_fingerprints(path: Path, divisor: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Return rows and fingerprints of the cells that are compared; ``None`` if a part of the store has none.

    Args:
        path: The store.
        divisor: Only fingerprints that leave no rest are compared.
    """
    rows, found, first = [], [], 0
    for number in range(len(read_manifest(path).obs)):
        with pq.ParquetFile(path / obs_name(number)) as file:
            if FINGERPRINT not in file.schema_arrow.names:
                return None
            values = file.read(columns=[FINGERPRINT])[FINGERPRINT].to_numpy()
        kept = np.flatnonzero((values != 0) & (values % np.uint64(divisor) == 0))
        rows.append(kept + first)
        found.append(values[kept])
        first += len(values)
    return np.concatenate(rows), np.concatenate(found)


def _pairs(code: np.ndarray, copies: np.ndarray, others: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return a sample of copies, and of each another cell with its fingerprint.

    Args:
        code: [cells] number of each cell's fingerprint.
        copies: [n] cells.
        others: [cells] bool, among which the other cell is; ``None`` for all but the first of each fingerprint.
    """
    first = np.zeros(code.max(initial=-1) + 1, dtype=np.int64)
    among = np.flatnonzero(others) if others is not None else np.arange(len(code))
    # Backwards, so that the first of each stays.
    first[code[among[::-1]]] = among[::-1]
    if others is None:
        copies = copies[first[code[copies]] != copies]
    copies = copies[np.linspace(0, len(copies) - 1, min(_SAMPLE, len(copies))).astype(np.int64)]
    return copies, first[code[copies]]


@lru_cache
def _is_telling(num_genes: int) -> np.ndarray:
    """Return [genes + 1] bool, whether cells with so many expressed genes are hardly ever equal by chance."""
    numbers = range(num_genes + 1)
    ways = [lgamma(num_genes + 1) - lgamma(number + 1) - lgamma(num_genes - number + 1) for number in numbers]
    return (np.array(ways) >= _BITS * log(2)) & (np.arange(num_genes + 1) >= _ENTRIES)
