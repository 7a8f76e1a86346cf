# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from bionemo.scale.model.size.arithmetic import StepArithmetic, stage_fields, step_arithmetic
from bionemo.scale.model.size.sizes import REFERENCE_DATA, SIZES


def numbers_of_matrices(part):
    return sum(parameter.numel() for parameter in part.parameters() if parameter.dim() == 2)


@pytest.mark.parametrize("fields", [{}, {"gene_encoder": "attention", "gene_pooling": "concat", "num_layers": 3}])
def test_multiply_adds_follow_from_the_shapes_of_the_matrices(fields, make_model):
    model = make_model(**fields)
    config = model.config
    counted = step_arithmetic(config)
    tokens, encoder = config.num_gene_tokens, model.gene_encoder
    in_attention = 2 * tokens * tokens * config.encoder_hidden_size * config.encoder_num_layers
    of_a_cell = numbers_of_matrices(encoder.projection) + tokens * numbers_of_matrices(encoder.blocks) + in_attention
    # The third part of the set fusion, rho, maps one mean a set.
    of_a_cell += numbers_of_matrices(model.set_fusion.phi) + numbers_of_matrices(model.set_fusion.psi)
    assert counted.before == 2 * of_a_cell + numbers_of_matrices(model.transport_input.cells)
    in_attention = 2 * (config.set_size + 1) * config.hidden_size * config.num_layers
    assert counted.num_blocks * counted.block == numbers_of_matrices(model.transport_blocks) + in_attention
    mlp = model.expression_decoder.mlp
    decoded = 3 * numbers_of_matrices(mlp.linear_fc1) + 2 * numbers_of_matrices(mlp.linear_fc2)
    assert counted.after == numbers_of_matrices(model.head) + decoded
    assert sum(counted.shares.values()) == pytest.approx(1)


def test_the_busiest_stage_decides_and_has_as_little_as_possible():
    work = StepArithmetic(before=40, block=10, after=5, num_blocks=8)
    assert work.speedup((4, 4)) == 125 / 80 and work.speedup((8,)) == 1
    assert work.best_blocks(1) == (8,)
    assert work.best_blocks(2) == (2, 6) and work.speedup((2, 6)) == 125 / 65
    assert work.best_blocks(4) == (1, 3, 3, 1)
    with pytest.raises(ValueError, match="expected at least 9 blocks for 9 stages, found 8"):
        work.best_blocks(9)


@pytest.mark.parametrize("stages", [1, 2, 3, 4])
def test_megatron_accepts_the_spread(stages, make_config):
    config = make_config(num_layers=6)
    fields = stage_fields(config, stages)
    assert len(fields) == min(stages - 1, 2)
    make_config(num_layers=6, pipeline_model_parallel_size=stages, pipeline_dtype=torch.float32, **fields)


@pytest.mark.parametrize("name", ["184m", "280m"])
def test_a_second_pipeline_stage_pays_at_the_large_sizes(name, make_config):
    work = step_arithmetic(make_config(**SIZES[name], **REFERENCE_DATA, set_size=128))
    assert work.speedup(work.best_blocks(2)) >= 1.6
    assert 0.4 < work.shares["encoder"] < 0.6
