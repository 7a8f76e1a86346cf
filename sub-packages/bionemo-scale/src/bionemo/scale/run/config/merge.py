# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What was chosen on top of sections or a file of settings."""

from collections.abc import Mapping
from typing import Any

from bionemo.scale.recipes.defaults import preset_held
from bionemo.scale.types import InputError


def check_preset(held: Mapping[str, Any], network: Mapping[str, Any] | None, *, key: str = "preset") -> None:
    """Refuse a preset that was changed where all values of another one are written out.

    Args:
        held: Values by field of :class:`TrainSettings`.
        network: Values by field of the network; ``None`` where they are not written out.
        key: What a refusal calls the preset.

    Raises:
        InputError: Naming both presets.
    """
    other = preset_held(held["preset"], held, network) if "preset" in held else None
    if other is not None:
        raise InputError(
            f"{key}: expected {other}, whose values the other keys have, found {held['preset']}; write another file "
            f"by bionemo-scale-recipe --preset {held['preset']}"
        )


def merged(
    held: Mapping[str, Any], chosen: Mapping[str, Any], *, holder: str, advice: str, mark: str = ""
) -> dict[str, Any]:
    """Return values by field of :class:`TrainSettings`: those chosen, then those held; overrides one by one.

    Args:
        held: Values of sections or of a file.
        chosen: Values of a command line or of Python.
        holder: What holds the first, as a refusal names it.
        advice: What to do for another size or preset.
        mark: What a refusal writes before the name of a field.

    Raises:
        InputError: Another size or preset is chosen. What follows from the held one is held too, and would stay.
    """
    # None is what a size is that nobody names.
    chosen = {name: value for name, value in chosen.items() if name != "size" or value is not None}
    for name in ("size", "preset"):
        if name in held and name in chosen and chosen[name] != held[name]:
            raise InputError(f"{mark}{name}: expected {held[name]} as {holder}, found {chosen[name]}; {advice}")
    overrides = {**held.get("overrides", {}), **chosen.get("overrides", {})}
    return {**held, **chosen, "overrides": {name: str(value) for name, value in overrides.items()}}
