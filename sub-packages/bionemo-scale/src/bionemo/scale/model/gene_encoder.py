# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""From a cell's expression to its embedding, each cell on its own (paper, equations 3 to 6)."""

from einops import rearrange
from jaxtyping import Float
from megatron.core.models.common.embeddings.rotary_pos_embedding import RotaryEmbedding
from megatron.core.transformer.transformer_block import TransformerBlock
from torch import Tensor, nn

from bionemo.scale.model.config import ScaleModelConfig, encoder_config
from bionemo.scale.model.layer_specs import EncoderLayer, block_submodules
from bionemo.scale.model.layers import Linear, run_blocks


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
        num_sets = x.shape[0]
        tokens = rearrange(self.projection(x), "b n (t h) -> t (b n) h", t=self.num_tokens)
        tokens = tokens + self.token_embedding.weight[:, None, :]
        rotary = self.rotary(self.num_tokens) if self.rotary is not None else None
        tokens = run_blocks(self.blocks, tokens.contiguous(), rotary_pos_emb=rotary)
        if self.pooling == "mean":
            return rearrange(tokens.mean(0), "(b n) h -> b n h", b=num_sets)
        return rearrange(tokens, "t (b n) h -> b n (t h)", b=num_sets)
