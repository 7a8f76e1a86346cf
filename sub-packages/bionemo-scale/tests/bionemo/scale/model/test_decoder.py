# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch


def test_every_cell_is_decoded_by_itself(model):
    z = torch.randn(3, 6, 32, generator=torch.Generator().manual_seed(0))
    mlp = model.expression_decoder.mlp
    hidden = torch.nn.functional.gelu(z @ mlp.linear_fc1.weight.T + mlp.linear_fc1.bias)
    expected = hidden @ mlp.linear_fc2.weight.T + mlp.linear_fc2.bias
    torch.testing.assert_close(model.expression_decoder(z), expected, rtol=1e-4, atol=1e-5)
    leaf = z.clone().requires_grad_()
    model.expression_decoder(leaf)[1, 2].sum().backward()
    assert (leaf.grad.abs().sum(-1) > 0).nonzero().tolist() == [[1, 2]]


def test_a_difference_of_features_is_decoded_as_the_difference(model):
    first, second = torch.randn(2, 3, 6, 32, generator=torch.Generator().manual_seed(1))
    decoder = model.expression_decoder
    change = decoder.change(decoder.features(first) - decoder.features(second))
    torch.testing.assert_close(change, decoder(first) - decoder(second), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_change_is_added_as_it_is_decoded(precision, model):
    generator = torch.Generator().manual_seed(4)
    decoder = model.expression_decoder
    start = torch.randn(3, 6, model.config.num_genes, generator=generator)
    features = torch.randn(3, 6, decoder.mlp.linear_fc2.weight.shape[1], generator=generator)
    before = start.clone()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
        found = decoder.add_change(start, features, 10.0)
        expected = start + 10 * decoder.change(features).float()
    assert found.dtype == torch.float32 and torch.equal(start, before)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_mean_of_decoded_cells_is_read_from_the_mean_feature(model):
    z = torch.randn(3, 6, 32, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(model.decode_mean(z), model.decode(z).mean(dim=1), rtol=1e-4, atol=1e-5)


def test_no_difference_decodes_to_none_in_bfloat16(model):
    """The bias, which is the mean expression, must not leave its rounding in a change."""
    decoder = model.expression_decoder
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        decoder.mlp.linear_fc2.bias.uniform_(1, 5, generator=torch.Generator().manual_seed(3))
        change = decoder.change(torch.zeros(1, 2, decoder.mlp.linear_fc2.weight.shape[1]))
        decoded = decoder.read_out(torch.zeros(1, 2, decoder.mlp.linear_fc2.weight.shape[1]))
    assert not change.any()
    torch.testing.assert_close(decoded[0, 0], decoder.mlp.linear_fc2.bias, rtol=0, atol=0)
