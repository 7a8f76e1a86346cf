# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a configuration comes to, counted on a network that takes no memory."""

from dataclasses import dataclass

from torch._subclasses.fake_tensor import FakeTensorMode

from bionemo.scale.model.config import ScaleModelConfig
from bionemo.scale.model.scale_model import ScaleModel


@dataclass(frozen=True, kw_only=True)
class TensorCount:
    """Numbers that a network holds, without its running average."""

    parameters: dict[str, int]
    """Trained numbers of each part, in the order of the computation."""
    effects: int
    """Numbers of the training data's effects, which stay single precision in any network."""
    floating_buffers: int
    """Other numbers that are not trained: features and their scale, doses."""
    integer_buffers: int
    """Indices, 64 bits each."""


def count_tensors(config: ScaleModelConfig) -> TensorCount:
    """Count the tensors of a network.

    The modules are built as for training, with tensors that have a shape and no storage; process groups must be there
    (:func:`bionemo.scale.megatron.layout.model_parallel`). What tensor and pipeline parallelism split is counted on
    this rank alone.
    """
    # Megatron names its devices, so that torch's meta device cannot stand in by default; fake tensors take any.
    with FakeTensorMode():
        model = ScaleModel(config)
    parts: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        part = name.split(".")[0]
        parts[part] = parts.get(part, 0) + parameter.numel()
    buffers = list(model.buffers())
    floating = sum(buffer.numel() for buffer in buffers if buffer.is_floating_point())
    return TensorCount(
        parameters=parts,
        effects=model.effects.numel(),
        floating_buffers=floating - model.effects.numel(),
        integer_buffers=sum(buffer.numel() for buffer in buffers) - floating,
    )


def count_parameters(config: ScaleModelConfig) -> dict[str, int]:
    """Return the number of trained parameters of each part of the network; see :func:`count_tensors`."""
    return count_tensors(config).parameters
