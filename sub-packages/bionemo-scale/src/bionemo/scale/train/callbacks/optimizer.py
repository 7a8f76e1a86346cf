# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""How the optimizer goes over the weights."""

from collections.abc import Iterator
from typing import Any

import lightning.pytorch as pl
import torch


class FusedOptimizer(pl.Callback):
    """Lets torch's AdamW update a weight in one pass over memory, where Megatron asks for a dozen.

    Megatron has no option for it. A checkpoint that was written without it brings its own choice back, so this one is
    made after a run has been restored.
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Choose the fused kernel for every group of weights."""
        for optimizer in trainer.optimizers:
            for inner in _torch_optimizers(optimizer):
                for group in inner.param_groups:
                    group.update(fused=True, foreach=False)


def _torch_optimizers(optimizer: Any) -> Iterator[torch.optim.AdamW]:
    """Yield what lies below NeMo's and Megatron's wrappers; Transformer Engine's optimizer is fused by itself."""
    inner = getattr(optimizer, "mcore_optimizer", optimizer)
    for each in getattr(inner, "chained_optimizers", [inner]):
        found = getattr(each, "optimizer", each)
        if isinstance(found, torch.optim.AdamW):
            yield found
