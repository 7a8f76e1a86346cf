# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Matrix products as they are, or with both factors rounded to bfloat16, for processors that multiply it natively.

Everything between two products stays float32, and so do the weights and their gradients. A product of rounded factors
is summed in float32 and handed on as bfloat16, which the sum that follows it widens again.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class _Rounded(torch.autograd.Function):
    """``a @ b`` of factors in bfloat16, and so the two products of its gradient."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        a, b = a.bfloat16(), b.bfloat16()
        ctx.save_for_backward(a, b)
        return a @ b

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        a, b = ctx.saved_tensors
        # Data have no gradient, and the first product of an encoder reads data.
        of_a = (gradient @ b.mT).float() if ctx.needs_input_grad[0] else None
        of_b = (a.mT @ gradient).float() if ctx.needs_input_grad[1] else None
        return of_a, of_b


def product(a: Float[Tensor, "*axes N I"], b: Float[Tensor, "*axes I O"], *, rounded: bool) -> Tensor:
    """Return ``a @ b``, float32 of float32 factors.

    Args:
        a: Rows.
        b: What they are multiplied by.
        rounded: Whether both are rounded to bfloat16.
    """
    return _Rounded.apply(a, b).float() if rounded else a @ b


def add_product(
    x: Float[Tensor, "N O"], a: Float[Tensor, "N I"], b: Float[Tensor, "I O"], *, rounded: bool
) -> Float[Tensor, "N O"]:
    """Return ``x + a @ b``; arguments are those of :func:`product`."""
    return x + _Rounded.apply(a, b) if rounded else torch.addmm(x, a, b)


def linear(
    x: Float[Tensor, "*axes I"], weight: Float[Tensor, "O I"], bias: Float[Tensor, " O"] | None, *, rounded: bool
) -> Float[Tensor, "*axes O"]:
    """Map the last axis; arguments are those of :func:`product`."""
    if not rounded:
        return nn.functional.linear(x, weight, bias)
    result = _Rounded.apply(x.reshape(-1, x.shape[-1]), weight.T)
    return (result.float() if bias is None else result + bias).view(*x.shape[:-1], -1)
