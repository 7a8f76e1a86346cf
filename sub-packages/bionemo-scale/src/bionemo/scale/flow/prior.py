# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Where the path starts (paper, section 4.2, "Prior distribution design").

Each prior takes the control latents and the sets' seeds and returns the start of the path. Only ``control`` is
deterministic. The masked priors are in the paper as ablations that do not work; they are here to show it.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from bionemo.scale.flow.random import SetGenerator


CONTROL_SHARE = 0.5
"""Weight of the control latents in the mixed prior."""
MASK_PROB = 0.15
"""Share of latent coordinates that the masked priors set to zero."""

Prior = Callable[[Float[Tensor, "B N D"], Int64[Tensor, " B"]], Float[Tensor, "B N D"]]


def control(z_0: Float[Tensor, "B N D"], seeds: Int64[Tensor, " B"]) -> Float[Tensor, "B N D"]:
    """Start at the control population itself."""
    return z_0


def gaussian_mix(z_0: Float[Tensor, "B N D"], seeds: Int64[Tensor, " B"]) -> Float[Tensor, "B N D"]:
    """Start at standard normal noise plus half the control population."""
    noise = torch.stack([SetGenerator(seed, "prior").normal(*z_0.shape[1:]) for seed in seeds.tolist()])
    return noise.to(z_0) + CONTROL_SHARE * z_0


def control_masked(z_0: Float[Tensor, "B N D"], seeds: Int64[Tensor, " B"]) -> Float[Tensor, "B N D"]:
    """Start at the control population with 15 % of its latent coordinates set to zero."""
    return _mask(control(z_0, seeds), seeds)


def gaussian_mix_masked(z_0: Float[Tensor, "B N D"], seeds: Int64[Tensor, " B"]) -> Float[Tensor, "B N D"]:
    """Start at the mixed prior with 15 % of its latent coordinates set to zero."""
    return _mask(gaussian_mix(z_0, seeds), seeds)


def _mask(start: Float[Tensor, "B N D"], seeds: Int64[Tensor, " B"]) -> Float[Tensor, "B N D"]:
    hidden = [SetGenerator(seed, "mask").bernoulli(MASK_PROB, *start.shape[1:]) for seed in seeds.tolist()]
    return start.masked_fill(torch.stack(hidden).to(start.device), 0.0)


PRIORS: dict[str, Prior] = {
    "control": control,
    "gaussian_mix": gaussian_mix,
    "control_masked": control_masked,
    "gaussian_mix_masked": gaussian_mix_masked,
}
