# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Linear maps and MLPs that Megatron splits over the tensor parallel ranks, and stacks of blocks at FP8's shapes.

Megatron's parallel linears return (output, bias); these return the output. They compute in the precision of their
weights, whatever their input's.
"""

import copy
import math
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from megatron.core.parallel_state import get_tensor_model_parallel_group
from megatron.core.tensor_parallel import ColumnParallelLinear, RowParallelLinear
from megatron.core.transformer.transformer_block import TransformerBlock
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from bionemo.scale.megatron.kernels import fp8_multiple


class Linear(nn.Module):
    """A linear map with its output features split over ranks and gathered again."""

    def __init__(self, config: TransformerConfig, input_size: int, output_size: int, *, bias: bool = True):
        super().__init__()
        self.linear = ColumnParallelLinear(
            input_size,
            output_size,
            config=config,
            init_method=config.init_method,
            bias=bias,
            gather_output=True,
            tp_group=get_tensor_model_parallel_group(),
        )

    def forward(self, x: Float[Tensor, "*axes I"]) -> Float[Tensor, "*axes O"]:
        """Map the last axis."""
        return _apply(self.linear, x.to(self.linear.weight.dtype))


class Mlp(nn.Module):
    """Linear, GELU, linear; the hidden features are split over ranks."""

    def __init__(self, config: TransformerConfig, input_size: int, hidden_size: int, *, output_size: int):
        super().__init__()
        self.linear_fc1 = ColumnParallelLinear(
            input_size,
            hidden_size,
            config=config,
            init_method=config.init_method,
            bias=True,
            gather_output=False,
            tp_group=get_tensor_model_parallel_group(),
        )
        self.linear_fc2 = RowParallelLinear(
            hidden_size,
            output_size,
            config=config,
            init_method=config.init_method,
            bias=True,
            input_is_parallel=True,
            skip_bias_add=False,
            tp_group=get_tensor_model_parallel_group(),
        )

    def forward(self, x: Float[Tensor, "*axes I"]) -> Float[Tensor, "*axes O"]:
        """Map the last axis."""
        return self.read_out(self.hidden(x))

    def hidden(self, x: Float[Tensor, "*axes I"]) -> Float[Tensor, "*axes H"]:
        """Return this rank's hidden features."""
        return nn.functional.gelu(_apply(self.linear_fc1, x.to(self.linear_fc1.weight.dtype)))

    def read_out(self, hidden: Float[Tensor, "*axes H"], scale: float = 1.0) -> Float[Tensor, "*axes O"]:
        """Map hidden features, linearly, and multiply by a number."""
        linear = self.linear_fc2
        if scale == 1.0:
            return _apply(linear, hidden)
        if is_whole(linear):
            # There are fewer hidden features than outputs.
            return nn.functional.linear(hidden * scale, linear.weight, linear.bias * scale)
        return linear(hidden)[0] * scale

    def read_out_difference(self, hidden: Float[Tensor, "*axes H"]) -> Float[Tensor, "*axes O"]:
        """Map a difference of hidden features, in which the bias cancels; rounded in bfloat16 it would not."""
        linear = self.linear_fc2
        return nn.functional.linear(hidden, linear.weight) if is_whole(linear) else linear(hidden)[0] - linear.bias

    def add_read_out_difference(
        self, base: Float[Tensor, "*axes O"], hidden: Float[Tensor, "*axes H"], scale: float
    ) -> Float[Tensor, "*axes O"]:
        """Add a number times :meth:`read_out_difference` to something, as it is multiplied where that is possible."""
        weight = self.linear_fc2.weight
        if not (is_whole(self.linear_fc2) and weight.dtype == base.dtype):
            return base + self.read_out_difference(hidden).float() * scale
        rows = (hidden * scale).flatten(0, -2)
        return torch.addmm(base.flatten(0, -2), rows, weight.T).view_as(base)


def _apply(linear: ColumnParallelLinear | RowParallelLinear, x: Float[Tensor, "*axes I"]) -> Float[Tensor, "*axes O"]:
    """Map the last axis; a whole map by torch's kernel, which adds the bias as it multiplies."""
    return nn.functional.linear(x, linear.weight, linear.bias) if is_whole(linear) else linear(x)[0]


