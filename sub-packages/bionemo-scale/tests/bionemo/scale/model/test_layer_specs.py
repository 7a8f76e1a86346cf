# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable

import pytest
import torch
from megatron.core.extensions import transformer_engine as extensions
from megatron.core.transformer.enums import AttnMaskType
from megatron.core.transformer.identity_op import IdentityOp
from torch import Tensor, nn

from bionemo.scale.model.layer_specs import EncoderLayer, TorchAttention, TransportLayer, block_submodules


@pytest.fixture
def joint() -> Tensor:
    """Six cells and the condition token of three sets, sequence first."""
    return torch.randn(7, 3, 32, generator=torch.Generator().manual_seed(0))


def affine(x: Tensor, module: nn.Module) -> Tensor:
    return x @ module.weight.T + module.bias


def layer_norm(x: Tensor, module: nn.Module) -> Tensor:
    x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    return x * module.weight + module.bias


def transport_layer(joint: Tensor, layer: nn.Module, num_heads: int = 4) -> Tensor:
    """Equations 34 to 36 on [N + 1, B, D], written from the block's weights."""
    normed = layer_norm(joint, layer.input_layernorm)
    qkv = affine(normed, layer.self_attention.linear_qkv).unflatten(-1, (num_heads, 3, -1))
    query, key, value = qkv.unbind(-2)
    scores = torch.einsum("sbhk,tbhk->bhst", query, key) / query.shape[-1] ** 0.5
    context = torch.einsum("bhst,tbhk->sbhk", torch.softmax(scores, dim=-1), value).flatten(2)
    attention = affine(context, layer.self_attention.linear_proj)
    hidden = nn.functional.gelu(affine(layer_norm(joint, layer.pre_mlp_layernorm), layer.mlp.linear_fc1))
    updated = joint + attention + affine(hidden, layer.mlp.linear_fc2)
    return torch.cat([updated[:-1], joint[-1:]])


