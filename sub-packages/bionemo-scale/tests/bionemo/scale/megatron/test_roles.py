# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import dataclasses
import types
import typing

import pytest
import torch
from megatron.core.transformer.enums import AttnBackend
from megatron.core.transformer.transformer_config import TransformerConfig

from bionemo.scale.megatron.roles import MEGATRON_FIELDS, OF_A_LAYOUT, Role, kinds, names_of
from bionemo.scale.model.config import ScaleModelConfig


HINTS = typing.get_type_hints(TransformerConfig)


def another(field: dataclasses.Field) -> object:
    """A value that is not the field's default, of one of its types; none where those are functions."""
    for kind in alternatives(HINTS[field.name]):
        if kind is bool:
            return not field.default
        if kind in (int, float):
            return kind((field.default or 1) * 2 or 1)
        if isinstance(kind, str) and kind != field.default:
            return kind
        if kind is str:
            return "other"
        if kind is AttnBackend:
            return AttnBackend.flash
        if typing.get_origin(kind) in (list, tuple):
            items = [item("1") if item in (int, str) else 1 for item in typing.get_args(kind)]
            return tuple(items) if typing.get_origin(kind) is tuple else items
    return None


def alternatives(hint) -> list:
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return [part for argument in typing.get_args(hint) for part in alternatives(argument)]
    return list(typing.get_args(hint)) if typing.get_origin(hint) is typing.Literal else [hint]


HEEDED = names_of(ScaleModelConfig)
IGNORED = [field for field in dataclasses.fields(TransformerConfig) if field.init and field.name not in HEEDED]


def test_every_field_of_this_package_has_a_role():
    assert set(ScaleModelConfig.__annotations__) <= HEEDED
    assert set(MEGATRON_FIELDS) <= {field.name for field in dataclasses.fields(TransformerConfig)}
    assert not set(MEGATRON_FIELDS) & set(ScaleModelConfig.__annotations__)


def test_there_are_many_fields_that_are_not_heeded():
    assert len(IGNORED) > 100
    assert {"context_parallel_size", "num_moe_experts", "qk_layernorm", "cpu_offloading", "attention_backend"} <= {
        field.name for field in IGNORED
    }


REFUSED = [field for field in IGNORED if another(field) is not None and field.name not in OF_A_LAYOUT]


@pytest.mark.parametrize("field", REFUSED, ids=lambda field: field.name)
def test_a_field_that_the_network_does_not_read_is_refused(field, make_config):
    value = another(field)
    with pytest.raises(ValueError, match=f"^{field.name} is a field of Megatron's that SCALE does not use: ") as error:
        make_config(**{field.name: value})
    assert str(error.value).endswith(f"expected {field.default}, found {value}; leave it out")


def test_what_megatron_derives_and_the_trainer_sets_passes(make_config):
    config = make_config(pipeline_dtype=torch.float32)
    assert (config.expert_tensor_parallel_size, config.recompute_modules) == (1, ["core_attn"])
    config.grad_scale_func = torch.nn.Identity()
    copied = dataclasses.replace(config, num_layers=3)
    assert (copied.num_layers, copied.grad_scale_func) == (3, config.grad_scale_func)


def test_a_configuration_is_copied_for_another_layout_and_back(make_config):
    one = make_config(pipeline_dtype=torch.float32)
    two = dataclasses.replace(one, tensor_model_parallel_size=2, pipeline_model_parallel_size=2)
    assert (two.tensor_model_parallel_size, two.pipeline_model_parallel_size) == (2, 2)
    assert dataclasses.replace(two, tensor_model_parallel_size=1, pipeline_model_parallel_size=1) == one


@pytest.mark.parametrize(
    "fields",
    [
        dict(ffn_hidden_size=128),
        dict(kv_channels=16),
        dict(num_query_groups=2),
        dict(gated_linear_unit=True),
        dict(activation_func=torch.nn.functional.silu),
        dict(normalization="RMSNorm"),
        dict(add_bias_linear=False),
        dict(layernorm_epsilon=0.1),
        dict(bias_activation_fusion=True),
        dict(hidden_dropout=0.3),
        dict(attention_dropout=0.3),
    ],
    ids=lambda fields: ",".join(fields),
)
def test_what_is_heeded_changes_the_network(fields, make_model, make_batch):
    def output(**fields):
        torch.manual_seed(0)
        model = make_model(**fields)
        head = model.train()(make_batch(), lambda z_0, z_1: (z_0, torch.zeros(len(z_0)))).head
        return head.tolist(), [name for name, _ in model.named_parameters()]

    assert output() != output(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        dict(recompute_granularity="full", recompute_method="uniform", recompute_num_layers=1),
        dict(recompute_granularity="full", recompute_method="block", recompute_num_layers=1),
        dict(recompute_granularity="selective"),
    ],
    ids=lambda fields: ",".join(fields),
)
def test_activations_that_are_computed_again_have_the_same_gradients(fields, make_model, make_batch, monkeypatch):
    recomputed = []
    from megatron.core.tensor_parallel import random

    backward = random.CheckpointFunction.backward
    monkeypatch.setattr(
        random.CheckpointFunction, "backward", staticmethod(lambda *args: recomputed.append(1) or backward(*args))
    )

    def gradients(**fields):
        torch.manual_seed(0)
        random.model_parallel_cuda_manual_seed(0, force_reset_rng=True)
        model = make_model(hidden_dropout=0.2, attention_dropout=0.2, **fields).train()
        model(make_batch(), lambda z_0, z_1: (z_0, torch.zeros(len(z_0)))).head.square().mean().backward()
        return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}

    whole, again = gradients(), gradients(**fields)
    assert recomputed and whole.keys() == again.keys()
    for name, gradient in whole.items():
        torch.testing.assert_close(again[name], gradient, msg=name)


