# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What the network predicts and where the loss is taken: the four JiT variants (paper, equations 20 to 30).

The displacement is counted from the start of the path, ``U = Z_1 - start``; with the control prior the start is Z_0
and the equations read as in the paper.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor


Space = Literal["x", "v"]
"""x: the endpoint Z_1; v: the displacement U."""
LossSpace = Literal["x", "v", "jit-v"]
"""Where the flow loss is taken; jit-v: the velocity that an endpoint stands for at (Z_t, t), as JiT defines it."""
LEAST_TIME_LEFT = 0.05
"""What "jit-v" takes 1 - t for at least, as JiT does: its weight would have no bound at the end of the path."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One network output seen as an endpoint and as a displacement."""

    endpoint: Float[Tensor, "B N D"]
    displacement: Float[Tensor, "B N D"]


def interpret(output: Float[Tensor, "B N D"], *, start: Float[Tensor, "B N D"], parameterization: Space) -> Prediction:
    """Read a head's output in both spaces (equation 24).

    Args:
        output: What the head returned: the endpoint for "x", the displacement for "v".
        start: Start of the path.
        parameterization: Which of the two the head predicts.
    """
    if parameterization == "x":
        return Prediction(endpoint=output, displacement=output - start)
    return Prediction(endpoint=start + output, displacement=output)


def flow_loss(
    prediction: Prediction,
    *,
    start: Float[Tensor, "B N D"],
    target: Float[Tensor, "B N D"],
    loss_space: LossSpace,
    t: Float[Tensor, " B"] | None = None,
    weight: Float[Tensor, "B N"] | None = None,
) -> Float[Tensor, ""]:
    """Mean squared error of the endpoint (equation 25), of the displacement (equation 26) or of JiT's velocity.

    Averaged over sets, cells and latent coordinates, so that its weight does not depend on the model's width.
    Both spaces subtract the same start, so it cancels: for the same prediction the two losses are the same number with
    the same gradient (up to rounding), whatever the head predicts.

    JiT's velocity is ``(Z_1 - z_t) / (1 - t)``, with the same z_t for the predicted and the true endpoint. It cancels
    too, and the error of the endpoint is left, weighted by ``1 / max(1 - t, LEAST_TIME_LEFT)^2``.

    Args:
        prediction: From :func:`interpret`.
        start: Start of the path.
        target: Z_1.
        loss_space: Which of the three.
        t: Time of each set, for "jit-v".
        weight: Of each cell in the average, in place of equal ones.

    Raises:
        ValueError: If "jit-v" is not told the times.
    """
    if loss_space == "v":
        error = prediction.displacement - (target - start)
    else:
        error = prediction.endpoint - target
    if loss_space == "jit-v":
        if t is None:
            raise ValueError('loss_space="jit-v" needs the time of each set, found none')
        error = error / (1 - t).clamp_min(LEAST_TIME_LEFT)[:, None, None]
    squared = error.float().square()
    return squared.mean() if weight is None else (squared.mean(dim=-1) * weight).sum()


def velocity(
    output: Float[Tensor, "B N D"],
    *,
    z_t: Float[Tensor, "B N D"],
    t: float,
    parameterization: Space,
) -> Float[Tensor, "B N D"]:
    """Return dz/dt at (z_t, t) that a head's output stands for.

    On the straight path the velocity is the displacement; an endpoint gives it as ``(Z_1 - z_t) / (1 - t)``.

    Raises:
        ValueError: If an endpoint is asked for a velocity at t = 1, where it has none.
    """
    if parameterization == "v":
        return output
    if t >= 1.0:
        raise ValueError(f"an endpoint has no velocity at the end of the path, expected t < 1, found t={t}")
    return torch.div(output - z_t, 1.0 - t)
