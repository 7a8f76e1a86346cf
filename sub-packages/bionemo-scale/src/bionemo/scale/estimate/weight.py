# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""How much the network's mean is worth beside the classical estimate, found from groups that neither has seen.

With e the estimate, n the network's mean and y the measured mean of a (context, perturbation) that was held out, the
weight that predicts best in squared error over all of them and all genes is

    w = sum (n - e)(y - e) / sum (n - e)^2,    kept between 0 and 1.

The sampling error of y is in neither e nor n, so that it does not bias w. Pairs that different networks have not seen
are added. The standard error of w is that of a ratio of sums over pairs, by the jackknife.

The same groups say how wide the intervals of ``p = e + w (n - e)`` must be. With s the estimate's standard deviation
and u that of the sampling error of y, the smallest k at which ``|y - p| <= z sqrt(k^2 s^2 + u^2)`` in 90 % of the
genes that a pair's controls express is found for each pair, and

    interval_scale^2 = (1 + sum over pairs k^2) / (1 + pairs),

as if one more pair had agreed with the estimate's own claim: a single pair says little, for its genes err together. At
w = 0 the prediction is the estimate, and so are its intervals. Genes that hardly any cell expresses do not count: the
estimate is sure of them (s near 0), and a network that predicts 0.002 there would widen every interval without bound.
Which genes these are must not depend on the cells that are judged (``docs/log.md``).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bionemo.scale.types import INTERVAL_LEVEL, Z_OF_INTERVAL


WEIGHTS = tuple(number / 20 for number in range(21))
"""Weights at which the width of intervals is measured, before the weight is known."""


@dataclass(frozen=True, kw_only=True)
class PairErrors:
    """Of one held-out (context, perturbation): means over genes."""

    cell_type: str
    perturbation: str
    estimate: float
    """(y - e)^2."""
    cross: float
    """(n - e)(y - e)."""
    difference: float
    """(n - e)^2."""
    squared_scales: tuple[float, ...] = ()
    """k^2 at each of :data:`WEIGHTS`; empty where it was not measured."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What is written to the run folder."""

    network_weight: float
    standard_error: float | None
    """Of the weight before it is kept between 0 and 1; ``None`` with a single pair."""
    num_pairs: int
    """(Context, perturbation) pairs that were held out."""
    error_of_estimate: float
    """Mean squared error over pairs and genes."""
    error_of_network: float
    error_of_both: float
    """With the weight."""
    interval_scale: float
    """Standard deviation of what is not known with the weight, by that of the estimate alone."""
    pairs: tuple[PairErrors, ...]


def weigh(pairs: Sequence[PairErrors]) -> Measured:
    """Find the weight from the errors of pairs."""
    estimate, cross, difference = np.array([(pair.estimate, pair.cross, pair.difference) for pair in pairs]).T
    ratio = _ratio(cross.sum(), difference.sum())
    weight = float(np.clip(ratio, 0.0, 1.0))

    def error(share: float) -> float:
        return float((estimate - 2 * share * cross + share**2 * difference).mean())

    return Measured(
        network_weight=weight,
        standard_error=_jackknife(cross, difference),
        num_pairs=len(pairs),
        error_of_estimate=error(0.0),
        error_of_network=error(1.0),
        error_of_both=error(weight),
        interval_scale=_interval_scale([pair.squared_scales for pair in pairs if pair.squared_scales], weight),
        pairs=tuple(pairs),
    )


def squared_scales(
    missing: np.ndarray, difference: np.ndarray, *, sd: np.ndarray, sampling: np.ndarray
) -> tuple[float, ...]:
    """Return k^2 of one pair at each of :data:`WEIGHTS`, or nothing where its controls express no gene.

    All arrays are [G], of the genes that the pair's controls express.

    Args:
        missing: y - e.
        difference: n - e.
        sd: s.
        sampling: u.
    """
    if not len(missing):
        return ()
    known = np.maximum(sd, np.finfo(np.float32).tiny) ** 2
    residuals = missing - np.array(WEIGHTS)[:, None] * difference
    needed = np.maximum((residuals / Z_OF_INTERVAL) ** 2 - sampling**2, 0.0) / known
    return tuple(np.quantile(needed, INTERVAL_LEVEL, axis=1).tolist())


def _interval_scale(measured: Sequence[tuple[float, ...]], weight: float) -> float:
    if not weight or not measured:
        return 1.0
    squares = [float(np.interp(weight, WEIGHTS, scales)) for scales in measured]
    return math.sqrt((1 + sum(squares)) / (1 + len(squares)))


def _ratio(cross: float, difference: float) -> float:
    return cross / difference if difference > 0 else 0.0


def _jackknife(cross: np.ndarray, difference: np.ndarray) -> float | None:
    """Return the jackknife's standard error of the ratio of two sums, ``None`` with a single summand."""
    num = len(cross)
    if num < 2:
        return None
    others = zip(cross.sum() - cross, difference.sum() - difference, strict=True)
    left_out = np.array([_ratio(a, b) for a, b in others])
    return math.sqrt((num - 1) / num * float(((left_out - left_out.mean()) ** 2).sum()))
