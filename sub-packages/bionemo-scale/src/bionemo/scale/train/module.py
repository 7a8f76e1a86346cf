# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The Lightning module and its optimizer."""

from typing import Any

from megatron.core.optimizer import OptimizerConfig
from nemo.lightning.pytorch.optim import CosineAnnealingScheduler, MegatronOptimizerModule

from bionemo.llm.lightning import BionemoLightningModule
from bionemo.scale.train.config import ScaleConfig
from bionemo.scale.train.step import data_step, forward_step


class ScaleLightningModule(BionemoLightningModule):
    """BioNeMo's module, with every validation step of the same weight in what is logged."""

    def log(self, *args: Any, **kwargs: Any) -> None:
        """Log a value.

        Lightning would weigh a step by the length of some array of its batch, here the number of expressed genes: the
        loss in a checkpoint's name would not be that of metrics.csv.
        """
        super().log(*args, **{"batch_size": 1, **kwargs})


def scale_lightning_module(config: ScaleConfig, optimizer: MegatronOptimizerModule) -> ScaleLightningModule:
    """Return the module that trains a SCALE model end to end."""
    return ScaleLightningModule(config=config, forward_step=forward_step, data_step=data_step, optimizer=optimizer)


def adamw_with_cosine(
    *,
    lr: float,
    max_steps: int,
    warmup_steps: int,
    weight_decay: float = 0.01,
    clip_grad: float = 1.0,
    use_distributed_optimizer: bool = False,
    bf16: bool = False,
) -> MegatronOptimizerModule:
    """Return AdamW with linear warm-up and a cosine down to a tenth of the rate.

    Args:
        lr: Highest learning rate.
        max_steps: Length of the schedule.
        warmup_steps: Steps to reach ``lr``.
        weight_decay: Not applied to biases, norms and other vectors.
        clip_grad: Largest norm of the gradient; 0 does not clip.
        use_distributed_optimizer: Shard the optimizer's state over data parallel ranks; see
            :func:`bionemo.scale.train.setup.run_folder.shards_optimizer`.
        bf16: Whether parameters are bfloat16.
    """
    return MegatronOptimizerModule(
        config=OptimizerConfig(
            optimizer="adam",
            lr=lr,
            weight_decay=weight_decay,
            adam_beta1=0.9,
            adam_beta2=0.98,
            clip_grad=clip_grad,
            bf16=bf16,
            use_distributed_optimizer=use_distributed_optimizer,
        ),
        lr_scheduler=CosineAnnealingScheduler(
            max_steps=max_steps, warmup_steps=warmup_steps, constant_steps=0, min_lr=lr / 10
        ),
    )
