# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""One training run, from what was resolved to a run folder.

Importing this module imports NeMo, which takes 15 s or so; install the CPU backend first where there is no GPU.
"""

import os
import zlib
from pathlib import Path
from typing import Any, TextIO

from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from nemo import lightning as nl
from nemo.collections import llm

from bionemo.scale.estimate.storage import ESTIMATE_NAME
from bionemo.scale.megatron import writers
from bionemo.scale.train.callbacks.average import WeightAverage
from bionemo.scale.train.callbacks.dropout import DropoutSeed
from bionemo.scale.train.callbacks.optimizer import FusedOptimizer
from bionemo.scale.train.callbacks.progress import RunMonitor, StopOnSignal, TrainableReport
from bionemo.scale.train.callbacks.retention import checkpointing, resuming
from bionemo.scale.train.callbacks.stopping import TrainingInterrupted
from bionemo.scale.train.components import Components, components, settled
from bionemo.scale.train.config import ScaleConfig
from bionemo.scale.train.finetune.start import note_earlier, report
from bionemo.scale.train.module import scale_lightning_module
from bionemo.scale.train.settings import TrainSettings
from bionemo.scale.train.setup.resolve import ResolvedRun
from bionemo.scale.train.setup.run_folder import write_estimate, write_run_folder


def train(run: ResolvedRun, stream: TextIO, given: Components | None = None) -> Path:
    """Train to ``settings.max_steps``, from where the run folder stands.

    Args:
        run: The run.
        stream: Where progress is shown.
        given: NeMo's objects that a user composed, whose settings the run has; without them the run's own.

    Returns:
        The run folder: metrics.csv, config.yaml, split.json, checkpoints/, tensorboard/, logs/.

    Raises:
        TrainingInterrupted: If a signal ended it early; the same call continues.
        TrainingStopped: If the loss is no number any more, or has exploded.
    """
    settings = run.settings
    write_run_folder(settings, run.described, run.card, training=run.training, perturbations=run.perturbations)
    if os.environ.get("RANK", "0") == "0" and run.fields.get("generation", "contrast") == "contrast":
        if not (settings.out / ESTIMATE_NAME).exists():
            stream.write("estimate  of the means of perturbations, fitted once before the network is trained\n")
        told = run.perturbations.agent_features(run.training, run.grammar, control=run.card.control)
        write_estimate(settings.out, run.card, run.training, grammar=run.grammar, features=told)
    if settings.from_checkpoint is not None and os.environ.get("RANK", "0") == "0":
        note_earlier(settings.out, settings.from_checkpoint)
    if run.matches is not None and run.start is not None and os.environ.get("RANK", "0") == "0":
        stream.write(report(settings, run.start, run.matches))
    facts = {"is_sharded": run.is_sharded, "has_validation": run.has_validation}
    if given is None:
        made = components(settings, grammar=run.grammar, **facts)
    else:
        made = settled(given, settings, **facts)
    trainer = made.trainer
    _add_records(trainer, settings, stream)
    writers.install()
    stopper = StopOnSignal()
    # As the monitor: not an argument, so that the checkpoint's context does not hold it.
    trainer.callbacks.append(stopper)
    if any(run.fields.get(name) for name in ("hidden_dropout", "attention_dropout")):
        # Nothing else draws from these states, and Megatron takes 4 ms to seed them.
        trainer.callbacks.append(DropoutSeed(settings.seed))
    if run.matches is not None:
        trainer.callbacks.append(TrainableReport(stream))
    try:
        llm.train(
            model=scale_lightning_module(_config(run), made.optimizer),
            data=made.data,
            trainer=trainer,
            log=nl.NeMoLogger(
                explicit_log_dir=str(settings.out / "logs" / "nemo"),
                update_logger_directory=False,
                ckpt=checkpointing(settings, has_validation=run.has_validation),
            ),
            resume=resuming(settings),
        )
    finally:
        stopper.restore()
    if stopper.received is not None and trainer.global_step < settings.max_steps:
        raise TrainingInterrupted(
            f"stopped by {stopper.received} and saved at step {trainer.global_step} of {settings.max_steps}"
        )
    return settings.out


def _config(run: ResolvedRun) -> ScaleConfig:
    return ScaleConfig(
        **run.fields,
        data_card=run.card.to_json(),
        frozen=",".join(run.settings.freeze),
        lora=run.settings.lora,
        start_from="" if run.matches is None or run.start is None else str(run.start.path),
    )


def _add_records(trainer: nl.Trainer, settings: TrainSettings, stream: TextIO) -> None:
    """Add loggers and callbacks that every run has."""
    own: list[Any] = [TensorBoardLogger(save_dir=str(settings.out), name="tensorboard", version="")]
    trainer.loggers = [*trainer.loggers, *own, *([_wandb(settings)] if settings.wandb else [])]
    # Not arguments: NeMo copies those into the checkpoint's context, and a stream cannot be copied. Before what
    # saves checkpoints: a kill between the two would leave a step that is saved, and not in the table of losses.
    trainer.callbacks.insert(0, RunMonitor(run_dir=settings.out, log_every=settings.log_interval, stream=stream))
    trainer.callbacks.append(FusedOptimizer())
    trainer.callbacks.append(WeightAverage())


def _wandb(settings: TrainSettings) -> WandbLogger:
    # The same id each time a run goes on: one curve.
    identity = f"{settings.out.name}-{zlib.crc32(str(settings.out).encode()):08x}"
    return WandbLogger(project=settings.wandb, name=settings.out.name, id=identity, save_dir=str(settings.out))
