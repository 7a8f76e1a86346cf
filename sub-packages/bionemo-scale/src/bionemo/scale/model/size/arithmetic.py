# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""How much arithmetic a training step takes, part by part, and how pipeline stages share it."""

from dataclasses import dataclass

from megatron.core.transformer.transformer_config import TransformerConfig

from bionemo.scale.model.config import ScaleModelConfig, encoder_config
from bionemo.scale.model.gene_encoder import GeneEncoder


ENDS = ("num_layers_in_first_pipeline_stage", "num_layers_in_last_pipeline_stage")
"""Megatron's fields for stages that have another number of blocks than those between."""


@dataclass(frozen=True, kw_only=True)
class StepArithmetic:
    """Multiply-adds of the forward pass for a control and a perturbed cell; the backward pass takes twice as many.

    Losses are left out, of which the maximum mean discrepancy is under 1 % at the large sizes.
    """

    before: int
    """What the first stage does beside its blocks: gene encoder, set fusion, input map."""
    block: int
    """One transport block."""
    after: int
    """What the last stage does beside its blocks: head and decoder."""
    num_blocks: int

    @property
    def total(self) -> int:
        """Of the whole network."""
        return self.before + self.num_blocks * self.block + self.after

    @property
    def shares(self) -> dict[str, float]:
        """Share of each part."""
        parts = {"encoder": self.before, "transport": self.num_blocks * self.block, "decoder": self.after}
        return {name: work / self.total for name, work in parts.items()}

    def speedup(self, blocks: tuple[int, ...]) -> float:
        """Return how much faster than one process the stages are at most: all the work over that of the busiest.

        Args:
            blocks: Transport blocks of each stage. Stages that wait at both ends of a step come on top.
        """
        work = [count * self.block for count in blocks]
        work[0] += self.before
        work[-1] += self.after
        return self.total / max(work)

    def best_blocks(self, stages: int) -> tuple[int, ...]:
        """Return the blocks of each stage that leave the busiest the least work.

        Megatron allows any number for the first stage and the last, at least 1, and spreads the rest evenly.

        Raises:
            ValueError: There are fewer blocks than stages.
        """
        if stages == 1:
            return (self.num_blocks,)
        possible = []
        for first in range(1, self.num_blocks):
            for last in range(1, self.num_blocks - first + 1):
                rest = self.num_blocks - first - last
                if (stages == 2 and rest == 0) or (stages > 2 and rest and rest % (stages - 2) == 0):
                    possible.append((first, *[rest // max(stages - 2, 1)] * (stages - 2), last))
        if not possible:
            raise ValueError(f"expected at least {stages} blocks for {stages} stages, found {self.num_blocks}")
        return max(possible, key=lambda blocks: (self.speedup(blocks), -max(blocks)))


def step_arithmetic(config: ScaleModelConfig) -> StepArithmetic:
    """Count the multiply-adds of a network from its widths; what is done once a set is left out.

    A matrix of m x n numbers takes m n for each row that it is applied to. Attention takes 2 S h more for each token,
    with S tokens and width h.
    """
    tokens, width, pooled = config.num_gene_tokens, config.encoder_hidden_size, GeneEncoder.output_size(config)
    hidden, decoder, summary = config.hidden_size, config.decoder_hidden_size, config.set_hidden_size
    encoder = encoder_config(config)
    projection = config.num_genes * tokens * width
    blocks = encoder.num_layers * tokens * _block(encoder, length=tokens)
    fusion = summary * (pooled + summary) + hidden * (pooled + summary + hidden)
    # Both populations are decoded, and of the predicted one the hidden features.
    decoded = 2 * decoder * (hidden + config.num_genes) + decoder * hidden
    return StepArithmetic(
        before=2 * (projection + blocks + fusion) + hidden**2,
        block=_block(config, length=config.set_size + 1),
        after=hidden**2 + decoded,
        num_blocks=config.num_layers,
    )


def stage_fields(config: ScaleModelConfig, stages: int) -> dict[str, int]:
    """Return the fields of Megatron that spread the blocks so that stages have like work; none for one stage.

    Args:
        config: Of the network on one stage.
        stages: At most as many as there are blocks.
    """
    if stages == 1:
        return {}
    blocks = step_arithmetic(config).best_blocks(stages)
    # Of two stages the second has what is left.
    return dict(zip(ENDS[: stages - 1], (blocks[0], blocks[-1]), strict=False))


def _block(config: TransformerConfig, *, length: int) -> int:
    """Return the multiply-adds of a block for one token among ``length``."""
    heads, width = config.num_attention_heads, config.kv_channels
    queries, keys = heads * width, (config.num_query_groups or heads) * width
    attention = config.hidden_size * (2 * queries + 2 * keys) + 2 * length * queries
    return attention + (3 if config.gated_linear_unit else 2) * config.hidden_size * config.ffn_hidden_size
