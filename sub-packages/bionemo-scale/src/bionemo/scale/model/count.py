# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""How many parameters a configuration makes, counted on a network that takes no memory."""

from torch._subclasses.fake_tensor import FakeTensorMode

from bionemo.scale.model.config import ScaleModelConfig
from bionemo.scale.model.scale_model import ScaleModel


def count_parameters(config: ScaleModelConfig) -> dict[str, int]:
    """Return the number of trained parameters of each part of the network, in the order of the computation.

    The modules are built as for training, with tensors that have a shape and no storage; process groups must be there
    (:func:`bionemo.scale.megatron.layout.model_parallel`). What tensor and pipeline parallelism split is counted on this
    rank alone.
    """
    # Megatron names its devices, so that torch's meta device cannot stand in by default; fake tensors take any.
    with FakeTensorMode():
        model = ScaleModel(config)
    parts: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            part = name.split(".")[0]
            parts[part] = parts.get(part, 0) + parameter.numel()
    return parts