def is_whole(linear: ColumnParallelLinear | RowParallelLinear) -> bool:
    """Return whether a map is one product of this rank, and may be done by torch's own operations."""
    config = linear.config
    # With autocast torch would add the bias in bfloat16; Megatron adds it in float32.
    if autocasts(linear.weight):
        return False
    return bool(config.tensor_model_parallel_size == 1 and not config.gradient_accumulation_fusion)


def autocasts(x: Tensor) -> bool:
    """Return whether products with a tensor are rounded to less than its precision."""
    kind = x.device.type
    # Some kinds of device, such as "meta", know no autocast, and torch refuses the question.
    return torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)


class _RootMeanSquare(torch.autograd.Function):
    """``x / sqrt(mean(x^2) + eps)`` over the last axis; torch's own takes a dozen operations on the CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
        scale = norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_().to(x.dtype)
        ctx.save_for_backward(scaled := x * scale, scale)
        return scaled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        scaled, scale = ctx.saved_tensors
        along = (gradient * scaled).mean(dim=-1, keepdim=True)
        return torch.addcmul(gradient, scaled, along, value=-1).mul_(scale), None


class _SwiGlu(torch.autograd.Function):
    """``silu(first half) * second half`` of the last axis, without copies of the halves."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        gate, value = x.chunk(2, dim=-1)
        return nn.functional.silu(gate).mul_(value)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        result = torch.empty_like(x)
        (gate, value), (of_gate, of_value) = x.chunk(2, dim=-1), result.chunk(2, dim=-1)
        torch.mul(gradient, nn.functional.silu(gate), out=of_value)
        torch.ops.aten.silu_backward.grad_input(gradient * value, gate, grad_input=of_gate)
        return result


def root_mean_square(x: Float[Tensor, "*axes D"], eps: float) -> Float[Tensor, "*axes D"]:
    """Divide by the root of the mean square of the last axis."""
    return _RootMeanSquare.apply(x, eps)


def swiglu(x: Float[Tensor, "*axes D"]) -> Float[Tensor, "*axes E"]:
    """Multiply the second half of the last axis by the SiLU of the first."""
    return _SwiGlu.apply(x)


_Module = TypeVar("_Module", bound=nn.Module)


def mean_of_cells(cells: Float[Tensor, "B N F"], share: Float[Tensor, "B N"] | None = None) -> Float[Tensor, "B F"]:
    """Return the mean over the cells of each set, by their shares where they have any."""
    return cells.mean(dim=1) if share is None else torch.bmm(share[:, None].to(cells.dtype), cells)[:, 0]


def shallow_copy(module: _Module) -> _Module:
    """Return a module with the same parts and tensors, which can be replaced without changing the original."""
    copied = copy.copy(module)
    for name in ("_parameters", "_buffers", "_modules"):
        # torch keeps them in dictionaries, which copy.copy shares.
        copied.__dict__[name] = dict(module.__dict__[name])
    return copied


def run_blocks(blocks: TransformerBlock, x: Float[Tensor, "S B D"], **inputs: Any) -> Float[Tensor, "S B D"]:
    """Run a stack of blocks, with as many sequences of zeros beside the others as FP8 needs.

    FP8 matrix products take tokens, S * B of them, by the 16 or 32. Whole sequences are added rather than tokens: no
    sequence attends to another, so what is added needs no mask, changes no other output and gets no gradient.
    """
    config = blocks.config
    added = _missing_sequences(x.shape[0], x.shape[1], fp8_multiple(config.fp8_recipe)) if config.fp8 else 0
    if not added:
        return blocks(x, attention_mask=None, **inputs)
    padded = torch.nn.functional.pad(x, (0, 0, 0, added))
    return blocks(padded, attention_mask=None, **inputs)[:, :-added]


def _missing_sequences(length: int, count: int, multiple: int) -> int:
    """Return how many sequences to add until all their tokens are a multiple."""
    return -count % (multiple // math.gcd(length, multiple))
