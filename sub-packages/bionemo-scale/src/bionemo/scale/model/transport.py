# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The conditional transport backbone g_theta: blocks over the cells of a set (paper, equations 19, 34-36)."""

import math

import torch
from jaxtyping import Float
from megatron.core.transformer.transformer_block import TransformerBlock
from torch import Tensor, nn

from bionemo.scale.model.config import ScaleModelConfig
from bionemo.scale.model.layer_specs import TransportLayer, block_submodules
from bionemo.scale.model.layers import Linear, Mlp, run_blocks


TIME_FREQUENCIES = 64
"""Sine and cosine pairs that describe a time."""


class TransportInput(nn.Module):
    """What enters the first block: the cells on the path, told the time."""

    def __init__(self, config: ScaleModelConfig):
        super().__init__()
        self.cells = Linear(config, config.hidden_size, config.hidden_size)
        self.time = Mlp(config, 2 * TIME_FREQUENCIES, config.hidden_size, output_size=config.hidden_size)

    def forward(self, z_t: Float[Tensor, "B N D"], t: Float[Tensor, " B"]) -> Float[Tensor, "B N D"]:
        """Project the cells and add the embedding of their set's time."""
        return self.cells(z_t) + self.time(time_features(t))[:, None, :]


class TransportBlocks(nn.Module):
    """The blocks of this pipeline stage. No positions and no mask: cells are a set."""

    def __init__(self, config: ScaleModelConfig, *, is_last_stage: bool):
        super().__init__()
        self.blocks = TransformerBlock(
            config,
            block_submodules(config, TransportLayer, layer_spec=config.layer_spec),
            post_layer_norm=config.transport_norm,
            post_process=is_last_stage,
        )

    def forward(self, joint: Float[Tensor, "S B D"]) -> Float[Tensor, "S B D"]:
        """Update the cells of each set; the last row is the condition token."""
        return run_blocks(self.blocks, joint)


def time_features(t: Float[Tensor, " B"]) -> Float[Tensor, "B F"]:
    """Describe times in [0, 1] by sines and cosines of 1 to 1000 half turns."""
    exponents = torch.arange(TIME_FREQUENCIES, dtype=torch.float32, device=t.device) / (TIME_FREQUENCIES - 1)
    angles = t.float()[:, None] * (math.pi * 1000.0**exponents)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
