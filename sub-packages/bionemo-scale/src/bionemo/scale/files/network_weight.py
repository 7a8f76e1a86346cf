# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The file of a run that says how far predicted means follow the network."""

from pathlib import Path
from typing import NamedTuple

from bionemo.scale.files.text import read_json
from bionemo.scale.types import InputError


WEIGHT_NAME = "network_weight.json"
"""In a run folder: what was measured of the network on groups that it had not seen."""


class MeasuredWeight(NamedTuple):
    """What a prediction reads of network_weight.json."""

    network_weight: float
    interval_scale: float
    """1 in runs of releases that did not measure it."""


def measured_weight(run: Path) -> MeasuredWeight | None:
    """Return the network's weight as it was measured, ``None`` where it was not.

    Raises:
        InputError: If the file is damaged.
    """
    path = run / WEIGHT_NAME
    if not path.is_file():
        return None
    try:
        values = read_json(path)
        found = MeasuredWeight(float(values["network_weight"]), float(values.get("interval_scale", 1.0)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: cannot be read as the network's weight: {error}") from error
    if not 0 <= found.network_weight <= 1:
        raise InputError(f"{path}: expected a network_weight of 0 to 1, found {found.network_weight}")
    if not 0 < found.interval_scale < float("inf"):
        raise InputError(f"{path}: expected an interval_scale above 0, found {found.interval_scale}")
    return found
