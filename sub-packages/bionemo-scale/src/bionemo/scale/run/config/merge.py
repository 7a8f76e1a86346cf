# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What was chosen on top of sections or a file of settings."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bionemo.scale.options.fields import options_of
from bionemo.scale.options.values import checked
from bionemo.scale.train.presets import WRITTEN_PRESET
from bionemo.scale.train.settings import TrainSettings
from bionemo.scale.types import InputError


def with_written_preset(held: Mapping[str, Any], written: Any, *, key: str = "preset") -> dict[str, Any]:
    """Return values with the preset that a command wrote them for.

    A file of all settings holds what its preset decides, and would keep it under another name. What nobody wrote a
    preset for may have any values: each goes before its preset's.

    Args:
        held: Values by field of :class:`TrainSettings`.
        written: The preset that they were written for; ``None`` where no command wrote them.
        key: What a refusal calls the preset.

    Raises:
        InputError: The preset is another one now.
    """
    if written is None:
        return dict(held)
    preset = written_preset(written)
    if held.get("preset", preset) != preset:
        raise InputError(
            f"{key}: expected {preset}, whose values the other keys have, found {held['preset']}; write another file "
            f"by bionemo-scale-recipe --preset {held['preset']}"
        )
    return {**held, "preset": preset}


def written_preset(value: Any) -> str:
    """Check the name of a preset that values were written for.

    Raises:
        InputError: There is no such preset.
    """
    preset = next(option for option in options_of(TrainSettings) if option.name == "preset")
    return str(checked(replace(preset, flag=WRITTEN_PRESET), value))


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
