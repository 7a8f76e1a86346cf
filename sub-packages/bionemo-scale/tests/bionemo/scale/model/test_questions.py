# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import Tensor

from bionemo.scale.model.scale_model import ScaleModel


@pytest.fixture
def cells() -> Tensor:
    return torch.randn(3, 6, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def spread(make_model):
    """Norms and biases that are not neutral, so that one that is left out is seen."""

    def make(**fields) -> ScaleModel:
        model, generator = make_model(**fields).eval(), torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() == 1:
                    parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
        return model

    return make


def transported(model: ScaleModel, cells: Tensor, condition: Tensor) -> Tensor:
    """What the network does without any preparation, as in training."""
    with torch.enable_grad():
        return model.transport(cells, torch.zeros(len(cells)), condition).detach()


@pytest.mark.parametrize("fields", [{}, {"transport_norm": False}, {"num_layers": 1}])
def test_prepared_cells_answer_as_the_transport_does(fields, spread, cells):
    model = spread(**fields)
    with torch.no_grad():
        asked = model.asked_cells(cells)
        for scale in (0.01, 1.0, 30.0):
            condition = scale * torch.randn(3, 32, generator=torch.Generator().manual_seed(2))
            expected = transported(model, cells, condition)
            torch.testing.assert_close(model.ask(asked, condition), expected, rtol=1e-4, atol=1e-5)


def test_some_sets_answer_as_they_would_alone(spread, cells):
    model, sets = spread(), torch.tensor([2, 0, 2, 1])
    condition = torch.randn(4, 32, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        asked = model.asked_cells(cells).take(sets, cells[sets])
        found = model.ask(asked, condition)
    assert torch.equal(asked.start, cells[sets])
    torch.testing.assert_close(found, transported(model, cells[sets], condition), rtol=1e-4, atol=1e-5)


def test_a_condition_that_takes_a_cell_away(spread, cells):
    """The norm then divides by almost nothing: the deviation is of the sum, not of its parts."""
    model = spread()
    with torch.no_grad():
        entering = model.transport_input(cells, torch.zeros(3))
        condition = -entering[:, 0] + 0.1
        found = model.ask(model.asked_cells(cells), condition)
    torch.testing.assert_close(found, transported(model, cells, condition), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("fields", [{"condition_injection": "token"}, {"normalization": "RMSNorm"}])
def test_other_networks_are_not_prepared(fields, make_model, cells):
    with torch.no_grad():
        assert make_model(**fields).eval().asked_cells(cells) is None
    assert make_model().eval().asked_cells(cells) is None
