# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The running average of the weights during training."""

from typing import Any

import lightning.pytorch as pl

from bionemo.scale.train.averaged import AveragedModel


class WeightAverage(pl.Callback):
    """Lets the average of a network that keeps one follow every optimizer step."""

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """Update the average; the network lies under what NeMo and Megatron wrapped it in."""
        for module in pl_module.modules():
            if isinstance(module, AveragedModel):
                module.update_average(trainer.global_step)
