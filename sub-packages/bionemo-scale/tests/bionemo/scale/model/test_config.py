# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import ast
from pathlib import Path

import pytest
import torch
from megatron.core.transformer.transformer_config import TransformerConfig

import bionemo.scale.model.config
from bionemo.scale.megatron.roles import Role, names_of
from bionemo.scale.model.config import ScaleModelConfig, encoder_config
from bionemo.scale.model.size.sizes import SIZES


def test_defaults_are_accepted_and_say_what_the_paper_says(make_config):
    config = make_config()
    assert (config.parameterization, config.loss_space, config.prior) == ("x", "x", "control")
    assert (config.condition_pooling, config.gene_encoder, config.generation) == ("seed", "llama", "contrast")
    assert (config.num_generation_steps, config.stop_gradient_target) == (1, False)


@pytest.mark.parametrize(
    "name",
    [
        "encoder_num_attention_heads",
        "encoder_ffn_hidden_size",
        "encoder_hidden_size",
        "set_hidden_size",
        "decoder_hidden_size",
        "condition_size",
    ],
)
def test_widths_must_be_split_evenly_over_tensor_parallel_ranks(name, make_config):
    message = f"{name} must be a multiple of the tensor parallel size 2, found 33"
    with pytest.raises(ValueError, match=message):
        make_config(tensor_model_parallel_size=2, **{name: 33})


@pytest.mark.parametrize("name", ["hidden_size", "num_attention_heads"])
def test_megatrons_own_widths_are_refused_too(name, make_config):
    with pytest.raises((ValueError, AssertionError)):
        make_config(tensor_model_parallel_size=2, **{name: 33})


def test_encoder_heads_must_divide_its_width(make_config):
    with pytest.raises(ValueError, match="encoder_num_attention_heads=5 and gene_encoder='llama', found 32"):
        make_config(encoder_num_attention_heads=5)


def test_more_stages_than_blocks_are_refused(make_config):
    with pytest.raises(ValueError, match="at most num_layers=2, found 4"):
        make_config(pipeline_model_parallel_size=4, pipeline_dtype=torch.float32)


def test_fp8_is_not_run_unquantised(make_config):
    with pytest.raises(ValueError, match="fp8 needs Transformer Engine layers, found layer_spec='local'"):
        make_config(fp8="hybrid", bf16=True)


def test_encoder_blocks_of_each_kind(make_config):
    llama, plain = (encoder_config(make_config(gene_encoder=kind)) for kind in ("llama", "attention"))
    assert (llama.normalization, llama.gated_linear_unit, llama.add_bias_linear) == ("RMSNorm", True, False)
    assert llama.activation_func is torch.nn.functional.silu
    assert (plain.normalization, plain.gated_linear_unit, plain.add_bias_linear) == ("LayerNorm", False, True)
    assert plain.activation_func is torch.nn.functional.gelu


def test_encoder_follows_the_layout_but_stays_on_one_stage(make_config):
    layout = dict(tensor_model_parallel_size=2, pipeline_model_parallel_size=2, pipeline_dtype=torch.float32)
    encoder = encoder_config(make_config(**layout, hidden_dropout=0.1))
    assert (encoder.tensor_model_parallel_size, encoder.pipeline_model_parallel_size) == (2, 1)
    assert (encoder.hidden_size, encoder.num_layers, encoder.hidden_dropout) == (32, 1, 0.1)


def test_rotary_positions_need_pairs(make_config):
    with pytest.raises(ValueError, match="multiple of 16 with encoder_num_attention_heads=8"):
        make_config(encoder_hidden_size=24, encoder_num_attention_heads=8)


def test_sequence_parallel_is_refused(make_config):
    with pytest.raises(ValueError, match="sequence_parallel must be false: blocks treat the last row"):
        make_config(sequence_parallel=True, tensor_model_parallel_size=2)


