# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Gathered sets to tensors: packed where they are read, dense where they are used."""

import shutil
from collections.abc import Sequence
from typing import NotRequired, TypedDict

import numpy as np
import torch
import torch.utils.data
from scipy.sparse import csr_matrix, vstack
from torch import Tensor

from bionemo.scale.data.sets.dataset import GatheredSets
from bionemo.scale.data.store.compiled import CsrRows, loops_for
from bionemo.scale.data.store.memory import batch_memory
from bionemo.scale.types import CellBatch, InputError


class PackedSets(TypedDict):
    """B sets of cells, expression in CSR: about a tenth of the dense bytes go from worker processes and to a GPU."""

    values: Tensor
    """[nnz] float32, log1p expression; rows are all C sets of controls, then the perturbed cells of all B sets."""
    indices: Tensor
    """[nnz] int32, gene of each value."""
    pointers: Tensor
    """[rows + 1] int32 or int64, first value of each row; rows are (C + B) * N where all sets have N cells."""
    num_genes: int
    """G."""
    cell_type: Tensor
    """[B] int64, as all below."""
    perturbation: Tensor
    batch: Tensor
    """[B] or, of sets of several batches, [cells of all sets]."""
    seed: Tensor
    size: NotRequired[Tensor]
    """[B], as all below; of sets of several batches, those of one size after the other. There
    are then 2 * sum(size) rows."""
    num_places: NotRequired[int]
    """Places of the micro-batch, which some sets share."""
    num_cells: NotRequired[Tensor]
    """Cells that are no fillers."""
    weight: NotRequired[Tensor]
    """float32, share in the loss of the micro-batch."""
    covariates: NotRequired[Tensor]
    """[B, K] int64, where the data have covariates."""
    controls_of: NotRequired[Tensor]
    """[B] int64, which set of controls each set starts from, where some share one."""
    num_controls: NotRequired[int]
    """C, where some share one."""


def pack(sets: GatheredSets | Sequence[GatheredSets]) -> PackedSets:
    """Make tensors of gathered sets; what a loader and its workers do.

    Args:
        sets: What ``CellSetDataset.__getitems__`` returned, or several single items.
    """
    gathered = sets if isinstance(sets, GatheredSets) else _merge(sets)
    cells, mixture = gathered.expression, gathered.mixture
    packed = PackedSets(
        values=torch.from_numpy(cells.data),
        indices=torch.from_numpy(cells.indices),
        pointers=torch.from_numpy(cells.indptr),
        num_genes=cells.shape[1],
        cell_type=torch.from_numpy(gathered.cell_type),
        perturbation=torch.from_numpy(gathered.perturbation),
        batch=torch.from_numpy(gathered.batch),
        seed=torch.from_numpy(gathered.seed),
    )
    if mixture is not None:
        packed["size"] = torch.from_numpy(mixture.size)
        packed["num_places"] = mixture.num_places
        packed["num_cells"] = torch.from_numpy(mixture.num_cells)
        packed["weight"] = torch.from_numpy(mixture.weight)
    if gathered.covariates is not None:
        packed["covariates"] = torch.from_numpy(gathered.covariates)
    if gathered.controls_of is not None:
        packed["controls_of"] = torch.from_numpy(gathered.controls_of)
        packed["num_controls"] = _num_controls(gathered)
    return packed


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


def unpack(packed: PackedSets, device: torch.device) -> list[CellBatch]:
    """Make the batches that models read; expression becomes dense here, once, on the device it is used on.

    Args:
        packed: From :func:`pack`.
        device: Where ``control`` and ``perturbed`` go; the labels stay where they are.

    Returns:
        One batch of all sets or, where batches are mixed, one for each size of sets: ``control`` and ``perturbed``
        [B, N, G] float32, the labels and ``seed`` [B] int64; fewer ``control`` where sets share them.
    """
    dense = _dense_on_host(packed) if device.type == "cpu" else dense_on_device(packed, device)
    if "size" not in packed:
        return [_of_whole_sets(packed, dense)]
    control, perturbed = dense.view(2, -1, packed["num_genes"]).unbind(0)
    sizes, counts = packed["size"].unique_consecutive(return_counts=True)
    batches, first_set, first_cell = [], 0, 0
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        sets, rows = slice(first_set, first_set + count), slice(first_cell, first_cell + size * count)
        batches.append(
            _of_one_size(
                packed, sets, control=control[rows], perturbed=perturbed[rows], of_cells=packed["batch"][rows]
            )
        )
        first_set, first_cell = sets.stop, rows.stop
    return batches


