# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Random numbers that belong to a set of cells, not to a process.

Every rank that touches a set (data, tensor or pipeline parallel) draws the same numbers from the set's seed, so the
loss does not depend on the layout.
"""

import zlib

import torch
from torch import Tensor


class SetGenerator:
    """CPU random numbers that depend on a set's seed and on what they are for, on nothing else."""

    def __init__(self, seed: int, purpose: str):
        # torch's CPU generator reads 32 bits of its seed: a hash spreads every bit of ours over them.
        self._generator = torch.Generator().manual_seed(zlib.crc32(f"{purpose}:{seed}".encode()))

    def random(self) -> float:
        """Return one number from Uniform(0, 1)."""
        return float(torch.rand((), generator=self._generator, device="cpu"))

    def uniform(self, *shape: int) -> Tensor:
        """Return numbers from Uniform(0, 1), float32."""
        return torch.rand(*shape, generator=self._generator, device="cpu")

    def normal(self, *shape: int) -> Tensor:
        """Return standard normal numbers, float32."""
        return torch.randn(*shape, generator=self._generator, device="cpu")

    def bernoulli(self, prob: float, *shape: int) -> Tensor:
        """Return a boolean mask that is true with probability ``prob``."""
        return torch.rand(*shape, generator=self._generator, device="cpu") < prob
