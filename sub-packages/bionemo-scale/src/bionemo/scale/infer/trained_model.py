# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""From a run folder or checkpoint to a model that predicts."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bionemo.scale.data.labels.agents import agents_of
from bionemo.scale.files.labels.grammar import grammar_of
from bionemo.scale.flow.prior import PRIORS
from bionemo.scale.infer.run_estimate import RunEstimate, read_estimate
from bionemo.scale.infer.settings import Precision, SpecName
from bionemo.scale.megatron.kernels import PRECISIONS, choose_layer_spec
from bionemo.scale.model.checkpoint import find_checkpoint, load_network, read_config
from bionemo.scale.model.config import ScaleModelConfig
from bionemo.scale.model.scale_model import ScaleModel, held
from bionemo.scale.types import DataCard, InputError


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A trained network, what it was trained on, where it came from and how it multiplies."""

    model: ScaleModel
    card: DataCard
    path: Path
    precision: Precision = "fp32"
    estimate: RunEstimate | None = None
    """Of the run; ``None`` predicts means with the network and the additive share."""

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.model.parameters()).device


_FP8 = {"fp8": "fp8-current", "mxfp8": "mxfp8"}
"""Precisions of training that scale each tensor by its own values: a prediction has no earlier steps to scale by."""


def load_model(
    path: Path,
    *,
    precision: Precision = "fp32",
    spec: SpecName = "auto",
    network_weight: float | None = None,
    **run_fields: Any,
) -> LoadedModel:
    """Rebuild the network of a checkpoint on this process's part of the model parallel layout.

    Args:
        path: Run folder or checkpoint.
        precision: Of matrix products; weights stay float32.
        spec: Layers of the blocks.
        network_weight: Of the network's mean beside the run's classical estimate; ``None`` is the measured one.
        run_fields: Configuration fields that are the caller's to choose: generation, additive_share,
            num_generation_steps, num_generation_samples, solver; ``None`` leaves one as trained.

    Raises:
        InputError: If the checkpoint is missing, incomplete, damaged or of another architecture, if it has no
            stochastic prior to draw from several times or no use for an additive share, or if this machine or the
            network's widths do not have the precision.
    """
    checkpoint = find_checkpoint(path)
    trained, card = read_config(checkpoint)
    layer_spec = choose_layer_spec(spec, precision)
    config = _with_fields(
        trained, {name: value for name, value in run_fields.items() if value is not None}, checkpoint
    )
    if precision in _FP8:
        config = _with_fp8(config, _FP8[precision], checkpoint)
    model = load_network(config, checkpoint, layer_spec=layer_spec)
    _average_untrained(model, card)
    device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    # Who asks for a share of the additive effect asks for the network beside it.
    estimate = None
    if run_fields.get("additive_share") is None:
        estimate = read_estimate(checkpoint, config, card, network_weight=network_weight)
    elif network_weight is not None:
        raise InputError("--additive-share, --network-weight: expected one of the two, found both")
    return LoadedModel(
        model=model.to(device).eval(), card=card, path=checkpoint, precision=precision, estimate=estimate
    )


def _average_untrained(model: ScaleModel, card: DataCard) -> None:
    if card.untrained_agents is None or model.condition_encoder is None:
        return
    names = frozenset(card.untrained_agents)
    agents = agents_of(card.perturbations, grammar_of(card)).names
    held(model.condition_encoder).perturbation.average_untrained(
        {row for row, name in enumerate(agents) if name in names}
    )


def _with_fields(trained: ScaleModelConfig, chosen: dict[str, Any], checkpoint: Path) -> ScaleModelConfig:
    try:
        config = dataclasses.replace(trained, **chosen)
    except ValueError as error:
        raise InputError(f"{checkpoint}: {error}") from error
    if config.prior not in PRIORS:
        raise InputError(f"{checkpoint}: expected one of the priors {', '.join(PRIORS)}, found {config.prior!r}")
    if config.num_generation_samples > 1 and config.prior == "control":
        raise InputError(
            f"{checkpoint}: several samples need a stochastic prior, found prior='control', which gives the same each "
            "time"
        )
    if "additive_share" in chosen and config.generation != "contrast":
        raise InputError(
            f"{checkpoint}: an additive share needs generation='contrast', found generation={config.generation!r}, "
            "which predicts with the network alone"
        )
    return config


def _with_fp8(config: ScaleModelConfig, precision: str, checkpoint: Path) -> ScaleModelConfig:
    wanted = PRECISIONS[precision]
    try:
        fields: dict[str, Any] = {"layer_spec": "te", "fp8": wanted.fp8, "fp8_recipe": wanted.recipe}
        return dataclasses.replace(config, **fields)
    except ValueError as error:
        raise InputError(f"{checkpoint}: {error}") from error
