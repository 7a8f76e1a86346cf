# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Random numbers that belong to a set of cells, not to a process.

Every rank that touches a set (data, tensor or pipeline parallel) draws the same numbers from the set's seed, so the
loss does not depend on the layout.
"""

import torch
from torch import Tensor


class SetGenerator:
    """CPU random numbers that depend on a set's seed and on what they are for, on nothing else."""

    def __init__(self, seed: int, purpose: str):
        salt = sum(ord(letter) * 131**i for i, letter in enumerate(purpose)) % (2**31)
        self._generator = torch.Generator().manual_seed((seed * 2_147_483_659 + salt) % (2**63))

    def random(self) -> float:
        """Return one number from Uniform(0, 1)."""
        return float(torch.rand((), generator=self._generator, device="cpu"))

    def normal(self, *shape: int) -> Tensor:
        """Return standard normal numbers, float32."""
        return torch.randn(*shape, generator=self._generator, device="cpu")

    def bernoulli(self, prob: float, *shape: int) -> Tensor:
        """Return a boolean mask that is true with probability ``prob``."""
        return torch.rand(*shape, generator=self._generator, device="cpu") < prob
