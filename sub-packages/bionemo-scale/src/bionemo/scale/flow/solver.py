# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""From the start of the path to its end: Euler and Heun with K equal steps (paper, section 3.5).

One Euler step of an endpoint predictor is the paper's direct prediction.
"""

from collections.abc import Callable
from typing import Literal

from jaxtyping import Float
from torch import Tensor


SolverName = Literal["euler", "heun"]
Velocity = Callable[[Float[Tensor, "B N D"], float], Float[Tensor, "B N D"]]
"""(z_t, t) -> dz/dt, with t in [0, 1)."""


def integrate(
    velocity: Velocity, start: Float[Tensor, "B N D"], *, num_steps: int = 1, solver: SolverName = "euler"
) -> Float[Tensor, "B N D"]:
    """Carry a population from t = 0 to t = 1.

    Args:
        velocity: The field.
        start: Population at t = 0.
        num_steps: Number of equal steps.
        solver: "euler", or "heun" (second order; its last step is an Euler step, since an endpoint predictor has no
            velocity at t = 1).
    """
    if num_steps < 1:
        raise ValueError(f"expected at least one step, found num_steps={num_steps}")
    z, width = start, 1.0 / num_steps
    for step in range(num_steps):
        t = step * width
        slope = velocity(z, t)
        if solver == "heun" and step < num_steps - 1:
            slope = 0.5 * (slope + velocity(z + width * slope, t + width))
        z = z + width * slope
    return z
