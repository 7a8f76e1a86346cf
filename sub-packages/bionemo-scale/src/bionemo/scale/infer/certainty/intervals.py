# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""How far the mean of a measured population may lie from the predicted one."""

from collections.abc import Mapping, Sequence

import numpy as np

from bionemo.scale.infer.run_estimate import PlannedMeans
from bionemo.scale.types import Z_OF_INTERVAL, Group


def change_and_interval(
    averages: Sequence[Mapping[Group, float]],
    *,
    predicted: np.ndarray,
    control: np.ndarray,
    means: PlannedMeans | None,
) -> dict[str, np.ndarray]:
    """Return the predicted mean change of n conditions and its 90 % interval.

    The interval is about the true mean of the condition's cells, from the control cells that were given: the sampling
    error of those is not in it, nor that of cells that would be measured.

    Args:
        averages: Of each condition the populations with their numbers of cells.
        predicted: [n, G] their predicted means.
        control: [n, G] means of the controls that changes are counted from.
        means: The estimates; ``None`` where means were predicted without one, and have no interval.

    Returns:
        ``change`` and, with an estimate, ``sd``, ``low`` and ``high``, each [n, G] float32. No expression is below
        zero:
        ``low`` is at least the loss of all of it.
    """
    change = predicted - control
    found = {"change": change}
    if means is not None:
        sd = means.sd(predicted, means.of_averages(averages))
        found["sd"] = sd
        found["low"] = np.maximum(change - Z_OF_INTERVAL * sd, np.minimum(change, -control))
        found["high"] = change + Z_OF_INTERVAL * sd
    return {name: values.astype(np.float32) for name, values in found.items()}
