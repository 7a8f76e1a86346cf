# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""From control cells and labels to a predicted population (paper, section 3.5, equation 37)."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from bionemo.scale.flow.parameterization import velocity
from bionemo.scale.flow.prior import PRIORS
from bionemo.scale.flow.solver import integrate
from bionemo.scale.model.scale_model import ScaleModel


@torch.no_grad()
def generate(
    model: ScaleModel,
    control: Float[Tensor, "B N G"],
    *,
    cell_type: Int64[Tensor, " B"],
    perturbation: Int64[Tensor, " B"],
    batch: Int64[Tensor, " B"],
    seed: Int64[Tensor, " B"],
) -> Float[Tensor, "B N G"]:
    """Predict how sets of control cells look after a perturbation.

    Args:
        model: A trained network in evaluation mode, on one pipeline stage.
        control: log1p expression of control cells.
        cell_type: Rows of the embedding tables; so are the next two.
        perturbation: See above.
        batch: See above.
        seed: Randomness of each set; only stochastic priors use it.

    Returns:
        log1p expression, never negative. With ``generation="decode"`` the decoded endpoint; with "displace" the
        observed controls moved by the decoded displacement, Dec(Z_1) - Dec(Z_0), which keeps the variation of the
        cells that were there.
    """
    config = model.config
    z_0 = model.encode(control)
    condition = model.condition(cell_type, perturbation, batch)

    def field(z_t: Tensor, t: float) -> Tensor:
        times = torch.full((z_t.shape[0],), t, device=z_t.device)
        output = model.transport(z_t, times, condition)
        return velocity(output, z_t=z_t, t=t, parameterization=config.parameterization)

    start = PRIORS[config.prior](z_0, seed)
    z_1 = integrate(field, start, num_steps=config.num_generation_steps, solver=config.solver)
    predicted = model.decode(z_1)
    if config.generation == "displace":
        predicted = control + predicted - model.decode(z_0)
    return predicted.clamp_min(0.0)
