# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The Lightning module and its optimizer."""

from collections.abc import Callable
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


def build(target: Callable[..., Any], **fields: Any) -> Any:
    """Make an object of a class at once; ``nemo_run.Config`` in its place leaves a recipe that makes it."""
    return target(**fields)


def adamw_with_cosine(
    *,
    lr: float,
    warmup_steps: int,
    max_steps: int | None = None,
    weight_decay: float = 0.01,
    clip_grad: float = 1.0,
    use_distributed_optimizer: bool | None = None,
    bf16: bool = False,
    make: Callable[..., Any] = build,
) -> Any:
    """Return AdamW with linear warm-up and a cosine down to a tenth of the rate.

    Args:
        lr: Highest learning rate.
        warmup_steps: Steps to reach ``lr``.
        max_steps: Length of the schedule; with ``None`` :func:`settle` makes it that of a run.
        weight_decay: Not applied to biases, norms and other vectors.
        clip_grad: Largest norm of the gradient; 0 does not clip.
        use_distributed_optimizer: Shard the optimizer's state over data parallel ranks, see
            :func:`bionemo.scale.train.setup.run_folder.shards_optimizer`; ``None`` leaves it to :func:`settle`.
        bf16: Whether parameters are bfloat16.
        make: What is called with each class and its arguments.

    Returns:
        A :class:`MegatronOptimizerModule`, or what ``make`` leaves of it.
    """
    config = make(
        OptimizerConfig,
        optimizer="adam",
        lr=lr,
        weight_decay=weight_decay,
        adam_beta1=0.9,
        adam_beta2=0.98,
        clip_grad=clip_grad,
        bf16=bf16,
        use_distributed_optimizer=use_distributed_optimizer,
    )
    scheduler = make(
        CosineAnnealingScheduler,
        max_steps=max_steps,
        warmup_steps=warmup_steps,
        constant_steps=0,
        min_lr=None if max_steps is None else lr / 10,
    )
    return make(MegatronOptimizerModule, config=config, lr_scheduler=scheduler)


def settle(optimizer: MegatronOptimizerModule, *, max_steps: int, is_sharded: bool, bf16: bool) -> None:
    """Fill in what of an optimizer follows from the run, where nobody chose it.

    Args:
        optimizer: Of a recipe. Of a schedule without a length the warm-up takes at most a tenth of the run.
        max_steps: Of the run.
        is_sharded: Whether data parallel ranks share the optimizer's state; see
            :func:`bionemo.scale.train.setup.run_folder.shards_optimizer`.
        bf16: Whether parameters are bfloat16.
    """
    config, scheduler = optimizer.config, optimizer.lr_scheduler
    config.bf16 = bf16
    if config.use_distributed_optimizer is None:
        config.use_distributed_optimizer = is_sharded
    if isinstance(scheduler, CosineAnnealingScheduler) and scheduler.max_steps is None:
        scheduler.max_steps = max_steps
        scheduler.warmup_steps = max(1, min(scheduler.warmup_steps, max_steps // 10))
    if isinstance(scheduler, CosineAnnealingScheduler) and scheduler.min_lr is None:
        scheduler.min_lr = config.lr / 10
