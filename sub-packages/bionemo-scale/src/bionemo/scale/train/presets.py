# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Named settings of a training run: the paper's, and this package's own.

docs/model.md has a row for every difference, with its reason and what was measured.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any


WRITTEN_PRESET = "values_of_preset"
"""Beside values that a command or a recipe wrote out: the preset that they belong to."""


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Values in place of the defaults; a value that a user gives goes before them."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of :class:`bionemo.scale.train.settings.TrainSettings`, as
    :func:`bionemo.scale.recipes.defaults.train_settings` makes them."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Of :class:`bionemo.scale.model.config.ScaleModelConfig`."""


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "default": Preset(),
        "paper": Preset(
            settings={"sets": "mixed", "weighting": "proportional", "control_share": 0.0, "blind_share": 0.0},
            fields={
                "label_scale": 1.0,
                "condition_bias": False,
                "condition_qk_norm": False,
                "condition_injection": "token",
                "latent_norm": False,
                "transport_norm": False,
                "decoder_bias": "zero",
                "cell_type_dropout": 0.0,
                "batch_dropout": 0.0,
                "covariate_dropout": 0.0,
                "start_share": 0.0,
                "endpoint_weight": 0.0,
                "ema_decay": 0.0,
                "generation": "decode",
                "additive_share": 0.0,
                "counted_zeros": False,
            },
        ),
    }
)
"""By name. What "paper" leaves out is in the defaults as the paper has it, or the paper does not say."""
