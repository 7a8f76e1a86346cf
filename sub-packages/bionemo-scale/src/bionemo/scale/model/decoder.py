# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""From latent cells back to expression, each cell on its own (paper, equations 10 to 12)."""

from jaxtyping import Float
from torch import Tensor, nn

from bionemo.scale.model.config import ScaleModelConfig
from bionemo.scale.model.layers import Mlp, mean_of_cells


class Decoder(nn.Module):
    """Dec_psi: latent width to genes, on the model's expression scale."""

    def __init__(self, config: ScaleModelConfig):
        super().__init__()
        self.mlp = Mlp(config, config.hidden_size, config.decoder_hidden_size, output_size=config.num_genes)

    def forward(self, z: Float[Tensor, "B N D"], scale: float = 1.0) -> Float[Tensor, "B N G"]:
        """Decode every cell, times a number."""
        return self.mlp.read_out(self.mlp.hidden(z), scale)

    def mean(self, z: Float[Tensor, "B N D"], share: Float[Tensor, "B N"] | None = None) -> Float[Tensor, "B G"]:
        """Decode every cell and return their mean; the last map, by far the widest, is linear and reads one mean.

        Args:
            z: Latent cells.
            share: Of each cell in the mean of its set, in place of equal ones.
        """
        return self.mlp.read_out(mean_of_cells(self.mlp.hidden(z), share)[:, None])[:, 0]

    def features(self, z: Float[Tensor, "B N D"]) -> Float[Tensor, "B N H"]:
        """Return what the last map reads, float32; linear combinations of it decode to those of expression."""
        return self.mlp.hidden(z).float()

    def read_out(self, features: Float[Tensor, "B N H"]) -> Float[Tensor, "B N G"]:
        """Map the features of cells to expression."""
        return self.mlp.read_out(features)

    def change(self, features: Float[Tensor, "B N H"]) -> Float[Tensor, "B N G"]:
        """Map a difference of features to the difference of expression, by one wide map instead of two."""
        return self.mlp.read_out_difference(features)

    def add_change(
        self, start: Float[Tensor, "B N G"], features: Float[Tensor, "B N H"], scale: float
    ) -> Float[Tensor, "B N G"]:
        """Add :meth:`change`, times a number, to where cells start."""
        return self.mlp.add_read_out_difference(start, features, scale)
