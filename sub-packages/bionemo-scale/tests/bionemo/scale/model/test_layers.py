# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import contextlib

import pytest
import torch
from megatron.core.transformer import transformer_block

from bionemo.scale.model.layers import Linear, Mlp, run_blocks


def random_parameters(module: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, generator=generator)


@pytest.mark.parametrize("axes", [(), (5,), (2, 5), (2, 3, 5)])
def test_linear_maps_the_last_axis(axes, config):
    layer = Linear(config, 8, 12)
    random_parameters(layer)
    x = torch.randn(*axes, 8, generator=torch.Generator().manual_seed(1))
    weight, bias = layer.linear.weight, layer.linear.bias
    torch.testing.assert_close(layer(x), x @ weight.T + bias)


@pytest.mark.parametrize("axes", [(5,), (2, 5)])
def test_mlp_is_linear_gelu_linear_and_adds_each_bias_once(axes, config):
    mlp = Mlp(config, 8, 16, output_size=12)
    random_parameters(mlp)
    x = torch.randn(*axes, 8, generator=torch.Generator().manual_seed(1))
    hidden = torch.nn.functional.gelu(x @ mlp.linear_fc1.weight.T + mlp.linear_fc1.bias)
    torch.testing.assert_close(mlp(x), hidden @ mlp.linear_fc2.weight.T + mlp.linear_fc2.bias, rtol=1e-4, atol=1e-4)


def test_parts_compute_in_the_precision_of_their_weights(config):
    x = torch.randn(5, 8, generator=torch.Generator().manual_seed(1))
    for part in (Linear(config, 8, 12), Mlp(config, 8, 16, output_size=12)):
        random_parameters(part)
        exact = part(x)
        assert exact.dtype is torch.float32
        rounded = part.bfloat16()(x)
        assert rounded.dtype is torch.bfloat16
        torch.testing.assert_close(rounded.float(), exact, rtol=0.05, atol=0.3)


class TestBlocksAtFp8Shapes:
    @pytest.fixture
    def blocks(self, model, monkeypatch):
        """A real stack that believes to multiply in FP8, and the shapes it was given."""
        blocks, shapes = model.transport_blocks.blocks, []
        monkeypatch.setattr(transformer_block, "get_fp8_context", lambda *args, **kwargs: contextlib.nullcontext())
        blocks.register_forward_pre_hook(lambda module, args: shapes.append(tuple(args[0].shape)))
        blocks.shapes = shapes
        return blocks

    @pytest.mark.parametrize(
        "recipe, shape, given",
        [
            ("delayed", (33, 8), 16),
            ("delayed", (33, 16), 16),
            ("delayed", (32, 3), 3),
            ("tensorwise", (24, 3), 4),
            ("mxfp8", (33, 8), 32),
            ("mxfp8", (16, 3), 4),
            ("mxfp8", (64, 1), 1),
        ],
    )
    def test_sequences_are_added_and_nothing_else_changes(self, blocks, recipe, shape, given):
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(*shape, 32, generator=generator, requires_grad=True)
        weights = torch.randn(*shape, 32, generator=generator)
        outcomes = []
        for fp8 in (None, "hybrid"):
            blocks.config.fp8, blocks.config.fp8_recipe = fp8, recipe
            x.grad = None
            blocks.zero_grad()
            out = run_blocks(blocks, x)
            (out * weights).sum().backward()
            outcomes.append([out, x.grad.clone(), *(each.grad.clone() for each in blocks.parameters())])
        for expected, found in zip(*outcomes, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        assert blocks.shapes == [(*shape, 32), (shape[0], given, 32)]
