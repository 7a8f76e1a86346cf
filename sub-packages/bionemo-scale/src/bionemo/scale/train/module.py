# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The Lightning module and its optimizer."""

from pathlib import Path

import megatron.core.optimizer
import torch
import yaml
from megatron.core.optimizer import OptimizerConfig
from nemo.lightning.pytorch.optim import CosineAnnealingScheduler, MegatronOptimizerModule

from bionemo.llm.lightning import BionemoLightningModule
from bionemo.scale.train.config import ScaleConfig
from bionemo.scale.train.step import data_step, forward_step
from bionemo.scale.types import InputError


def shards_optimizer(run_dir: Path) -> bool:
    """Return whether a run's optimizer state is sharded over its data parallel ranks: as it began, else where it can be.

    Megatron's distributed optimizer needs a fused Adam, of Transformer Engine or Apex. Where Megatron has to take torch's,
    it saves a checkpoint and cannot load it: torch's Adam knows no step before its first one.

    Raises:
        InputError: The run began with shards, and this machine has no fused Adam.
    """
    path = run_dir / "config.yaml"
    before = yaml.safe_load(path.read_text()).get("optimizer", "whole") if path.exists() else None
    if before == "sharded" and not _has_fused_adam():
        raise InputError(
            f"{path}: the run's optimizer state is sharded, which needs a CUDA device and Transformer Engine, found "
            "none; --from-checkpoint begins a new run with its weights"
        )
    return _has_fused_adam() if before is None else before == "sharded"


def _has_fused_adam() -> bool:
    return torch.cuda.is_available() and not megatron.core.optimizer.USING_PYTORCH_OPTIMIZER


def scale_lightning_module(config: ScaleConfig, optimizer: MegatronOptimizerModule) -> BionemoLightningModule:
    """Return the module that trains a SCALE model end to end."""
    return BionemoLightningModule(config=config, forward_step=forward_step, data_step=data_step, optimizer=optimizer)


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
            :func:`shards_optimizer`.
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