class TestDerivedNames:
    """What was once written by hand, in six places."""

    def test_what_a_run_decides_for_itself(self):
        assert names_of(ScaleModelConfig, Role.GENERATION, Role.LAYOUT) >= {
            "tables_file", "autocast_dtype", "deallocate_pipeline_outputs", "bf16", "fp8", "fp8_amax_compute_algo",
            "fp8_amax_history_len", "fp8_recipe", "additive_share", "counted_zeros", "generation", "layer_spec",
            "num_generation_samples", "num_generation_steps", "num_layers_in_first_pipeline_stage",
            "num_layers_in_last_pipeline_stage", "params_dtype", "pipeline_dtype", "pipeline_model_parallel_size",
            "sequence_parallel", "solver", "tensor_model_parallel_size", "use_cpu_initialization",
            "virtual_pipeline_model_parallel_size",
        }  # fmt: skip

    def test_what_follows_from_the_data_and_the_settings(self):
        assert names_of(ScaleModelConfig, Role.DATA) == {
            "covariate_sizes", "feature_size", "max_agents", "num_agents", "num_batches", "num_cell_types",
            "num_genes", "num_perturbations", "seed", "set_size", "sets",
        }  # fmt: skip

    def test_what_fine_tuning_may_change(self):
        assert names_of(ScaleModelConfig, Role.OBJECTIVE) == {
            "attention_dropout", "autoencoder_weight", "batch_dropout", "cell_type_dropout", "combination_separator",
            "coupling", "covariate_dropout", "decoder_bias",
            "ema_decay", "endpoint_mmd_weight", "endpoint_weight", "hidden_dropout", "loss_space",
            "mmd_estimator", "mmd_weight", "prior", "start_share", "stop_gradient_target",
        }  # fmt: skip

    def test_what_fine_tuning_may_not_change(self):
        own = names_of(ScaleModelConfig, Role.ARCHITECTURE) & set(ScaleModelConfig.__annotations__)
        assert own == {
            "add_bias_linear", "anchor", "bias_activation_fusion", "condition_bias", "condition_injection",
            "condition_pooling", "condition_qk_norm", "condition_size", "decoder_hidden_size", "dose_separator",
            "encoder_ffn_hidden_size", "encoder_hidden_size", "encoder_num_attention_heads", "encoder_num_layers",
            "expression_divisor", "gene_encoder", "gene_pooling", "hidden_size", "label_scale", "latent_norm",
            "layernorm_epsilon", "normalization", "num_attention_heads", "num_gene_tokens", "num_layers",
            "parameterization", "perturbation_source", "set_hidden_size", "transport_norm",
        }  # fmt: skip

    def test_what_something_else_decides(self):
        assert {name: kind.decided_by for name, kind in kinds(ScaleModelConfig).items() if kind.decided_by} == {
            **dict.fromkeys(("num_genes", "num_cell_types", "num_perturbations", "num_batches"), "the store"),
            **dict.fromkeys(("num_agents", "max_agents", "feature_size", "covariate_sizes"), "the store"),
            **dict.fromkeys(("init_method", "output_layer_init_method"), "the model"),
            **dict.fromkeys(("autocast_dtype", "bf16", "params_dtype", "pipeline_dtype"), "--precision"),
            **dict.fromkeys(("fp8", "fp8_amax_compute_algo", "fp8_amax_history_len", "fp8_recipe"), "--precision"),
            "layer_spec": "--spec",
            "pipeline_model_parallel_size": "--pipeline-parallel",
            "seed": "--seed",
            "set_size": "--set-size",
            "sets": "--sets",
            "tables_file": "the run folder",
            "tensor_model_parallel_size": "--tensor-parallel",
            "use_cpu_initialization": "this machine",
        }  # fmt: skip
