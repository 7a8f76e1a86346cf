# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The settings of a training run in parts, and the fields of its network beside a size and a preset.

A file of settings and a NeMo-Run recipe show a network with all its fields, while :class:`TrainSettings` has a size, a
preset and those fields that differ from them.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from bionemo.scale.megatron.roles import kinds
from bionemo.scale.model.config import ScaleModelConfig
from bionemo.scale.model.size.sizes import SIZES
from bionemo.scale.train.presets import PRESETS
from bionemo.scale.train.settings import TrainSettings
from bionemo.scale.train.setup.fields import parse_overrides
from bionemo.scale.types import InputError


def fields_of(*parts: str) -> tuple[str, ...]:
    """Return the fields of :class:`TrainSettings` that belong to parts of a run."""
    return tuple(field.name for field in dataclasses.fields(TrainSettings) if field.metadata["part"] in parts)


def chosen_fields() -> tuple[str, ...]:
    """Return the network's fields that a file of settings or a recipe shows."""
    chosen = {name for name, kind in kinds(ScaleModelConfig).items() if not kind.decided_by}
    sized = {name for fields in SIZES.values() for name in fields}
    return tuple(sorted(chosen & {*ScaleModelConfig.__annotations__, *sized}))


def architecture(size: str, preset: str = TrainSettings.preset) -> dict[str, Any]:
    """Return every field of a size's network that a file or a recipe shows, with its value.

    Raises:
        InputError: There is no such size or preset.
    """
    for name, value, table in (("size", size, SIZES), ("preset", preset, PRESETS)):
        if value not in table:
            raise InputError(f"model.{name} must be one of {', '.join(table)}, found {value!r}")
    defaults = {field.name: field.default for field in dataclasses.fields(ScaleModelConfig)}
    known = {**defaults, **SIZES[size], **PRESETS[preset].fields}
    return {name: known[name] for name in chosen_fields()}


def network_of(settings: TrainSettings) -> dict[str, Any]:
    """Return the fields of a run's network: all of a size, or those that change the one of a checkpoint."""
    known = {} if settings.size is None else architecture(settings.size, settings.preset)
    # Where nobody chooses it, it follows from whether a run has vectors.
    known.pop("perturbation_source", None)
    return {**known, **parse_overrides(ScaleModelConfig, settings.overrides)}


def overrides_of(fields: Mapping[str, Any], size: str | None, preset: str = TrainSettings.preset) -> dict[str, str]:
    """Return what of a network's fields differs from its size and preset, as ``--set`` has it.

    Args:
        fields: Values by field; ``None`` is as the size or the checkpoint has it.
        size: A name in :mod:`bionemo.scale.model.size.sizes`; ``None`` where nothing is known of the network.
        preset: A name in :mod:`bionemo.scale.train.presets`.

    Raises:
        InputError: There is no such size or preset.
    """
    known = {} if size is None else architecture(size, preset)
    return {name: str(value) for name, value in fields.items() if value is not None and value != known.get(name)}
