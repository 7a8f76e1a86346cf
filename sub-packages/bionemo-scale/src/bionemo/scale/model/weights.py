# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The initial weights, all in one place, and weights of a whole network in any layout.

Every tensor is drawn from a generator seeded by (seed, name in the whole network), and each rank keeps its slice. So
the initial network is the same for every tensor and pipeline parallel layout, on CPU and GPU.
"""

import math
import zlib
from collections.abc import Callable

import torch
from megatron.core import parallel_state
from megatron.core.transformer.transformer_layer import TransformerLayer
from torch import Tensor, nn


def init_weights(model: nn.Module, *, seed: int) -> None:
    """Set every parameter of the network.

    ============================================  =======================================
    parameter                                      law
    ============================================  =======================================
    norm weight, any bias                          1, 0
    seed and query vectors                         normal, standard deviation 1
    label embeddings                               normal, standard deviation 1 / label_scale
    what maps features and doses to them           normal, variance 1 / inputs / label_scale^2
    gene token embeddings                          normal, standard deviation 0.1
    linear weights                                 normal, variance 1 / inputs
    linear weights that end a residual branch      the same, divided by 2 * layers of its block
    the decoder's last linear weights              the same, divided by 100: expression on the
                                                   model's scale is about a tenth
    ============================================  =======================================
    """
    global_names = _global_names(model)
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            # It follows others, and starts as their copy.
            continue
        full_name = global_names.get(name, name)
        with torch.no_grad():
            parameter.copy_(
                _slice(_draw(full_name, parameter, model, seed=seed), parameter, gated=_is_gated(model, name))
            )


def whole_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return this rank's parameters and buffers by their names in the whole network; what is no tensor is left out."""
    names = _global_names(model)
    tensors = model.state_dict(keep_vars=True).items()
    # Transformer Engine's scales are not weights.
    return {
        names.get(name, name): value
        for name, value in tensors
        if isinstance(value, Tensor) and not name.endswith("_extra_state")
    }


@torch.no_grad()
def copy_whole(model: nn.Module, read: Callable[[str], Tensor]) -> None:
    """Set every tensor of this rank's part of a network to its slice of the whole one.

    Args:
        model: Of this rank's pipeline stage.
        read: Returns a tensor of the whole network by its name there.

    Raises:
        ValueError: A tensor has another shape or type.
    """
    local = {value: key for key, value in _global_names(model).items()}
    for name, own in whole_tensors(model).items():
        full = read(name)
        shape = _full_shape(own) if isinstance(own, nn.Parameter) else tuple(own.shape)
        if (tuple(full.shape), full.dtype) != (shape, own.dtype):
            raise ValueError(
                f"expected {name} of shape {list(shape)} and {own.dtype}, found {list(full.shape)} and {full.dtype}"
            )
        own.copy_(_slice(full, own, gated=_is_gated(model, local.get(name, name))))


def _draw(name: str, parameter: nn.Parameter, model: nn.Module, *, seed: int) -> Tensor:
    shape = _full_shape(parameter)
    if name.endswith("bias"):
        return torch.zeros(shape, device="cpu")
    if "norm" in name.rsplit(".", 2)[-2] or name.endswith("layer_norm_weight"):
        return torch.ones(shape, device="cpu")
    # torch's CPU generator reads 32 bits of its seed: a hash of both keeps them both in play.
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}:{name}".encode()))
    values = torch.randn(shape, generator=generator, device="cpu")
    return values * _standard_deviation(name, shape, model)


def _standard_deviation(name: str, shape: tuple[int, ...], model: nn.Module) -> float:
    if "token_embedding" in name:
        return 0.1
    # Linear weights are called so by every linear module; what is left are embeddings and single vectors.
    if "linear" not in name:
        return 1.0 if ".pool." in name else 1.0 / model.config.label_scale
    if "expression_decoder" in name and "linear_fc2" in name:
        return 0.1 / math.sqrt(shape[-1])
    residual_branch = ".layers." in name and ("linear_proj" in name or "linear_fc2" in name)
    num_layers = model.config.encoder_num_layers if name.startswith("gene_encoder.") else model.config.num_layers
    depth = 2 * num_layers if residual_branch else 1
    # What features and doses add to a label's embedding is as large as the embedding itself.
    is_of_label = "feature_linear" in name or "dose_linear" in name
    scale = model.config.label_scale if is_of_label else 1.0
    return 1.0 / (math.sqrt(shape[-1] * depth) * scale)


def _full_shape(parameter: nn.Parameter) -> tuple[int, ...]:
    shape = list(parameter.shape)
    if getattr(parameter, "tensor_model_parallel", False):
        shape[parameter.partition_dim] *= parallel_state.get_tensor_model_parallel_world_size()
    return tuple(shape)


def _slice(full: Tensor, parameter: Tensor, *, gated: bool) -> Tensor:
    """Return this rank's part of a full tensor."""
    if tuple(full.shape) == tuple(parameter.shape):
        return full
    size, rank = parallel_state.get_tensor_model_parallel_world_size(), parallel_state.get_tensor_model_parallel_rank()
    axis = parameter.partition_dim
    # A gated MLP holds gate and value one above the other, and each is split by itself.
    halves = full.chunk(2, dim=axis) if gated else (full,)
    return torch.cat([half.chunk(size, dim=axis)[rank] for half in halves], dim=axis)


def _is_gated(model: nn.Module, name: str) -> bool:
    if "linear_fc1" not in name:
        return False
    owner = model.get_submodule(name.rsplit(".linear_fc1", 1)[0])
    return getattr(getattr(owner, "config", None), "gated_linear_unit", False)


def _global_names(model: nn.Module) -> dict[str, str]:
    """Map local parameter names to those of an unsplit network: layers are counted over all pipeline stages."""
    names = {}
    for path, layer in model.named_modules():
        if isinstance(layer, TransformerLayer):
            prefix = f"{path.rsplit('.', 1)[0]}.{layer.layer_number - 1}"
            names.update({f"{path}.{name}": f"{prefix}.{name}" for name, _ in layer.named_parameters()})
    return names
