# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a run tells its user: metrics.csv, TensorBoard scalars and one line of progress."""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import lightning.pytorch as pl
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from megatron.core import parallel_state
from torch import Tensor
from tqdm import tqdm

from bionemo.scale.train.metrics_file import MetricsFile
from bionemo.scale.train.objective import TERMS


class TrainingStopped(RuntimeError):
    """Training cannot go on, for a reason that a user can act on."""


class RunMonitor(pl.Callback):
    """Collects the terms of the loss from Megatron's schedule and shows and stores them.

    Only the last pipeline stage knows them, so it is that stage's first rank that writes. Lightning's own progress bar
    would show none of them, and NeMo's waits for a collective that some gloo ranks never enter.
    """

    def __init__(self, *, run_dir: Path, log_every: int, cells_per_step: int, stream: TextIO):
        super().__init__()
        self._file = MetricsFile(run_dir / "metrics.csv")
        self._log_every, self._cells_per_step, self._stream = log_every, cells_per_step, stream
        self._train_terms: list[Tensor] = []
        self._val_terms: list[Tensor] = []
        self._bar: tqdm | None = None
        self._lap = 0.0

    def on_megatron_reduce_microbatches_end(self, step: Any, microbatch_outputs: Sequence[dict[str, Tensor]]) -> None:
        """Keep the terms of one step, averaged over its micro-batches."""
        terms = torch.stack([output["terms"] for output in microbatch_outputs]).mean(0)
        (self._val_terms if step.forward_only else self._train_terms).append(terms)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the file and the bar where the run begins or resumes."""
        self._lap = time.perf_counter()
        if not _is_reporter():
            return
        self._file.open_at(trainer.global_step)
        self._bar = tqdm(
            total=trainer.max_steps,
            initial=trainer.global_step,
            file=self._stream,
            desc="train",
            unit="step",
            disable=not self._stream.isatty(),
            dynamic_ncols=True,
        )

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        """Show progress; at every logged step write a row."""
        step = trainer.global_step
        if self._bar is not None:
            self._bar.update(1)
        if step % self._log_every and step != trainer.max_steps:
            return
        if not self._train_terms:
            return
        means = dict(zip(TERMS, torch.stack(self._train_terms).mean(0).tolist(), strict=True))
        rate = self._cells_per_step * len(self._train_terms) / (time.perf_counter() - self._lap)
        self._train_terms, self._lap = [], time.perf_counter()
        if not math.isfinite(means["loss"]):
            raise TrainingStopped(
                f"the loss is {means['loss']} at step {step}; try a lower --lr, or look at metrics.csv"
            )
        if self._bar is not None:
            self._report(trainer, step, means, rate)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the validation terms of this step."""
        terms, self._val_terms = self._val_terms, []
        # Validation is not training time.
        self._lap = time.perf_counter()
        if self._bar is None or not terms:
            return
        means = zip(TERMS, torch.stack(terms).mean(0).tolist(), strict=True)
        self._store(trainer, trainer.global_step, {f"val_{name}": value for name, value in means})

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()

    def _report(self, trainer: pl.Trainer, step: int, means: dict[str, float], rate: float) -> None:
        row = {
            **means,
            "learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
            "grad_norm": float(trainer.callback_metrics.get("grad_norm", math.nan)),
            "cells_per_second": rate,
        }
        self._store(trainer, step, row)
        if self._stream.isatty():
            self._bar.set_postfix_str(f"loss {means['loss']:.4f}, {rate:,.0f} cells/s")
            return
        left = (trainer.max_steps - step) * self._cells_per_step / rate
        line = f"step {step}/{trainer.max_steps}  loss {means['loss']:.4f}  {rate:,.0f} cells/s  {left:.0f} s left"
        self._stream.write(line + "\n")
        self._stream.flush()

    def _store(self, trainer: pl.Trainer, step: int, row: dict[str, float]) -> None:
        self._file.append({"step": step, **row})
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                for name, value in row.items():
                    logger.experiment.add_scalar(name, value, step)


def _is_reporter() -> bool:
    return (
        parallel_state.is_pipeline_last_stage()
        and parallel_state.get_tensor_model_parallel_rank() == 0
        and parallel_state.get_data_parallel_rank() == 0
    )
