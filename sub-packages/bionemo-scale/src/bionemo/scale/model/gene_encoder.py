# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""From a cell's expression to its embedding, each cell on its own (paper, equations 3 to 6)."""

from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float, Int32
from megatron.core.models.common.embeddings.rotary_pos_embedding import RotaryEmbedding
from megatron.core.transformer.transformer_block import TransformerBlock
from torch import Tensor, nn

from bionemo.scale.megatron import cpu
from bionemo.scale.model.config import ScaleModelConfig, encoder_config
from bionemo.scale.model.layer_specs import EncoderLayer, block_submodules
from bionemo.scale.model.layers import Linear, is_whole, run_blocks


SPARSE = 0.3
"""Up to which share of values that are not zero the first product is taken of these values alone. Measured on one
thread, 2,000 genes to 512 features: a share of 0.05 takes a seventh of the time of all values, 0.1 a quarter."""


class SparseCells(NamedTuple):
    """Expression of cells without its zeros."""

    gene: Int32[Tensor, " V"]
    """Column of each value."""
    value: Float[Tensor, " V"]
    first: Int32[Tensor, " C"]
    """Where the values of each cell begin."""


class GeneEncoder(nn.Module):
    """f_gene: genes to T tokens, blocks over the tokens of one cell, pooled to h_i."""

    def __init__(self, config: ScaleModelConfig):
        super().__init__()
        block_config = encoder_config(config)
        self.num_tokens = config.num_gene_tokens
        self.pooling = config.gene_pooling
        width = config.encoder_hidden_size
        self.projection = Linear(config, config.num_genes, self.num_tokens * width)
        self.token_embedding = nn.Embedding(self.num_tokens, width)
        self.blocks = TransformerBlock(
            block_config, block_submodules(block_config, EncoderLayer, layer_spec=config.layer_spec)
        )
        # "attention" knows its tokens by their learned embedding alone; "llama" also by rotary position.
        self.rotary = (
            RotaryEmbedding(block_config.kv_channels, rotary_percent=1.0, use_cpu_initialization=True)
            if config.gene_encoder == "llama"
            else None
        )

    @staticmethod
    def output_size(config: ScaleModelConfig) -> int:
        """Width of h_i, d_h."""
        tokens = config.num_gene_tokens if config.gene_pooling == "concat" else 1
        return tokens * config.encoder_hidden_size

    def forward(self, x: Float[Tensor, "B N G"]) -> Float[Tensor, "B N H"]:
        """Embed every cell.

        Args:
            x: Expression on the model's scale.
        """
        return self._embed(rearrange(self.projection(x), "b n (t h) -> t (b n) h", t=self.num_tokens), len(x))

    def takes_sparse(self) -> bool:
        """Return whether :meth:`of_sparse` can be called: in a prediction in float32 on one CPU rank."""
        linear = self.projection.linear
        is_plain = not (torch.is_grad_enabled() or linear.weight.is_cuda) and linear.weight.dtype == torch.float32
        return is_plain and is_whole(linear)

    def of_sparse(self, x: SparseCells, num_sets: int) -> Float[Tensor, "B N H"]:
        """Embed cells of sets of one size, at the cost of the genes that they express."""
        linear = self.projection.linear
        maps = rearrange(linear.weight, "(t h) g -> t g h", t=self.num_tokens).contiguous()
        # A token at a time: its map stays in the processor's cache.
        bags = [
            torch.nn.functional.embedding_bag(x.gene, each, x.first, mode="sum", per_sample_weights=x.value)
            for each in maps
        ]
        return self._embed(torch.stack(bags) + linear.bias.view(self.num_tokens, 1, -1), num_sets)

    def _embed(self, tokens: Float[Tensor, "T C E"], num_sets: int) -> Float[Tensor, "B N H"]:
        tokens = tokens + self.token_embedding.weight[:, None, :]
        # Megatron's first call names a CUDA device.
        with cpu.asked_again():
            rotary = self.rotary(self.num_tokens) if self.rotary is not None else None
        tokens = run_blocks(self.blocks, tokens.contiguous(), rotary_pos_emb=rotary)
        if self.pooling == "mean":
            return rearrange(tokens.mean(0), "(b n) h -> b n h", b=num_sets)
        return rearrange(tokens, "t (b n) h -> b n (t h)", b=num_sets)
