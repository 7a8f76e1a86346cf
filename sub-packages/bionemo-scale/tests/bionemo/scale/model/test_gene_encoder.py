# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from scipy.sparse import csr_matrix
from torch import Tensor, nn

from bionemo.scale.model.gene_encoder import GeneEncoder, SparseCells


@pytest.fixture
def x(batch) -> Tensor:
    return batch["control"] / 10


def rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight


def rotate(x: Tensor) -> Tensor:
    """Rotary positions as in LLaMA: [.., T, K], halves rotated against one another, base 10000."""
    length, size = x.shape[-2:]
    frequencies = 10000.0 ** (-torch.arange(0, size, 2) / size)
    angles = torch.outer(torch.arange(length).float(), frequencies).repeat(1, 2)
    first, second = x.chunk(2, dim=-1)
    return x * angles.cos() + torch.cat([-second, first], dim=-1) * angles.sin()


def llama_block(tokens: Tensor, layer: nn.Module, num_heads: int) -> Tensor:
    """One block on [cells, T, width], written from its weights."""
    attention, mlp = layer.self_attention, layer.mlp
    normed = rms_norm(tokens, layer.input_layernorm.weight)
    # Megatron keeps query, key and value of a head together.
    qkv = (normed @ attention.linear_qkv.weight.T).unflatten(-1, (num_heads, 3, -1))
    query, key, value = (part.transpose(1, 2) for part in qkv.unbind(-2))
    query, key = rotate(query), rotate(key)
    weights = torch.softmax(query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5, dim=-1)
    tokens = tokens + (weights @ value).transpose(1, 2).flatten(2) @ attention.linear_proj.weight.T
    gate, up = (rms_norm(tokens, layer.pre_mlp_layernorm.weight) @ mlp.linear_fc1.weight.T).chunk(2, dim=-1)
    return tokens + (nn.functional.silu(gate) * up) @ mlp.linear_fc2.weight.T


def test_llama_is_rmsnorm_swiglu_and_rotary_attention_over_gene_tokens(make_model, x):
    encoder = make_model(encoder_num_layers=2).gene_encoder
    linear = encoder.projection.linear
    tokens = (x.flatten(0, 1) @ linear.weight.T + linear.bias).unflatten(-1, (4, 32)) + encoder.token_embedding.weight
    for layer in encoder.blocks.layers:
        tokens = llama_block(tokens, layer, num_heads=4)
    tokens = rms_norm(tokens, encoder.blocks.final_layernorm.weight)
    expected = tokens.flatten(1).unflatten(0, x.shape[:2])
    torch.testing.assert_close(encoder(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["llama", "attention"])
def test_cells_without_their_zeros_are_embedded_as_with_them(kind, make_model, x):
    encoder = make_model(gene_encoder=kind).gene_encoder
    x = x * (torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) < 0.3)
    # A cell without a gene.
    x[1, 2] = 0
    rows = csr_matrix(x.flatten(0, 1).numpy())
    parts = (torch.from_numpy(part) for part in (rows.indices, rows.data, rows.indptr[:-1]))
    with torch.no_grad():
        assert encoder.takes_sparse()
        torch.testing.assert_close(encoder.of_sparse(SparseCells(*parts), 3), encoder(x), rtol=1e-5, atol=1e-6)


def test_cells_without_their_zeros_are_for_predictions_in_single_precision(model, make_model):
    assert not model.gene_encoder.takes_sparse()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert not model.gene_encoder.takes_sparse()
    with torch.no_grad():
        assert not make_model().gene_encoder.bfloat16().takes_sparse()


@pytest.mark.parametrize("kind", ["llama", "attention"])
@pytest.mark.parametrize(("pooling", "size"), [("concat", 4 * 32), ("mean", 32)])
def test_embedding_of_each_kind_and_pooling(kind, pooling, size, make_model, x):
    model = make_model(gene_encoder=kind, gene_pooling=pooling)
    h = model.gene_encoder(x)
    assert h.shape == (3, 6, size) and GeneEncoder.output_size(model.config) == size
    assert torch.isfinite(h).all()
    # Cells with other expression are other cells.
    assert h.flatten(0, 1).var(0).mean() > 0.01


def test_mean_pooling_is_the_mean_of_what_concat_keeps(make_model, x):
    apart, together = (make_model(gene_pooling=pooling).gene_encoder for pooling in ("concat", "mean"))
    torch.testing.assert_close(together(x), apart(x).unflatten(-1, (4, 32)).mean(2))


@pytest.mark.parametrize("kind", ["llama", "attention"])
def test_a_cell_is_encoded_without_looking_at_others(kind, make_model, x):
    encoder = make_model(gene_encoder=kind).gene_encoder
    h = encoder(x)
    changed = x.clone()
    changed[1, 2] += 1
    same = torch.ones(3, 6, dtype=torch.bool)
    same[1, 2] = False
    after = encoder(changed)
    assert torch.equal(after[same], h[same])
    assert not torch.allclose(after[1, 2], h[1, 2])


@pytest.mark.parametrize("kind", ["llama", "attention"])
def test_jacobian_between_cells_is_exactly_zero(kind, make_model, x):
    encoder = make_model(gene_encoder=kind).gene_encoder
    leaf = x.clone().requires_grad_()
    encoder(leaf)[0, 3].square().sum().backward()
    own = torch.zeros(3, 6, dtype=torch.bool)
    own[0, 3] = True
    assert (leaf.grad[~own] == 0).all()
    assert leaf.grad[0, 3].abs().sum() > 0


@pytest.mark.parametrize("kind", ["llama", "attention"])
def test_cells_are_equivariant(kind, make_model, x):
    encoder = make_model(gene_encoder=kind).gene_encoder
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    torch.testing.assert_close(encoder(x[:, order]), encoder(x)[:, order], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("kind", "has_positions"), [("llama", True), ("attention", False)])
def test_order_of_tokens_matters_to_llama_only(kind, has_positions, make_model, x):
    """Without the learned token embedding, only rotary positions can tell the order of gene tokens."""
    encoder = make_model(gene_encoder=kind, gene_pooling="mean").gene_encoder
    nn.init.zeros_(encoder.token_embedding.weight)
    before = encoder(x)
    order = torch.tensor([2, 0, 3, 1])
    with torch.no_grad():
        for parameter in encoder.projection.parameters():
            parameter.copy_(parameter.unflatten(0, (4, 32))[order].flatten(0, 1))
    difference = (encoder(x) - before).abs().max()
    assert difference > 1e-3 if has_positions else difference < 1e-5


def test_token_embedding_tells_tokens_apart(make_model, x):
    encoder = make_model(gene_encoder="attention").gene_encoder
    before = encoder(x)
    with torch.no_grad():
        encoder.token_embedding.weight[1, ::2] += 1
    assert not torch.allclose(encoder(x), before, atol=1e-3)