def _of_whole_sets(packed: PackedSets, dense: Tensor) -> CellBatch:
    num_sets = len(packed["seed"])
    num_controls = packed.get("num_controls", num_sets)
    populations = dense.view(num_controls + num_sets, -1, packed["num_genes"])
    batch = CellBatch(
        control=populations[:num_controls],
        perturbed=populations[num_controls:],
        cell_type=packed["cell_type"],
        perturbation=packed["perturbation"],
        batch=packed["batch"],
        seed=packed["seed"],
    )
    if "covariates" in packed:
        batch["covariates"] = packed["covariates"]
    if "controls_of" in packed:
        batch["controls_of"] = packed["controls_of"]
    return batch


def _of_one_size(
    packed: PackedSets, sets: slice, *, control: Tensor, perturbed: Tensor, of_cells: Tensor
) -> CellBatch:
    num_cells = packed["num_cells"][sets]
    shape = len(num_cells), len(control) // len(num_cells)
    batch = CellBatch(
        control=control.view(*shape, -1),
        perturbed=perturbed.view(*shape, -1),
        cell_type=packed["cell_type"][sets],
        perturbation=packed["perturbation"][sets],
        batch=of_cells.view(shape),
        seed=packed["seed"][sets],
        num_places=packed["num_places"],
        weight=packed["weight"][sets],
    )
    if "covariates" in packed:
        batch["covariates"] = packed["covariates"][sets]
    if (num_cells < shape[1]).any():
        batch["share"] = (torch.arange(shape[1]) < num_cells[:, None]) / num_cells[:, None].float()
    return batch


def collate(sets: GatheredSets | Sequence[GatheredSets]) -> CellBatch:
    """Pack and unpack in this process's memory, where all sets have one size.

    Args:
        sets: What ``CellSetDataset.__getitems__`` returned, or several single items.

    Raises:
        ValueError: Sets differ in size.
    """
    (batch,) = unpack(pack(sets), torch.device("cpu"))
    return batch


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
    """The same by the compiled loop or by scipy's, in memory that earlier batches have left."""
    values, indices, pointers = (packed[name].numpy() for name in ("values", "indices", "pointers"))
    shape = len(pointers) - 1, packed["num_genes"]
    out = batch_memory.take(shape[0] * shape[1], np.float32).reshape(shape)
    loops = loops_for("dense", len(pointers) - 1)
    if loops is None:
        csr_matrix((values, indices, pointers), shape=shape, copy=False).toarray(out=out)
    else:
        loops.scatter_rows(CsrRows(pointers.astype(np.int64), indices, values), out)
    return torch.from_numpy(out)


def _merge(sets: Sequence[GatheredSets]) -> GatheredSets:
    if any(item.mixture is not None for item in sets):
        raise ValueError("sets of several batches are gathered together, expected one item of them")
    counts = [_num_controls(item) for item in sets]
    ends = [
        item.expression.shape[0] * count // (count + len(item.seed)) for item, count in zip(sets, counts, strict=True)
    ]
    controls = [item.expression[:end] for item, end in zip(sets, ends, strict=True)]
    perturbed = [item.expression[end:] for item, end in zip(sets, ends, strict=True)]
    covariates = [item.covariates for item in sets if item.covariates is not None]
    controls_of = [item.controls_of for item in sets if item.controls_of is not None]
    return GatheredSets(
        expression=vstack([*controls, *perturbed], format="csr"),
        cell_type=np.concatenate([item.cell_type for item in sets]),
        perturbation=np.concatenate([item.perturbation for item in sets]),
        batch=np.concatenate([item.batch for item in sets]),
        seed=np.concatenate([item.seed for item in sets]),
        covariates=np.concatenate(covariates) if covariates else None,
        controls_of=_numbered_on(controls_of, counts) if controls_of else None,
    )


def _num_controls(item: GatheredSets) -> int:
    return len(item.seed) if item.controls_of is None else int(item.controls_of.max()) + 1


def _numbered_on(controls_of: Sequence[np.ndarray], counts: Sequence[int]) -> np.ndarray:
    before = np.cumsum(counts) - counts
    return np.concatenate([item + begin for item, begin in zip(controls_of, before, strict=True)])
