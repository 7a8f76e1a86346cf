# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Linear maps and MLPs that Megatron splits over the tensor parallel ranks.

Megatron's parallel linears return (output, bias); these return the output.
"""

import torch
from jaxtyping import Float
from megatron.core.parallel_state import get_tensor_model_parallel_group
from megatron.core.tensor_parallel import ColumnParallelLinear, RowParallelLinear
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor, nn


class Linear(nn.Module):
    """A linear map with its output features split over ranks and gathered again."""

    def __init__(self, config: TransformerConfig, input_size: int, output_size: int):
        super().__init__()
        self.linear = ColumnParallelLinear(
            input_size,
            output_size,
            config=config,
            init_method=config.init_method,
            bias=True,
            gather_output=True,
            tp_group=get_tensor_model_parallel_group(),
        )

    def forward(self, x: Float[Tensor, "*axes I"]) -> Float[Tensor, "*axes O"]:
        """Map the last axis."""
        return self.linear(x)[0]


class Mlp(nn.Module):
    """Linear, GELU, linear; the hidden features are split over ranks."""

    def __init__(self, config: TransformerConfig, input_size: int, hidden_size: int, output_size: int):
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
        hidden = torch.nn.functional.gelu(self.linear_fc1(x)[0])
        return self.linear_fc2(hidden)[0]
