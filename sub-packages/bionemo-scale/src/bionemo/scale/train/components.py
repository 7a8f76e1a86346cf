# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The objects of NeMo that a training consists of, from its settings.

Each function takes ``make``, which is called with a class and its arguments. By default it makes the object;
``nemo_run.Config`` instead leaves a recipe that makes the same object, after a user has changed it.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from nemo import lightning as nl
from nemo.lightning.pytorch.optim import MegatronOptimizerModule

from bionemo.scale.data.sets.datamodule import ScaleDataModule
from bionemo.scale.data.sets.sampler import Sampling
from bionemo.scale.files.labels.grammar import Grammar
from bionemo.scale.megatron.kernels import PRECISIONS
from bionemo.scale.train.module import adamw_with_cosine, build, settle
from bionemo.scale.train.settings import TrainSettings
from bionemo.scale.train.step import places_length


Make = Callable[..., Any]


class Components(NamedTuple):
    """The objects of one training."""

    data: ScaleDataModule
    optimizer: MegatronOptimizerModule
    trainer: nl.Trainer


def components(settings: TrainSettings, *, grammar: Grammar, is_sharded: bool, has_validation: bool) -> Components:
    """Return the objects of a run.

    Args:
        settings: Of the run.
        grammar: How labels are read.
        is_sharded: Whether data parallel ranks share the optimizer's state.
        has_validation: Whether the store has cells to validate with.
    """
    data = data_module(settings)
    if data.sampling.blind is not None:
        data.sampling = replace(data.sampling, blind=data.sampling.blind.read_by(grammar))
    made = Components(data, optimizer(settings, is_sharded=is_sharded), trainer(settings))
    _fit(made.trainer, settings, has_validation=has_validation)
    return made


def settled(made: Components, settings: TrainSettings, *, is_sharded: bool, has_validation: bool) -> Components:
    """Return objects that a user composed, with what in them follows from the run; its settings are theirs."""
    dtype = PRECISIONS[settings.precision].dtype
    settle(made.optimizer, max_steps=settings.max_steps, is_sharded=is_sharded, bf16=dtype is torch.bfloat16)
    made.data.seq_length = made.data.data_sampler.seq_len = places_length(settings)
    made.trainer.strategy.pipeline_dtype = dtype
    _fit(made.trainer, settings, has_validation=has_validation)
    return made


def _fit(trainer: nl.Trainer, settings: TrainSettings, *, has_validation: bool) -> None:
    trainer.val_check_interval = min(settings.val_interval, settings.max_steps)
    if not has_validation:
        trainer.limit_val_batches = 0


def accelerator() -> str:
    """Return what this machine trains on."""
    return "gpu" if torch.cuda.is_available() else "cpu"


def process_group_backend() -> str:
    """Return what connects the processes of this machine."""
    return "nccl" if torch.cuda.is_available() else "gloo"


def saves_in_background(choice: str) -> bool:
    """Return whether training continues while a checkpoint is written, by what ``--async-checkpoints`` says."""
    return torch.cuda.is_available() if choice == "auto" else choice == "on"


def data_module(settings: TrainSettings, make: Make = build) -> Any:
    """Return a :class:`ScaleDataModule`, or what ``make`` leaves of it."""
    sampling = make(
        Sampling, sets=settings.sets, weighting=settings.weighting, control_share=settings.control_share,
        share_controls=settings.share_controls, blind=settings.left_out,
    )  # fmt: skip
    return make(
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


def optimizer(settings: TrainSettings, *, is_sharded: bool) -> MegatronOptimizerModule:
    """Return AdamW and its schedule.

    Args:
        settings: Of the run.
        is_sharded: Whether data parallel ranks share its state.
    """
    module: MegatronOptimizerModule = adamw_with_cosine(
        lr=settings.lr,
        max_steps=settings.max_steps,
        warmup_steps=max(1, min(settings.warmup_steps, settings.max_steps // 10)),
        weight_decay=settings.weight_decay,
        use_distributed_optimizer=is_sharded,
        bf16=PRECISIONS[settings.precision].dtype is torch.bfloat16,
    )
    return module


def trainer(settings: TrainSettings, make: Make = build) -> Any:
    """Return a :class:`nemo.lightning.Trainer` without callbacks and loggers, or what ``make`` leaves of it."""
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
    return make(
        nl.Trainer,
        accelerator=make(accelerator),
        devices=settings.devices,
        num_nodes=settings.num_nodes,
        strategy=strategy,
        plugins=precision_plugin(settings.precision, make),
        max_steps=settings.max_steps,
        accumulate_grad_batches=1,
        val_check_interval=settings.val_interval,
        num_sanity_val_steps=0,
        log_every_n_steps=settings.log_interval,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        logger=False,
    )


def precision_plugin(name: str, make: Make = build) -> Any:
    """Return the plugin that tells NeMo of a precision; ``None`` is single precision, which NeMo has by itself."""
    fields = PRECISIONS[name].config_fields()
    if not fields.pop("bf16"):
        return None
    # Gradients are summed over micro-batches and ranks in float32.
    return make(nl.MegatronMixedPrecision, precision="bf16-mixed", grad_reduce_in_fp32=True, **fields)
