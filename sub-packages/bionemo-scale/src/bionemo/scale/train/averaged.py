# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The network that is trained: SCALE with a running average of its weights beside them."""

import copy
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from bionemo.scale.model.config import ScaleModelConfig
from bionemo.scale.model.scale_model import ScaleModel


Follow = Callable[[int], None]
"""Takes the number of optimizer steps so far."""


class AveragedModel(ScaleModel):
    """A network and, where the configuration asks for one (``ema_decay``), the average that follows its weights.

    The average is the network that predicts. It is saved beside the weights, under ``average.`` and their names.
    """

    def __init__(self, config: ScaleModelConfig, *, pre_process: bool = True, post_process: bool = True):
        super().__init__(config, pre_process=pre_process, post_process=post_process)
        self.merged: dict[str, Callable[[], Tensor]] = {}
        """By name of a tensor of the average: what it follows where that is not this network's tensor of the same
        name."""
        self.average = _average_of(self) if config.ema_decay else None

    @property
    def predictor(self) -> ScaleModel:
        """The network that predicts: the running average of the weights where one is kept, else this one."""
        return self if self.average is None else self.average

    def update_average(self, step: int) -> None:
        """Let the average follow the weights: ``average = d average + (1 - d) weights``.

        Early on d is smaller, step / (step + 9), so that the average starts as a copy and soon forgets the first
        weights. Without an average nothing is done.

        Args:
            step: Optimizer steps so far.
        """
        self.follower()(step)

    def follower(self) -> Follow:
        """Return :meth:`update_average` for the tensors that the network has now, which it need not look for again."""
        if self.average is None:
            return lambda step: None
        here = _tensors(self)
        numbers: _Pairs = []
        others: _Pairs = []
        for name, value in _tensors(self.average).items():
            source = self.merged.get(name, partial(here.get, name))
            (numbers if value.is_floating_point() else others).append((value, source))
        return partial(_follow, numbers=numbers, others=others, ema_decay=self.config.ema_decay)


class _Average(ScaleModel):
    """A network that no gradient reaches, always in single precision."""

    def bfloat16(self) -> ScaleModel:
        """Stay as it is: the steps of an average are too small for the 8 bits of bfloat16."""
        return self


def _average_of(model: ScaleModel) -> ScaleModel:
    config = copy.copy(model.config)
    config.params_dtype, config.bf16, config.fp8 = torch.float32, False, None
    average = _Average(config, pre_process=model.pre_process, post_process=model.post_process)
    return average.requires_grad_(False)


def _tensors(model: ScaleModel) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


_Pairs = list[tuple[Tensor, Callable[[], Tensor]]]


@torch.no_grad()
def _follow(step: int, *, numbers: _Pairs, others: _Pairs, ema_decay: float) -> None:
    decay = min(ema_decay, step / (step + 9))
    for value, source in others if decay > 0 else [*others, *numbers]:
        # Not an average of step 0: Megatron leaves new weights as the memory was, and a NaN would never leave.
        value.copy_(source())
    if decay > 0:
        values = [value for value, _ in numbers]
        torch._foreach_lerp_(values, [source().to(value.dtype) for value, source in numbers], 1 - decay)
