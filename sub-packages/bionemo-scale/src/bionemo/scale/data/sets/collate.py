# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Gathered sets to tensors: packed where they are read, dense where they are used."""

import shutil
from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import torch
import torch.utils.data
from scipy.sparse import csr_matrix, vstack
from torch import Tensor

from bionemo.scale.data.sets.dataset import GatheredSets
from bionemo.scale.data.store.memory import batch_memory
from bionemo.scale.types import CellBatch, InputError


class PackedSets(TypedDict):
    """B sets of N cells, expression in CSR: about a tenth of the dense bytes go from worker processes and to a GPU."""

    values: Tensor
    """[nnz] float32, log1p expression; rows are the controls of all sets, then the perturbed cells."""
    indices: Tensor
    """[nnz] int32, gene of each value."""
    pointers: Tensor
    """[2 * B * N + 1] int32 or int64, first value of each row."""
    num_genes: int
    """G."""
    cell_type: Tensor
    """[B] int64, as all below."""
    perturbation: Tensor
    batch: Tensor
    seed: Tensor


def pack(sets: GatheredSets | Sequence[GatheredSets]) -> PackedSets:
    """Make tensors of gathered sets; what a loader and its workers do.

    Args:
        sets: What ``CellSetDataset.__getitems__`` returned, or several single items.
    """
    gathered = sets if isinstance(sets, GatheredSets) else _merge(sets)
    cells = gathered.expression
    return PackedSets(
        values=torch.from_numpy(cells.data),
        indices=torch.from_numpy(cells.indices),
        pointers=torch.from_numpy(cells.indptr),
        num_genes=cells.shape[1],
        cell_type=torch.from_numpy(gathered.cell_type),
        perturbation=torch.from_numpy(gathered.perturbation),
        batch=torch.from_numpy(gathered.batch),
        seed=torch.from_numpy(gathered.seed),
    )


def pack_in_worker(sets: GatheredSets | Sequence[GatheredSets]) -> PackedSets:
    """Pack in a worker process, into the shared memory by which tensors reach the trainer.

    Left to the queue between the two, a shared memory that is full would fail in a thread that nobody hears of, and
    the trainer would wait for ever.

    Raises:
        InputError: Shared memory is full.
    """
    packed = pack(sets)
    try:
        for value in packed.values():
            if isinstance(value, Tensor):
                value.share_memory_()
    except RuntimeError as error:
        worker = torch.utils.data.get_worker_info()
        option = "--num-workers" if worker is None else f"--num-workers {worker.num_workers}"
        raise InputError(
            f"{option}: the memory that processes share, /dev/shm, has no room for a batch "
            f"({_free_mib('/dev/shm')} MiB free); give it more (docker run --shm-size), or take --num-workers 0"
        ) from error
    return packed


def _free_mib(folder: str) -> int:
    try:
        return shutil.disk_usage(folder).free >> 20
    except OSError:
        return 0


def unpack(packed: PackedSets, device: torch.device) -> CellBatch:
    """Make the batch that models read; expression becomes dense here, once, on the device it is used on.

    Args:
        packed: From :func:`pack`.
        device: Where ``control`` and ``perturbed`` go; the labels stay where they are.

    Returns:
        ``control`` and ``perturbed`` [B, N, G] float32, the labels and ``seed`` [B] int64.
    """
    dense = _dense_on_host(packed) if device.type == "cpu" else dense_on_device(packed, device)
    control, perturbed = dense.view(2, len(packed["seed"]), -1, packed["num_genes"]).unbind(0)
    return CellBatch(
        control=control,
        perturbed=perturbed,
        cell_type=packed["cell_type"],
        perturbation=packed["perturbation"],
        batch=packed["batch"],
        seed=packed["seed"],
    )


def collate(sets: GatheredSets | Sequence[GatheredSets]) -> CellBatch:
    """Pack and unpack in this process's memory.

    Args:
        sets: What ``CellSetDataset.__getitems__`` returned, or several single items.
    """
    return unpack(pack(sets), torch.device("cpu"))


def dense_on_device(packed: PackedSets, device: torch.device) -> Tensor:
    """Return [2 * B * N, G] float32, scattered on the device after the CSR arrays were moved there."""
    values, indices, pointers = (
        packed[name].to(device, non_blocking=True) for name in ("values", "indices", "pointers")
    )
    num_rows = len(pointers) - 1
    starts = torch.arange(num_rows, device=device) * packed["num_genes"]
    rows = torch.repeat_interleave(starts, pointers.diff(), output_size=len(values))
    dense = torch.zeros(num_rows * packed["num_genes"], dtype=values.dtype, device=device)
    dense[rows + indices] = values
    return dense.view(num_rows, packed["num_genes"])


def _dense_on_host(packed: PackedSets) -> Tensor:
    """The same with scipy's kernel, in memory that earlier batches have left."""
    arrays = tuple(packed[name].numpy() for name in ("values", "indices", "pointers"))
    cells = csr_matrix(arrays, shape=(len(arrays[2]) - 1, packed["num_genes"]), copy=False)
    out = batch_memory.take(cells.shape[0] * cells.shape[1], np.float32).reshape(cells.shape)
    cells.toarray(out=out)
    return torch.from_numpy(out)


def _merge(sets: Sequence[GatheredSets]) -> GatheredSets:
    halves = [item.expression.shape[0] // 2 for item in sets]
    controls = [item.expression[:half] for item, half in zip(sets, halves, strict=True)]
    perturbed = [item.expression[half:] for item, half in zip(sets, halves, strict=True)]
    labels = [np.concatenate(column) for column in zip(*(item[1:] for item in sets), strict=True)]
    return GatheredSets(vstack([*controls, *perturbed], format="csr"), *labels)
