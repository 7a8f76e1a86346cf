# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The numbers that an option takes, and how a refusal says so."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """A range; infinite and undefined numbers are outside of every one."""

    at_least: int | float = -math.inf
    above: int | float = -math.inf
    at_most: int | float = math.inf
    below: int | float = math.inf

    def __contains__(self, number: int | float) -> bool:
        """Whether a number may be given."""
        above = number >= self.at_least and number > self.above
        return math.isfinite(number) and above and number <= self.at_most and number < self.below

    def __str__(self) -> str:
        """Return the range in words."""
        ends = {"at least": self.at_least, "above": self.above, "at most": self.at_most, "below": self.below}
        return (
            " and ".join(
                f"{word} {end if isinstance(end, int) else format(end, 'g')}"
                for word, end in ends.items()
                if math.isfinite(end)
            )
            or "finite"
        )


COUNT = Limits(at_least=1)
NOT_NEGATIVE = Limits(at_least=0)
SHARE = Limits(at_least=0, at_most=1)
SEED = Limits(at_least=0, below=2**32)
"""What every generator of random numbers takes."""
LIBRARY_SIZE = Limits(at_least=1, at_most=1e9)
"""Counts of a cell that others are scaled to; outside, log1p of float32 loses the values."""