class TestStages:
    def make(self, make_config, stages: int, **fields):
        return make_config(pipeline_model_parallel_size=stages, pipeline_dtype=torch.float32, **fields)

    def test_blocks_that_do_not_spread_evenly_are_refused(self, make_config):
        with pytest.raises(ValueError, match="num_layers=3 must spread evenly over 2 pipeline stages"):
            self.make(make_config, 2, num_layers=3)

    @pytest.mark.parametrize(
        "stages, fields",
        [
            (2, dict(num_layers=3, num_layers_in_first_pipeline_stage=1)),
            (2, dict(num_layers=3, num_layers_in_last_pipeline_stage=1)),
            (3, dict(num_layers=7, num_layers_in_first_pipeline_stage=1)),
            (4, dict(num_layers=8, num_layers_in_first_pipeline_stage=1, num_layers_in_last_pipeline_stage=1)),
        ],
    )
    def test_the_ends_may_have_fewer_blocks(self, stages, fields, make_config):
        assert self.make(make_config, stages, **fields).num_layers == fields["num_layers"]

    @pytest.mark.parametrize(
        "stages, fields",
        [
            (3, dict(num_layers=6, num_layers_in_first_pipeline_stage=1)),
            (2, dict(num_layers=6, num_layers_in_first_pipeline_stage=1, num_layers_in_last_pipeline_stage=1)),
        ],
    )
    def test_what_is_left_must_spread_evenly_too(self, stages, fields, make_config):
        with pytest.raises((ValueError, AssertionError)):
            self.make(make_config, stages, **fields)

    def test_virtual_stages_are_refused(self, make_config):
        with pytest.raises(ValueError, match="virtual_pipeline_model_parallel_size must not be set"):
            self.make(make_config, 2, num_layers=4, virtual_pipeline_model_parallel_size=2)


class TestFp8:
    def make(self, make_config, **fields):
        return make_config(fp8="hybrid", bf16=True, layer_spec="te", **fields)

    def test_widths_fit_its_matrices(self, make_config):
        assert encoder_config(self.make(make_config)).fp8 == "hybrid"

    @pytest.mark.parametrize("name", ["ffn_hidden_size", "encoder_ffn_hidden_size"])
    def test_other_widths_are_refused(self, name, make_config):
        with pytest.raises(ValueError, match=f"{name} must be a multiple of 16 for FP8 .delayed. on 1 tensor"):
            self.make(make_config, **{name: 72})

    def test_each_rank_needs_such_a_width(self, make_config):
        with pytest.raises(ValueError, match="hidden_size must be a multiple of 64 for FP8 .mxfp8. on 2 tensor"):
            self.make(make_config, fp8_recipe="mxfp8", tensor_model_parallel_size=2)

    @pytest.mark.parametrize("size", SIZES)
    @pytest.mark.parametrize("recipe", ["delayed", "tensorwise", "mxfp8"])
    def test_every_size_fits(self, size, recipe, make_config):
        """On one rank; beside the tests' tiny one, on two."""
        ranks = 1 if size == "tiny" else 2
        fields = dict(SIZES[size], fp8_recipe=recipe, tensor_model_parallel_size=ranks)
        assert self.make(make_config, **fields).fp8_recipe == recipe


@pytest.mark.parametrize(
    "fields, message",
    [
        (dict(normalization="L2Norm"), "normalization must be LayerNorm or RMSNorm, found 'L2Norm'"),
        (dict(num_query_groups=3), "num_attention_heads must be a multiple of num_query_groups=3, found 4"),
        (dict(fp8_margin=2), "fp8_margin needs fp8: expected 0, found 2"),
        (dict(recompute_method="block"), "recompute_method needs recompute_granularity=full, found None"),
        (dict(gradient_accumulation_fusion=True), "gradient_accumulation_fusion needs Apex's extension"),
    ],
)
def test_what_would_fail_later_or_do_nothing_is_refused(fields, message, make_config):
    with pytest.raises(ValueError, match=message):
        make_config(**fields)


MODULES = sorted(Path(bionemo.scale.model.config.__file__).parent.glob("*.py"))
# The first declares the fields and checks them, the second reads whether a checkpoint holds an average.
READ_ALL = {"config.py", "checkpoint.py"}


@pytest.mark.parametrize("path", [path for path in MODULES if path.name not in READ_ALL], ids=lambda path: path.name)
def test_the_network_does_not_read_how_it_is_trained_or_asked(path):
    """Dropout, which Megatron's layers read, is a field of Megatron's."""
    others = (
        names_of(ScaleModelConfig, Role.OBJECTIVE, Role.GENERATION) - TransformerConfig.__dataclass_fields__.keys()
    )
    assert {"prior", "ema_decay", "solver"} <= others
    read = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
    assert read & others == set()
