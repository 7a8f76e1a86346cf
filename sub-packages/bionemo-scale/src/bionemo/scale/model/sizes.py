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
}
