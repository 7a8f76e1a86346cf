# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""From control cells and labels to a predicted population (paper, section 3.5, equation 37)."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from bionemo.scale.flow.parameterization import velocity
from bionemo.scale.flow.prior import PRIORS
from bionemo.scale.flow.random import SetGenerator
from bionemo.scale.flow.solver import integrate
from bionemo.scale.model.scale_model import ScaleModel
from bionemo.scale.population import with_counted_zeros, with_mean


_NEXT_DRAW = 1 << 40
"""Between the seeds of two draws of a set, far from those of other sets."""


@torch.no_grad()
def generate(
    model: ScaleModel,
    control: Float[Tensor, "B N G"],
    *,
    cell_type: Int64[Tensor, " B"],
    perturbation: Int64[Tensor, " B"],
    batch: Int64[Tensor, " B"],
    seed: Int64[Tensor, " B"],
    control_mean: Float[Tensor, "B G"] | None = None,
) -> Float[Tensor, "B N G"]:
    """Predict how sets of control cells look after a perturbation.

    Args:
        model: A trained network in evaluation mode, on one pipeline stage.
        control: log1p expression of control cells.
        cell_type: Rows of the embedding tables; so are the next two.
        perturbation: See above.
        batch: See above.
        seed: Randomness of each set, for stochastic priors and for the zeros of counts.
        control_mean: Mean of all control cells that each set's were drawn from, where the set should stand for them;
            ``None`` lets every set stand for its own cells.

    Returns:
        log1p expression, never negative, by the configuration's ``generation``:

        - "decode": Dec(Z_1), equation 37, the mean over ``num_generation_samples`` draws of a stochastic prior.
        - "displace": the controls (moved by the anchor, if the model has one) plus Dec(Z_1) - Dec(Z_0).
        - "contrast": the same less what the network does to the controls under the control label, so that what it does
          to every cell cancels; moved so that the mean of a set is ``control_mean`` plus the mean change, of which
          ``additive_share`` is the perturbation's mean effect in training.
    """
    decoder, divisor = model.expression_decoder, model.config.expression_divisor
    start = model.anchor(control, perturbation)
    z_start = model.encode(start)
    features = _endpoint_features(model, z_start, model.condition(cell_type, perturbation, batch), seed)
    if model.config.generation == "decode":
        return (decoder.read_out(features).float() * divisor).clamp_min(0.0)
    if model.config.generation == "displace":
        features = features - decoder.features(z_start)
        return (start + decoder.change(features).float() * divisor).clamp_min(0.0)
    no_perturbation = torch.full_like(perturbation, model.config.num_perturbations)
    # Without an anchor the start is the controls themselves: they are encoded once, and reconstructions cancel.
    z_0 = z_start if start is control else model.encode(control)
    features = features - _endpoint_features(model, z_0, model.condition(cell_type, no_perturbation, batch), seed)
    if start is not control:
        features = features - decoder.features(z_start) + decoder.features(z_0)
    moved = start + decoder.change(features).float() * divisor
    own_mean = control.mean(dim=1)
    change = _shrunk(model, moved.mean(dim=1) - own_mean, perturbation)
    cells = with_mean(moved, (own_mean if control_mean is None else control_mean) + change)
    if not model.config.counted_zeros:
        return cells
    return with_counted_zeros(cells, measured=control, offset=zeros_offset(seed, num_genes=cells.shape[-1]))


def _shrunk(
    model: ScaleModel, change: Float[Tensor, "B G"], perturbation: Int64[Tensor, " B"]
) -> Float[Tensor, "B G"]:
    """Average the network's change with the perturbation's mean effect in training, where it has one.

    The two err differently: the network sees the context and smooths over genes, the mean effect does neither.
    """
    effect = model.effects[perturbation].to(change)
    share = model.config.additive_share * effect.any(dim=-1, keepdim=True)
    return change + share * (effect - change)


def zeros_offset(seed: Int64[Tensor, " B"], *, num_genes: int) -> Float[Tensor, "B G"]:
    """Return the numbers that place the zeros of each set, which depend on its seed alone."""
    return torch.stack([SetGenerator(s, "zeros").uniform(num_genes) for s in seed.tolist()])


def _endpoint_features(
    model: ScaleModel, z_0: Float[Tensor, "B N D"], condition: Float[Tensor, "B D"], seed: Int64[Tensor, " B"]
) -> Float[Tensor, "B N H"]:
    """Return the decoder's features of what each cell becomes, on average over the draws of the prior."""
    draws = range(model.config.num_generation_samples)
    ends = (_endpoint(model, z_0, condition, seed + draw * _NEXT_DRAW) for draw in draws)
    return sum(model.expression_decoder.features(end) for end in ends) / len(draws)


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
