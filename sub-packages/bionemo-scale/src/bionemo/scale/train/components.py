# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The objects of NeMo that a training consists of, from its settings.

Each function takes ``make``, which is called with a class and its arguments. By default it makes the object;
``nemo_run.Config`` instead leaves a recipe that makes the same object, after a user has changed it.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from nemo import lightning as nl
from nemo.lightning.pytorch.optim import MegatronOptimizerModule

from bionemo.scale.data.sets.datamodule import ScaleDataModule
from bionemo.scale.data.sets.sampler import Sampling
from bionemo.scale.megatron.kernels import PRECISIONS
from bionemo.scale.train.module import adamw_with_cosine
from bionemo.scale.train.settings import TrainSettings
from bionemo.scale.train.step import places_length


Made = TypeVar("Made")
Make = Callable[..., Any]


def build(target: Callable[..., Made], **fields: Any) -> Made:
    """Make an object at once."""
    return target(**fields)


def accelerator() -> str:
    """Return what this machine trains on."""
    return "gpu" if torch.cuda.is_available() else "cpu"


def process_group_backend() -> str:
    """Return what connects the processes of this machine."""
    return "nccl" if torch.cuda.is_available() else "gloo"


def saves_in_background(choice: str) -> bool:
    """Return whether training continues while a checkpoint is written, by what ``--async-checkpoints`` says."""
    return torch.cuda.is_available() if choice == "auto" else choice == "on"


def data_module(settings: TrainSettings, make: Make = build) -> ScaleDataModule:
    """Return the sets of cells."""
    sampling = make(
        Sampling, sets=settings.sets, weighting=settings.weighting, control_share=settings.control_share,
        blind=settings.left_out,
    )  # fmt: skip
    module: ScaleDataModule = make(
        ScaleDataModule,
        store=settings.store,
        set_size=settings.set_size,
        micro_batch_size=settings.micro_batch_size,
        global_batch_size=settings.global_batch_size,
        seq_length=places_length(settings),
        seed=settings.seed,
        num_workers=settings.num_workers,
        sampling=sampling,
    )
    return module


def optimizer(settings: TrainSettings, *, is_sharded: bool) -> MegatronOptimizerModule:
    """Return AdamW and its schedule.

    Args:
        settings: Of the run.
        is_sharded: Whether data parallel ranks share its state.
    """
    return adamw_with_cosine(
        lr=settings.lr,
        max_steps=settings.max_steps,
        warmup_steps=max(1, min(settings.warmup_steps, settings.max_steps // 10)),
        weight_decay=settings.weight_decay,
        use_distributed_optimizer=is_sharded,
        bf16=PRECISIONS[settings.precision].dtype is torch.bfloat16,
    )


def trainer(settings: TrainSettings, make: Make = build) -> nl.Trainer:
    """Return NeMo's trainer, without callbacks and loggers."""
    strategy = make(
        nl.MegatronStrategy,
        tensor_model_parallel_size=settings.tensor_parallel,
        pipeline_model_parallel_size=settings.pipeline_parallel,
        pipeline_dtype=PRECISIONS[settings.precision].dtype,
        process_group_backend=make(process_group_backend),
        ddp="megatron",
        gradient_as_bucket_view=True,
        ckpt_async_save=make(saves_in_background, choice=settings.async_checkpoints),
        ckpt_parallel_load=True,
        # Another number of tensor or pipeline parallel processes can continue a sharded optimizer too.
        ckpt_optim_fully_reshardable=True,
    )
    made: nl.Trainer = make(
        nl.Trainer,
        accelerator=make(accelerator),
        devices=settings.devices,
        num_nodes=settings.num_nodes,
        strategy=strategy,
        plugins=precision_plugin(settings.precision, make),
        max_steps=settings.max_steps,
        accumulate_grad_batches=1,
        val_check_interval=min(settings.val_interval, settings.max_steps),
        num_sanity_val_steps=0,
        log_every_n_steps=settings.log_interval,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        logger=False,
    )
    return made


def precision_plugin(name: str, make: Make = build) -> nl.MegatronMixedPrecision | None:
    """Return what tells NeMo of a precision; single precision is what it does by itself."""
    fields = PRECISIONS[name].config_fields()
    if not fields.pop("bf16"):
        return None
    # Gradients are summed over micro-batches and ranks in float32.
    plugin: nl.MegatronMixedPrecision = make(
        nl.MegatronMixedPrecision, precision="bf16-mixed", grad_reduce_in_fp32=True, **fields
    )
    return plugin
