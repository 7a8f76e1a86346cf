# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The straight path from the control population to the perturbed one (paper, equations 17 and 18).

Convention everywhere in the package: t = 0 is the start of the path, t = 1 the perturbed population.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from bionemo.scale.flow.random import SetGenerator


@dataclass(frozen=True, kw_only=True)
class PathSample:
    """A population on the way from start to target."""

    z_t: Float[Tensor, "B N D"]
    t: Float[Tensor, " B"]


def sample_path(
    *, start: Float[Tensor, "B N D"], target: Float[Tensor, "B N D"], t: Float[Tensor, " B"]
) -> PathSample:
    """Interpolate ``z_t = (1 - t) start + t target``, one time per set (equation 18)."""
    w = t[:, None, None].to(start.dtype)
    return PathSample(z_t=(1 - w) * start + w * target, t=t)


def sample_times(
    seeds: Int64[Tensor, " B"], *, start_share: float = 0.0, device: torch.device | str = "cpu"
) -> Float[Tensor, " B"]:
    """Draw t ~ Uniform(0, 1), each set from its own seed so that no layout of processes changes the draw.

    Args:
        seeds: The sets' seeds.
        start_share: Probability that a set gets t = 0 instead.
        device: Where the times are wanted.
    """
    draws = [(SetGenerator(seed, "start").random(), SetGenerator(seed, "time").random()) for seed in seeds.tolist()]
    return torch.tensor([0.0 if start < start_share else time for start, time in draws], device=device)
