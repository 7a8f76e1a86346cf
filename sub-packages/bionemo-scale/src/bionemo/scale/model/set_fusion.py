# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a cell learns of its population: the DeepSets layer (paper, equations 7 to 9)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bionemo.scale.model.config import ScaleModelConfig
from bionemo.scale.model.layers import Mlp


class SetFusion(nn.Module):
    """s = rho(mean phi(h_i)) and z_i = psi(h_i, s).

    With ``latent_norm`` the latent is normalised to zero mean and unit variance over its coordinates (no learned
    scale), so that the flow loss cannot be lowered by shrinking the latent space.
    """

    def __init__(self, config: ScaleModelConfig, input_size: int):
        super().__init__()
        width = config.set_hidden_size
        self.phi = Mlp(config, input_size, width, output_size=width)
        self.rho = Mlp(config, width, width, output_size=width)
        self.psi = Mlp(config, input_size + width, config.hidden_size, output_size=config.hidden_size)
        normed = config.latent_norm
        self.norm = nn.LayerNorm(config.hidden_size, elementwise_affine=False) if normed else nn.Identity()

    def summarize(self, h: Float[Tensor, "B N H"]) -> Float[Tensor, "B S"]:
        """Return the population summary s, the same for any order of the cells (equation 7)."""
        return self.rho(self.phi(h).mean(dim=1))

    def forward(self, h: Float[Tensor, "B N H"]) -> Float[Tensor, "B N D"]:
        """Refine each cell's embedding by its population's summary (equation 8)."""
        summary = self.summarize(h)[:, None, :].expand(-1, h.shape[1], -1)
        return self.norm(self.psi(torch.cat([h, summary], dim=-1)))
