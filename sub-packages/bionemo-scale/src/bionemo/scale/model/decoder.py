# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""From latent cells back to expression, each cell on its own (paper, equations 10 to 12)."""

from jaxtyping import Float
from torch import Tensor, nn

from bionemo.scale.model.config import ScaleModelConfig
from bionemo.scale.model.layers import Mlp


class Decoder(nn.Module):
    """Dec_psi: latent width to genes, on the model's expression scale."""

    def __init__(self, config: ScaleModelConfig):
        super().__init__()
        self.mlp = Mlp(config, config.hidden_size, config.decoder_hidden_size, config.num_genes)

    def forward(self, z: Float[Tensor, "B N D"]) -> Float[Tensor, "B N G"]:
        """Decode every cell."""
        return self.mlp(z)