def random_norms_and_biases(model: nn.Module) -> None:
    """Initial norms and biases are neutral, so a part that is left out would not be seen."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))


def test_transport_layer_is_its_equation(model, joint):
    random_norms_and_biases(model)
    for layer in model.transport_blocks.blocks.layers:
        assert isinstance(layer, TransportLayer)
        found, context = layer(joint)
        assert context is None
        torch.testing.assert_close(found, transport_layer(joint, layer), rtol=1e-4, atol=1e-5)


def test_transport_layer_is_its_equation_in_a_prediction(model, joint):
    """Where both norms and the maps after them are one product."""
    random_norms_and_biases(model)
    model.eval()
    for layer in model.transport_blocks.blocks.layers:
        assert not layer.is_merged(joint)
        with torch.no_grad():
            assert layer.is_merged(joint) and not layer.is_merged(joint.bfloat16())
            before = joint.clone()
            found, _ = layer(joint)
            assert torch.equal(joint, before) and torch.equal(found[-1], joint[-1])
            torch.testing.assert_close(found, transport_layer(joint, layer), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "fields",
    [{"normalization": "RMSNorm"}, {"add_bias_linear": False}, {"num_query_groups": 2}, {"gated_linear_unit": True}],
)
def test_other_blocks_are_not_merged_and_give_the_same_in_a_prediction(fields, make_model, joint):
    model = make_model(**fields).eval()
    layer = model.transport_blocks.blocks.layers[0]
    with torch.no_grad():
        assert not layer.is_merged(joint)
        found, _ = layer(joint)
    assert torch.equal(found, layer(joint)[0])


def test_stack_gives_every_block_the_condition_as_it_was(model, joint):
    """Also where a norm ends the stack; the updated condition token never reaches another block."""
    random_norms_and_biases(model)
    blocks = model.transport_blocks.blocks
    expected = joint
    for layer in blocks.layers:
        expected = transport_layer(torch.cat([expected[:-1], joint[-1:]]), layer)
    expected = layer_norm(expected, blocks.final_layernorm)
    torch.testing.assert_close(model.transport_blocks(joint), expected, rtol=1e-4, atol=1e-5)


def test_condition_token_is_untouched_and_takes_part(model, joint):
    layer = model.transport_blocks.blocks.layers[0]
    found, _ = layer(joint)
    assert torch.equal(found[-1], joint[-1])
    other = joint.clone()
    other[-1, :, ::2] += 1
    assert ((layer(other)[0][:-1] - found[:-1]).abs().amax(-1) > 1e-4).all()


def test_dropout_acts_in_training_only(make_model, joint):
    model = make_model(hidden_dropout=0.5, attention_dropout=0.5)
    layer = model.transport_blocks.blocks.layers[0]
    model.eval()
    assert torch.equal(layer(joint)[0], layer(joint)[0])
    torch.testing.assert_close(layer(joint)[0], transport_layer(joint, layer), rtol=1e-4, atol=1e-5)
    model.train()
    assert not torch.equal(layer(joint)[0], layer(joint)[0])
    assert torch.equal(layer(joint)[0][-1], joint[-1])


def test_attention_refuses_a_mask(config):
    with pytest.raises(ValueError, match="expected no mask"):
        TorchAttention(config, layer_number=1, attn_mask_type=AttnMaskType.causal)


@pytest.mark.parametrize("autocast", [False, True])
def test_attention_of_bfloat16_is_that_of_float32_on_a_cpu(config, autocast):
    attention = TorchAttention(config, layer_number=1, attn_mask_type=AttnMaskType.no_mask)
    generator = torch.Generator().manual_seed(0)
    rounded = [torch.randn(8, 5, 4, 16, generator=generator).bfloat16() for _ in range(3)]
    expected = attention(*(x.float() for x in rounded))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        found = attention(*rounded)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, expected.bfloat16())


def test_attention_of_float64_keeps_its_digits(config):
    attention = TorchAttention(config, layer_number=1, attn_mask_type=AttnMaskType.no_mask)
    cells = torch.randn(8, 5, 4, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = torch.nn.functional.scaled_dot_product_attention(*[cells.permute(1, 2, 0, 3)] * 3)
    torch.testing.assert_close(attention(cells, cells, cells), expected.permute(2, 0, 1, 3).flatten(2))


@pytest.mark.parametrize("has_rotary", [True, False])
def test_encoder_layer_is_megatrons_with_the_same_gradients(has_rotary, make_model):
    encoder = make_model().gene_encoder
    random_norms_and_biases(encoder)
    layer = encoder.blocks.layers[0]
    rotary = encoder.rotary(4) if has_rotary else None
    tokens = torch.randn(4, 9, 32, generator=torch.Generator().manual_seed(0), requires_grad=True)
    leaves = {"tokens": tokens, **dict(layer.named_parameters())}
    weights = torch.randn(4, 9, 32, generator=torch.Generator().manual_seed(1))

    def gradients(forward: Callable) -> tuple[Tensor, tuple[Tensor, ...]]:
        output = forward(tokens, attention_mask=None, rotary_pos_emb=rotary)[0]
        return output.detach(), torch.autograd.grad((output * weights).sum(), list(leaves.values()))

    expected, expected_gradients = gradients(super(EncoderLayer, layer).forward)
    found, found_gradients = gradients(layer)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    for name, one, other in zip(leaves, found_gradients, expected_gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5, msg=name)


def test_encoder_layer_drops_as_megatron_does(make_model):
    layer = make_model(hidden_dropout=0.5).gene_encoder.blocks.layers[0]
    tokens = torch.randn(4, 9, 32, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(layer(tokens)[0], layer(tokens)[0])
    assert torch.equal(layer.eval()(tokens)[0], layer(tokens)[0])


class TestTransformerEngineSpec:
    """What can be seen of it without the package: which modules stand where, and under which names they save."""

    @pytest.fixture
    def parts(self, make_config):
        def of(spec: str):
            layers = block_submodules(make_config(), TransportLayer, layer_spec=spec).layer_specs
            assert len(layers) == 2 and {layer.module for layer in layers} == {TransportLayer}
            return layers[0].submodules

        return of

    def test_norms_are_inside_the_linear_maps(self, parts):
        te = parts("te")
        assert te.input_layernorm is te.pre_mlp_layernorm is IdentityOp
        attention, mlp = te.self_attention.submodules, te.mlp.submodules
        # Megatron's own classes; without the package they are there by name only.
        assert attention.linear_qkv is mlp.linear_fc1 is extensions.TELayerNormColumnParallelLinear
        assert attention.linear_proj is mlp.linear_fc2 is extensions.TERowParallelLinear
        assert attention.core_attention is extensions.TEDotProductAttention

    def test_sets_have_no_mask(self, parts):
        for spec in ("local", "te"):
            assert parts(spec).self_attention.params == {"attn_mask_type": AttnMaskType.no_mask}

    def test_checkpoints_have_one_name_for_both(self, parts, model):
        """What the fused modules call their norms is what the map turns the separate norms into."""
        keys = parts("local").sharded_state_dict_keys_map
        assert keys == {
            "input_layernorm.": "self_attention.linear_qkv.layer_norm_",
            "pre_mlp_layernorm.": "mlp.linear_fc1.layer_norm_",
        }
        assert parts("te").sharded_state_dict_keys_map == {}
        # Names that Transformer Engine's LayerNormLinear gives its parameters.
        fused = {"weight", "bias", "layer_norm_weight", "layer_norm_bias"}
        saved = {tensor.key for tensor in model.sharded_state_dict().values()}
        for linear in ("self_attention.linear_qkv", "mlp.linear_fc1"):
            prefix = f"transport_blocks.blocks.layers.{linear}."
            assert {key.removeprefix(prefix) for key in saved if key.startswith(prefix)} - {"_extra_state"} == fused
