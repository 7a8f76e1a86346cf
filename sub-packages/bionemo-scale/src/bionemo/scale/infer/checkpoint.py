# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""From a run folder or checkpoint to a model that predicts."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bionemo.scale.model.checkpoint import find_checkpoint, load_network, read_config
from bionemo.scale.model.scale_model import ScaleModel
from bionemo.scale.types import DataCard, InputError


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A trained network, what it was trained on and where it came from."""

    model: ScaleModel
    card: DataCard
    path: Path


def load_model(path: Path, **run_fields: Any) -> LoadedModel:
    """Rebuild the network of a checkpoint on this process's part of the model parallel layout.

    Args:
        path: Run folder or checkpoint.
        run_fields: Configuration fields that are the caller's to choose: generation, num_generation_steps,
            num_generation_samples, solver; ``None`` leaves one as trained.

    Raises:
        InputError: If the checkpoint is missing, incomplete, damaged or of another architecture, or has no noise to
            draw several times.
    """
    checkpoint = find_checkpoint(path)
    trained, card = read_config(checkpoint)
    config = dataclasses.replace(trained, **{name: value for name, value in run_fields.items() if value is not None})
    if config.num_generation_samples > 1 and config.prior == "control":
        raise InputError(
            f"{checkpoint}: several samples need a stochastic prior, found prior='control', which gives the same each time"
        )
    model = load_network(config, checkpoint)
    device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    return LoadedModel(model=model.predictor.to(device).eval(), card=card, path=checkpoint)
