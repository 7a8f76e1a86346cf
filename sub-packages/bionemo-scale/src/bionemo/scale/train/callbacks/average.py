# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The running average of the weights during training."""

from typing import Any

import lightning.pytorch as pl

from bionemo.scale.train.averaged import AveragedModel, Follow


class WeightAverage(pl.Callback):
    """Lets the average of a network that keeps one follow every optimizer step."""

    def __init__(self) -> None:
        super().__init__()
        self._follow: list[Follow] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Find the network under what NeMo and Megatron wrapped it in, once it has its final tensors."""
        self._follow = [module.follower() for module in pl_module.modules() if isinstance(module, AveragedModel)]

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """Update the average."""
        for follow in self._follow:
            follow(trainer.global_step)
