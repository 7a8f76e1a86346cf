# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What happens to a batch: fetched, moved to the device, run through this stage, scored on the last one."""

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from jaxtyping import Int64
from megatron.core.utils import get_attr_wrapped_model
from torch import Tensor, nn

from bionemo.scale.data.sets.collate import unpack
from bionemo.scale.data.sets.populations import set_sizes
from bionemo.scale.model.config import ScaleModelConfig
from bionemo.scale.model.scale_model import ScaleModel, ScaleOutput, join_batches, packed_length, split_batches
from bionemo.scale.train.callbacks import waiting
from bionemo.scale.train.objective import add_up, hide_labels, objective, pair_cells, path_placement
from bionemo.scale.train.settings import TrainSettings
from bionemo.scale.types import CellBatch


def data_step(iterator: Iterator) -> list[CellBatch]:
    """Return the next micro-batch, dense, on this process's device: a batch for each size of its sets."""
    with waiting.FOR_DATA.counted():
        batch = next(iterator)
    # NeMo's loaders wrap a batch as (batch, index, loader).
    if isinstance(batch, tuple) and len(batch) == 3:
        batch = batch[0]
    device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    batches = unpack(batch, device) if "pointers" in batch else [batch]
    return [_placed(each, device) for each in batches]


def _placed(batch: CellBatch, device: torch.device) -> CellBatch:
    # Seeds stay where they are: they are read as numbers.
    placed = {
        name: x.to(device, non_blocking=True) if isinstance(x, Tensor) and name != "seed" else x
        for name, x in batch.items()
    }
    return cast(CellBatch, placed)


def forward_step(model: nn.Module, batches: Sequence[CellBatch]) -> dict[str, Tensor] | Tensor:
    """Run one micro-batch through this pipeline stage.

    Args:
        model: The network, in whatever NeMo and Megatron wrapped it.
        batches: From :func:`data_step`.

    Returns:
        The terms of the loss on the last stage, the tensor that travels on elsewhere.
    """
    network = get_attr_wrapped_model(model, "anchor", return_model_obj=True)
    config = network.config
    batches = [_prepared(network, batch) for batch in batches]
    outputs = []
    for batch, received in zip(batches, _received(network, batches), strict=True):
        network.set_input_tensor(received)
        outputs.append(model(batch, path_placement(config, batch)))
    if not isinstance(outputs[0], ScaleOutput):
        return outputs[0] if config.sets == "batch" else _sent(outputs, batches, config)
    terms = [
        objective(output, batch, config, decode=network.decode, decode_mean=network.decode_mean)
        for output, batch in zip(outputs, batches, strict=True)
    ]
    return add_up(terms)


def _prepared(network: ScaleModel, batch: CellBatch) -> CellBatch:
    config = network.config
    if config.anchor != "none" or (network.training and config.coupling != "random"):
        batch = _with_own_controls(batch)
    if config.anchor != "none":
        batch = {**batch, "control": network.anchor(batch["control"], batch["perturbation"])}
    return _hidden(pair_cells(config, batch), config) if network.training else batch


def _with_own_controls(batch: CellBatch) -> CellBatch:
    """Give each set a copy of the controls that it shares, where they become another's in every set."""
    if "controls_of" not in batch:
        return batch
    own = {**batch, "control": batch["control"][batch["controls_of"]]}
    del own["controls_of"]
    return cast(CellBatch, own)


def _received(network: ScaleModel, batches: Sequence[CellBatch]) -> Sequence[Tensor | None]:
    """Return what the previous stage sent of each batch."""
    if network.received is None or network.config.sets == "batch":
        return [network.received] * len(batches)
    return split_batches(network.received, [batch["perturbed"].shape[:2] for batch in batches])


def _sent(outputs: Sequence[Tensor], batches: Sequence[CellBatch], config: ScaleModelConfig) -> Tensor:
    return join_batches(outputs, length=places_length(config), places=batches[0]["num_places"])


def places_length(config: ScaleModelConfig | TrainSettings) -> int:
    """Return the rows of what travels between stages, for each place of a micro-batch."""
    sizes = set_sizes(config.set_size, config.sets)
    return packed_length(config.set_size, config.set_size // sizes[-1])


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
    hidden: CellBatch = {**batch, "cell_type": cell_type, "batch": batches}
    if "covariates" in batch:
        hidden["covariates"] = hide_covariates(batch["covariates"], batch["seed"], config)
    return hidden


def hide_covariates(
    covariates: Int64[Tensor, "B K"], seeds: Int64[Tensor, " B"], config: ScaleModelConfig
) -> Int64[Tensor, "B K"]:
    """Hide some covariates of some sets, each by itself."""
    columns = [
        hide_labels(column, seeds, kind=f"covariate-{number}", prob=config.covariate_dropout, unknown=unknown)
        for number, (column, unknown) in enumerate(zip(covariates.unbind(1), config.covariate_sizes, strict=True))
    ]
    return torch.stack(columns, dim=1)
