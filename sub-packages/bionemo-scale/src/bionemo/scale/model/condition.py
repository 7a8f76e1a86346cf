# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""From labels to one condition token (paper, section 3.4, equations 31 to 33 and 38)."""

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from bionemo.scale.model.config import ScaleModelConfig
from bionemo.scale.model.layers import Linear


class ConditionEncoder(nn.Module):
    """Embeds cell type, perturbation and batch, projects them to the latent width and pools them to one token.

    A label's embedding is the row that its one-hot vector selects. The last row of each table is the unknown label;
    perturbations have a row for control before it, which teaches the network what a cell type looks like when nothing
    is done to it, also where no perturbation of that cell type was ever seen.
    """

    def __init__(self, config: ScaleModelConfig):
        super().__init__()
        self.cell_type = nn.Embedding(config.num_cell_types + 1, config.condition_size)
        self.perturbation = nn.Embedding(config.num_perturbations + 2, config.condition_size)
        self.batch = nn.Embedding(config.num_batches + 1, config.condition_size)
        self.projection = Linear(config, config.condition_size, config.hidden_size)
        self.pool = POOLINGS[config.condition_pooling](config)

    def forward(
        self, cell_type: Int64[Tensor, " B"], perturbation: Int64[Tensor, " B"], batch: Int64[Tensor, " B"]
    ) -> Float[Tensor, "B D"]:
        """Return the condition token of each set."""
        tokens = torch.stack([self.cell_type(cell_type), self.perturbation(perturbation), self.batch(batch)], dim=1)
        return self.pool(self.projection(tokens))


class MeanPool(nn.Module):
    """Uniform weights."""

    def __init__(self, config: ScaleModelConfig):
        super().__init__()

    def forward(self, tokens: Float[Tensor, "B C D"]) -> Float[Tensor, "B D"]:
        """Pool the tokens of each set."""
        return tokens.mean(dim=1)


class TokenPool(nn.Module):
    """Weights from a learned score of each token by itself."""

    def __init__(self, config: ScaleModelConfig):
        super().__init__()
        self.score = Linear(config, config.hidden_size, config.hidden_size)
        self.query = nn.Parameter(torch.empty(config.hidden_size))

    def forward(self, tokens: Float[Tensor, "B C D"]) -> Float[Tensor, "B D"]:
        """Pool the tokens of each set."""
        weights = torch.softmax(torch.tanh(self.score(tokens)) @ self.query, dim=1)
        return torch.einsum("bc,bcd->bd", weights, tokens)


class AttentionPool(nn.Module):
    """Self-attention among the tokens, then their mean."""

    def __init__(self, config: ScaleModelConfig):
        super().__init__()
        self.query, self.key, self.value = (Linear(config, config.hidden_size, config.hidden_size) for _ in range(3))

    def forward(self, tokens: Float[Tensor, "B C D"]) -> Float[Tensor, "B D"]:
        """Pool the tokens of each set."""
        scores = torch.bmm(self.query(tokens), self.key(tokens).transpose(1, 2)) / math.sqrt(tokens.shape[-1])
        return torch.bmm(torch.softmax(scores, dim=-1), self.value(tokens)).mean(dim=1)


class SeedPool(nn.Module):
    """A learned seed asks the tokens (equations 32 and 33)."""

    def __init__(self, config: ScaleModelConfig):
        super().__init__()
        self.seed = nn.Parameter(torch.empty(1, config.hidden_size))
        self.query, self.key, self.value = (Linear(config, config.hidden_size, config.hidden_size) for _ in range(3))

    def forward(self, tokens: Float[Tensor, "B C D"]) -> Float[Tensor, "B D"]:
        """Pool the tokens of each set."""
        scores = torch.einsum("bcd,qd->bqc", self.key(tokens), self.query(self.seed)) / math.sqrt(tokens.shape[-1])
        return torch.bmm(torch.softmax(scores, dim=-1), self.value(tokens)).squeeze(1)


POOLINGS = {"mean": MeanPool, "token": TokenPool, "attention": AttentionPool, "seed": SeedPool}
