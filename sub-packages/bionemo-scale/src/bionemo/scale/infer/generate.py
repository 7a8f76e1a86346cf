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
        log1p expression, never negative. "decode" is Dec(Z_1). "displace" and "contrast" keep the variation of the cells
        that were there (moved by the anchor, if the model has one) and add a change: "displace" Dec(Z_1) - Dec(Z_0), and
        "contrast" that less the same for the controls under the control label. What transport and decoder do to every
        cell, perturbed or not, cancels.
    """
    start = model.anchor(control, perturbation)
    z_start = model.encode(start)
    endpoint = model.decode(_endpoint(model, z_start, model.condition(cell_type, perturbation, batch), seed))
    if model.config.generation == "decode":
        return endpoint.clamp_min(0.0)
    change = endpoint - model.decode(z_start)
    if model.config.generation == "contrast":
        no_perturbation = torch.full_like(perturbation, model.config.num_perturbations)
        z_0 = model.encode(control)
        unperturbed = _endpoint(model, z_0, model.condition(cell_type, no_perturbation, batch), seed)
        change = change - (model.decode(unperturbed) - model.decode(z_0))
    return (start + change).clamp_min(0.0)


def _endpoint(
    model: ScaleModel, z_0: Float[Tensor, "B N D"], condition: Float[Tensor, "B D"], seed: Int64[Tensor, " B"]
) -> Float[Tensor, "B N D"]:
    config = model.config

    def field(z_t: Tensor, t: float) -> Tensor:
        times = torch.full((z_t.shape[0],), t, device=z_t.device)
        output = model.transport(z_t, times, condition)
        return velocity(output, z_t=z_t, t=t, parameterization=config.parameterization)

    start = PRIORS[config.prior](z_0, seed)
    return integrate(field, start, num_steps=config.num_generation_steps, solver=config.solver)
