# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Low-rank adapters on the blocks of a network that is fine-tuned, made by NeMo and merged by the running average.

A linear map W of a block becomes W + B A with W frozen and A, B of a small rank (Hu et al. 2021, arXiv:2106.09685).
The average of the weights, which is what predicts, follows W + B A: a checkpoint needs no adapters to predict, nor to
be fine-tuned again. The adapters and W stand beside it, for the run to go on.
"""

import math
import zlib
from functools import partial
from typing import Any

import torch
from megatron.core import parallel_state
from megatron.core.tensor_parallel import (
    ColumnParallelLinear,
    RowParallelLinear,
    gather_from_sequence_parallel_region,
)
from megatron.core.transformer.transformer_block import TransformerBlock
from torch import Tensor, nn

from bionemo.scale.train.averaged import AveragedModel


_LINEARS = ("linear_qkv", "linear_proj", "linear_fc1", "linear_fc2")


def add_adapters(model: AveragedModel, *, rank: int, seed: int) -> None:
    """Freeze the linear maps of all blocks and set an adapter beside each; the network computes what it did before.

    Args:
        model: This rank's pipeline stage; it must keep a running average.
        rank: Rank of the adapters.
        seed: Seed of their initial weights.
    """
    for part in ("gene_encoder", "transport_blocks"):
        for name, block in (getattr(model, part) or nn.Module()).named_modules():
            if isinstance(block, TransformerBlock):
                _adapt_block(model, block, f"{part}.{name}", rank=rank, seed=seed)


def _adapt_block(model: AveragedModel, block: TransformerBlock, path: str, *, rank: int, seed: int) -> None:
    linears = [(name, module) for name, module in block.named_modules() if name.rpartition(".")[2] in _LINEARS]
    for name, linear in linears:
        owner, _, attribute = name.rpartition(".")
        wrapped = _wrap(linear, attribute, gated=block.config.gated_linear_unit, rank=rank)
        setattr(block.get_submodule(owner), attribute, wrapped)
        # Counted over all stages, as in init_weights, so that every layout begins with the same adapters.
        layer = block.layers[int(name.split(".")[1])].layer_number
        _init(wrapped.adapter, f"{seed}:{path}:{layer}:{attribute}")
        for tensor in (tensor for tensor, _ in linear.named_parameters()):
            model.merged[f"{path}.{name}.{tensor}"] = partial(_merged, wrapped, tensor)


def _merged(wrapped: nn.Module, name: str) -> Tensor:
    """Return a tensor of a map as it is without an adapter beside it."""
    tensor = wrapped.to_wrap.get_parameter(name)
    return tensor.float() + merged_change(wrapped.adapter) if name == "weight" else tensor


def _wrap(linear: nn.Module, attribute: str, *, gated: bool, rank: int) -> nn.Module:
    # NeMo takes seconds to import, and only fine-tuning needs it here.
    from nemo.collections.llm.peft.lora import LoRALinear
    from nemo.collections.llm.peft.utils import ParallelLinearAdapter

    input_is_parallel, inputs, outputs = _shape(linear)
    adapter = ParallelLinearAdapter(
        inputs,
        outputs,
        rank,
        # NeMo saves the adapter of whatever is called linear_fc1 as that of a gated MLP.
        base_linear_name=attribute if gated or attribute != "linear_fc1" else "linear",
        activation="identity",
        input_is_parallel=input_is_parallel,
        model_parallel_config=linear.config,
        alpha=rank,
    )
    for name, parameter in linear.named_parameters():
        # Transformer Engine's map holds the norm before it, which is trained as torch's is.
        parameter.requires_grad_(name.startswith("layer_norm_"))
    wrapped = LoRALinear(linear, adapter)
    wrapped.register_load_state_dict_pre_hook(_below_the_wrapper)
    return wrapped


def _below_the_wrapper(module: nn.Module, tensors: dict[str, Any], prefix: str, *_: Any) -> None:
    """Find the tensors of a wrapped map where NeMo's wrapper saves them: under the name of the map."""
    kept = (f"{prefix}adapter.", f"{prefix}to_wrap.")
    for name in [name for name in tensors if name.startswith(prefix) and not name.startswith(kept)]:
        tensors[f"{prefix}to_wrap.{name.removeprefix(prefix)}"] = tensors.pop(name)


def _shape(linear: nn.Module) -> tuple[bool, int, int]:
    """Return whether the inputs are split over ranks, and the number of all inputs and outputs."""
    if isinstance(linear, ColumnParallelLinear | RowParallelLinear):
        # NeMo's own look at a layer, and its LoRA.transform, need Transformer Engine whatever the layer is.
        return isinstance(linear, RowParallelLinear), linear.input_size, linear.output_size
    from nemo.collections.llm.peft.utils import get_adapter_attributes_from_linear

    return get_adapter_attributes_from_linear(linear)[:3]


@torch.no_grad()
def _init(adapter: nn.Module, name: str) -> None:
    """Draw A, normal with variance 1 / inputs, and let B be zero."""
    into, out = adapter.linear_in.weight, adapter.linear_out.weight
    size, rank = parallel_state.get_tensor_model_parallel_world_size(), parallel_state.get_tensor_model_parallel_rank()
    shape = list(into.shape)
    shape[into.partition_dim] *= size
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    full = torch.randn(shape, generator=generator, device="cpu") / math.sqrt(shape[1])
    into.copy_(full.chunk(size, dim=into.partition_dim)[rank])
    out.zero_()


def merged_change(adapter: nn.Module) -> Tensor:
    """Return this rank's part of B A, float32; all tensor parallel ranks must ask."""
    into, out = adapter.linear_in.weight.detach().float(), adapter.linear_out.weight.detach().float()
    # Beside a map that is split by its outputs B is split likewise, and A by its rank; beside one that is split by its
    # inputs A is, and B by the outputs.
    if adapter.input_is_parallel:
        out = gather_from_sequence_parallel_region(out, tensor_parallel_output_grad=False)
    else:
        into = gather_from_sequence_parallel_region(into, tensor_parallel_output_grad=False)
    return (adapter.alpha / adapter.dim) * (out @ into)
