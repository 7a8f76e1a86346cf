# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from bionemo.scale.model.layers import Linear, Mlp


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
    mlp = Mlp(config, 8, 16, 12)
    random_parameters(mlp)
    x = torch.randn(*axes, 8, generator=torch.Generator().manual_seed(1))
    hidden = torch.nn.functional.gelu(x @ mlp.linear_fc1.weight.T + mlp.linear_fc1.bias)
    torch.testing.assert_close(mlp(x), hidden @ mlp.linear_fc2.weight.T + mlp.linear_fc2.bias, rtol=1e-4, atol=1e-4)
