# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Named sizes of the network."""

SIZES: dict[str, dict[str, int]] = {
    # For tests: seconds on a laptop.
    "tiny": dict(
        hidden_size=32,
        num_layers=2,
        num_attention_heads=4,
        ffn_hidden_size=64,
        num_gene_tokens=4,
        encoder_hidden_size=32,
        encoder_ffn_hidden_size=64,
        encoder_num_layers=1,
        encoder_num_attention_heads=4,
        set_hidden_size=32,
        decoder_hidden_size=64,
        condition_size=16,
    ),
    # For small screens on a CPU: minutes.
    "small": dict(
        hidden_size=128,
        num_layers=3,
        num_attention_heads=4,
        ffn_hidden_size=512,
        num_gene_tokens=8,
        encoder_hidden_size=64,
        encoder_ffn_hidden_size=192,
        encoder_num_layers=2,
        encoder_num_attention_heads=4,
        set_hidden_size=128,
        decoder_hidden_size=512,
        condition_size=64,
    ),
    # For one GPU.
    "base": dict(
        hidden_size=512,
        num_layers=6,
        num_attention_heads=8,
        ffn_hidden_size=3072,
        num_gene_tokens=8,
        encoder_hidden_size=256,
        encoder_ffn_hidden_size=768,
        encoder_num_layers=3,
        encoder_num_attention_heads=8,
        set_hidden_size=512,
        decoder_hidden_size=1024,
        condition_size=256,
    ),
    # The paper names two sizes and not what they are made of. These have widths that FP8 matrices can have, and an
    # encoder that leaves a second pipeline stage enough to do.
    "184m": dict(
        hidden_size=1024,
        num_layers=12,
        num_attention_heads=16,
        ffn_hidden_size=3648,
        num_gene_tokens=8,
        encoder_hidden_size=512,
        encoder_ffn_hidden_size=1536,
        encoder_num_layers=3,
        encoder_num_attention_heads=8,
        set_hidden_size=1024,
        decoder_hidden_size=1536,
        condition_size=256,
    ),
    "280m": dict(
        hidden_size=1280,
        num_layers=12,
        num_attention_heads=20,
        ffn_hidden_size=4608,
        num_gene_tokens=8,
        encoder_hidden_size=512,
        encoder_ffn_hidden_size=1536,
        encoder_num_layers=4,
        encoder_num_attention_heads=8,
        set_hidden_size=1280,
        decoder_hidden_size=2560,
        condition_size=256,
    ),
}

REFERENCE_DATA: dict[str, int] = dict(num_genes=2000, num_cell_types=50, num_perturbations=1137, num_batches=14)
"""Dimensions of Tahoe-100M, for which the names of the sizes give the number of parameters."""
