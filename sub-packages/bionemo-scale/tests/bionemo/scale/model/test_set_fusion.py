# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import Tensor, nn

from bionemo.scale.model.set_fusion import SetFusion


ORDER = torch.tensor([3, 0, 5, 1, 4, 2])


@pytest.fixture
def fusion(model) -> SetFusion:
    return model.set_fusion


@pytest.fixture
def h() -> Tensor:
    return torch.randn(3, 6, 128, generator=torch.Generator().manual_seed(0))


def mlp(x: Tensor, module: nn.Module) -> Tensor:
    hidden = nn.functional.gelu(x @ module.linear_fc1.weight.T + module.linear_fc1.bias)
    return hidden @ module.linear_fc2.weight.T + module.linear_fc2.bias


def test_fusion_is_equations_7_and_8_normalised(fusion, h):
    s = mlp(mlp(h, fusion.phi).sum(1) / 6, fusion.rho)
    torch.testing.assert_close(fusion.summarize(h), s, rtol=1e-4, atol=1e-5)
    z = mlp(torch.cat([h, s[:, None].repeat(1, 6, 1)], dim=-1), fusion.psi)
    z = (z - z.mean(-1, keepdim=True)) / (z.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(fusion(h), z, rtol=1e-4, atol=1e-4)


def test_summary_is_invariant_and_cells_are_equivariant(fusion, h):
    torch.testing.assert_close(fusion.summarize(h[:, ORDER]), fusion.summarize(h), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(fusion(h[:, ORDER]), fusion(h)[:, ORDER], rtol=1e-5, atol=1e-5)


def test_summary_does_not_depend_on_how_often_the_set_is_repeated(fusion, h):
    torch.testing.assert_close(fusion.summarize(h.repeat(1, 3, 1)), fusion.summarize(h), rtol=1e-5, atol=1e-6)


def test_a_cell_sees_its_own_population_and_no_other(fusion, h):
    before = fusion(h)
    changed = h.clone()
    changed[1, 2] += 1
    after = fusion(changed)
    assert torch.equal(after[[0, 2]], before[[0, 2]])
    # The other cells of the set heard of it through the summary.
    assert ((after[1] - before[1]).abs().amax(-1) > 1e-5).all()


def test_latent_cells_have_unit_scale(fusion, h):
    z = fusion(h * 100)
    torch.testing.assert_close(z.mean(-1), torch.zeros(3, 6), rtol=0, atol=1e-5)
    torch.testing.assert_close(z.var(-1, unbiased=False), torch.ones(3, 6), rtol=1e-3, atol=0)
