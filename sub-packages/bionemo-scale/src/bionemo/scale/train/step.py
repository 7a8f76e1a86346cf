# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What happens to a batch: fetched, moved to the device, run through this stage, scored on the last one."""

from collections.abc import Iterator
from typing import cast

import torch
from megatron.core.utils import get_attr_wrapped_model
from torch import Tensor, nn

from bionemo.scale.data.sets.collate import unpack
from bionemo.scale.model.config import ScaleModelConfig
from bionemo.scale.model.scale_model import ScaleOutput
from bionemo.scale.train.objective import hide_labels, objective, pair_cells, path_placement
from bionemo.scale.types import CellBatch


def data_step(iterator: Iterator) -> CellBatch:
    """Return the next micro-batch, dense, on this process's device."""
    batch = next(iterator)
    # NeMo's loaders wrap a batch as (batch, index, loader).
    if isinstance(batch, tuple) and len(batch) == 3:
        batch = batch[0]
    device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    if "pointers" in batch:
        batch = unpack(batch, device)
    # Seeds stay where they are: they are read as numbers.
    placed = {name: x if name == "seed" else x.to(device, non_blocking=True) for name, x in batch.items()}
    return cast(CellBatch, placed)


def forward_step(model: nn.Module, batch: CellBatch) -> dict[str, Tensor] | Tensor:
    """Run one micro-batch through this pipeline stage.

    Args:
        model: The network, in whatever NeMo and Megatron wrapped it.
        batch: From :func:`data_step`.

    Returns:
        The terms of the loss on the last stage, the tensor that travels on elsewhere.
    """
    network = get_attr_wrapped_model(model, "anchor", return_model_obj=True)
    config = network.config
    batch = {**batch, "control": network.anchor(batch["control"], batch["perturbation"])}
    if network.training:
        batch = _hidden(pair_cells(config, batch), config)
    output = model(batch, path_placement(config, batch))
    if not isinstance(output, ScaleOutput):
        return output
    return objective(output, batch, config, decode=network.decode, decode_mean=network.decode_mean)


def _hidden(batch: CellBatch, config: ScaleModelConfig) -> CellBatch:
    """Hide some labels, so that the unknown ones are trained."""
    cell_type = hide_labels(
        batch["cell_type"],
        batch["seed"],
        kind="cell_type",
        prob=config.cell_type_dropout,
        unknown=config.num_cell_types,
    )
    batches = hide_labels(
        batch["batch"], batch["seed"], kind="batch", prob=config.batch_dropout, unknown=config.num_batches
    )
    return {**batch, "cell_type": cell_type, "batch": batches}
