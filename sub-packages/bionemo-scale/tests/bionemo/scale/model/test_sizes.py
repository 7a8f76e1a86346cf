# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import pytest

from bionemo.scale.model.sizes import SIZES


LIMITS = {"tiny": 100_000, "small": 3_000_000}


@pytest.mark.parametrize("name", sorted(SIZES))
def test_a_size_is_a_valid_configuration(name, make_config):
    config = make_config(**SIZES[name])
    assert {field: getattr(config, field) for field in SIZES[name]} == SIZES[name]


@pytest.mark.parametrize("name", sorted(SIZES))
def test_widths_are_multiples_of_16_as_fp8_needs(name):
    widths = {field: value for field, value in SIZES[name].items() if field.endswith("_size")}
    assert len(widths) >= 6
    assert {field: value % 16 for field, value in widths.items()} == dict.fromkeys(widths, 0)


@pytest.mark.parametrize("name", sorted(LIMITS))
def test_cpu_sizes_are_small_at_2000_genes(name, make_model):
    model = make_model(**SIZES[name], num_genes=2000)
    of_genes = sum(p.numel() for p in [*model.gene_encoder.projection.parameters()])
    of_genes += sum(p.numel() for p in model.expression_decoder.mlp.linear_fc2.parameters())
    assert sum(p.numel() for p in model.parameters()) - of_genes < LIMITS[name]


def test_all_sizes_name_the_same_fields():
    assert len({frozenset(fields) for fields in SIZES.values()}) == 1
