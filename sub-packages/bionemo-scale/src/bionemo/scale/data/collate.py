# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Gathered sets to tensors."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.sparse import vstack

from bionemo.scale.data.dataset import GatheredSets
from bionemo.scale.types import CellBatch


def collate(sets: GatheredSets | Sequence[GatheredSets]) -> CellBatch:
    """Make the batch that models read; expression becomes dense here, once.

    Args:
        sets: What ``CellSetDataset.__getitems__`` returned, or several single items.

    Returns:
        ``control`` and ``perturbed`` [B, N, G] float32, the labels, ``num_cells`` and ``seed`` [B] int64.
    """
    gathered = sets if isinstance(sets, GatheredSets) else _merge(sets)
    num_sets = len(gathered.seed)
    dense = torch.from_numpy(gathered.expression.toarray())
    control, perturbed = dense.view(2, num_sets, -1, dense.shape[-1]).unbind(0)
    return CellBatch(
        control=control,
        perturbed=perturbed,
        cell_type=torch.from_numpy(gathered.cell_type),
        perturbation=torch.from_numpy(gathered.perturbation),
        batch=torch.from_numpy(gathered.batch),
        num_cells=torch.from_numpy(gathered.num_cells),
        seed=torch.from_numpy(gathered.seed),
    )


def _merge(sets: Sequence[GatheredSets]) -> GatheredSets:
    halves = [item.expression.shape[0] // 2 for item in sets]
    controls = [item.expression[:half] for item, half in zip(sets, halves, strict=True)]
    perturbed = [item.expression[half:] for item, half in zip(sets, halves, strict=True)]
    labels = [np.concatenate(column) for column in zip(*(item[1:] for item in sets), strict=True)]
    return GatheredSets(vstack([*controls, *perturbed], format="csr"), *labels)
