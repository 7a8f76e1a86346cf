# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import pytest

from bionemo.scale.model.size.count import count_parameters
from bionemo.scale.model.size.sizes import REFERENCE_DATA, SIZES


NAMED = {"184m": 184e6, "280m": 280e6}
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


@pytest.mark.parametrize("name", sorted(NAMED))
def test_sizes_named_after_a_number_have_that_many_parameters(name, make_config):
    total = sum(count_parameters(make_config(**SIZES[name], **REFERENCE_DATA)).values())
    assert total == pytest.approx(NAMED[name], rel=0.01)


def test_counted_parameters_are_those_of_a_network_with_memory(make_config, make_model):
    model = make_model(ema_decay=0.9)
    counted = count_parameters(make_config(ema_decay=0.9))
    assert sum(counted.values()) == sum(p.numel() for p in model.parameters() if p.requires_grad)
    order = list(counted)
    assert order[0] == "gene_encoder" and order[-1] == "expression_decoder"


def test_counting_takes_no_memory(make_config):
    """A hundred billion parameters would not fit anywhere."""
    huge = {**SIZES["280m"], "hidden_size": 64000, "ffn_hidden_size": 64000, "num_attention_heads": 64}
    assert sum(count_parameters(make_config(**huge)).values()) > 1e11


@pytest.mark.parametrize("name", ["184m", "280m"])
def test_paper_sizes_split_evenly(name):
    fields = SIZES[name]
    for ranks in (2, 4):
        widths = [value for field, value in fields.items() if field.endswith("_size") or "heads" in field]
        assert [value % ranks for value in widths] == [0] * len(widths)
        assert fields["ffn_hidden_size"] // ranks % 16 == 0
        assert fields["num_layers"] % ranks == 0
