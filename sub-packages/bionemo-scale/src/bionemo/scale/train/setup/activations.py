# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The activations of a training step, counted on tensors that have a shape and no storage."""

from collections.abc import Sequence
from copy import copy
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from bionemo.scale.model.config import ScaleModelConfig
from bionemo.scale.model.scale_model import ScaleModel
from bionemo.scale.train.settings import FREEZABLE
from bionemo.scale.train.step import forward_step
from bionemo.scale.types import CellBatch


def activation_bytes(
    config: ScaleModelConfig, *, num_sets: int, dtype: torch.dtype, frozen: Sequence[str] = ()
) -> int:
    """Return the bytes that a micro-batch keeps from the forward pass to the backward pass, and its cells.

    A training step runs forward on torch's meta device, and every tensor that autograd saves is counted once.
    Attention counts as the kernels of torch and Transformer Engine compute it, which keep no scores. What operations
    need for a moment, and what the allocator holds in reserve, comes on top. Process groups must be there
    (:func:`bionemo.scale.megatron.layout.model_parallel`).

    Args:
        config: The network's; ``set_size`` is N.
        num_sets: B, sets of a micro-batch.
        dtype: Of parameters and activations.
        frozen: Parts that are not trained, names in :data:`bionemo.scale.train.settings.FREEZABLE`.
    """
    # Pairing cells by optimal transport reads values, and keeps nothing.
    config = copy(config)
    config.coupling = "random"
    network = _without_storage(config, dtype)
    for part in frozen:
        for name in FREEZABLE[part]:
            getattr(network, name).requires_grad_(False)
    batch = _batch(config, num_sets)
    network_tensors = {*map(_storage, network.parameters()), *map(_storage, network.buffers())}
    cells = {_storage(x): x.untyped_storage().nbytes() for x in batch.values() if isinstance(x, Tensor)}
    saved: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if (key := _storage(tensor)) not in network_tensors:
            saved[key] = tensor.untyped_storage().nbytes()
        return tensor

    with _FlashAttention(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        # Held until the end, so that no storage takes the place of another.
        terms = forward_step(network, [batch])
    del terms
    return sum({**saved, **cells}.values())


def _storage(tensor: Tensor) -> int:
    return cast(int, tensor.untyped_storage()._cdata)


def _without_storage(config: ScaleModelConfig, dtype: torch.dtype) -> ScaleModel:
    """Return a network on the meta device."""
    # Megatron names its devices while it builds, so that the meta device cannot stand in then.
    with FakeTensorMode():
        network = ScaleModel(config)
    for module in network.modules():
        for tensors in (module._parameters, module._buffers, vars(module)):
            for name, tensor in list(tensors.items()):
                if isinstance(tensor, Tensor):
                    tensors[name] = _on_meta(tensor)
    if dtype is torch.bfloat16:
        network.bfloat16()
    return network.train()


def _on_meta(tensor: Tensor) -> Tensor:
    empty = torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")
    return nn.Parameter(empty, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty


def _batch(config: ScaleModelConfig, num_sets: int) -> CellBatch:
    """Return sets of cells with a shape and labels. Seeds are numbers, as in training."""
    length, options = config.set_size, {"device": "meta"}
    cells = [torch.empty(num_sets, length, config.num_genes, **options) for _ in range(2)]
    labels = {
        name: torch.empty(num_sets, dtype=torch.int64, **options) for name in ("cell_type", "perturbation", "batch")
    }
    batch: dict[str, Any] = {"control": cells[0], "perturbed": cells[1], **labels, "seed": torch.arange(num_sets)}
    if config.covariate_sizes:
        shape = (num_sets, len(config.covariate_sizes))
        batch["covariates"] = torch.empty(shape, dtype=torch.int64, **options)
    return cast(CellBatch, batch)


class _FlashAttention(TorchFunctionMode):
    """Lets attention keep what it keeps on a device: the meta device would take the kernel that keeps the scores."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function is not scaled_dot_product_attention:
            return function(*args, **(kwargs or {}))
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(*args)[0]
