# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What a run tells its user: metrics.csv, scalars for its loggers and one line of progress."""

import math
import signal
import statistics
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import resource_tracker
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, TextIO

import lightning.pytorch as pl
import numpy as np
import torch
from megatron.core import parallel_state
from torch import Tensor

from bionemo.scale.data.sets.sampler import SetSampler
from bionemo.scale.model.scale_model import ScaleModel
from bionemo.scale.progress import Progress
from bionemo.scale.train.callbacks import waiting
from bionemo.scale.train.callbacks.metrics_file import SPEED, MetricsFile
from bionemo.scale.train.callbacks.stopping import STOP_SIGNALS, TrainingStopped
from bionemo.scale.train.finetune.transfer import count_weights
from bionemo.scale.train.objective import TERMS


FAR_ABOVE = 3.0
"""A validation loss above this multiple of the training loss is pointed out."""
EXPLODED = 1000.0
"""A loss above this multiple of the median of the last logged losses counts as exploded."""


class LossGuard:
    """Stops a run whose loss is no number any more, or has exploded, and says at which sets."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=20)

    def check(self, losses: Sequence[float], *, last_step: int, sets_of: Callable[[int], str]) -> None:
        """Look at the losses of the steps since the last look.

        Args:
            losses: One a step, the last is that of ``last_step``.
            last_step: Its number, from 1.
            sets_of: Describes the sets of a step.

        Raises:
            TrainingStopped: Naming the first bad step and its sets.
        """
        highest = EXPLODED * statistics.median(self._recent) if len(self._recent) >= 5 else math.inf
        for step, loss in enumerate(losses, start=last_step - len(losses) + 1):
            if math.isfinite(loss) and loss <= highest:
                continue
            what = f"is {loss}" if not math.isfinite(loss) else f"has grown to {loss:.4g}"
            raise TrainingStopped(
                f"the loss {what} at step {step}; its sets: {sets_of(step)}; try a lower --lr, or look at metrics.csv"
            )
        self._recent.append(statistics.fmean(losses))


def sets_of_step(trainer: pl.Trainer, step: int) -> str:
    """Describe the sets of an optimizer step, over all processes: which set is read when is a function of the seed."""
    sampler, size = trainer.datamodule.train_sampler, trainer.datamodule.global_batch_size
    groups = trainer.datamodule.store.groups
    plans = [plan for index in range((step - 1) * size, step * size) for plan in sampler.place(index)]
    labels = [groups.label(group) for plan in plans for group in np.unique(plan.groups).tolist()]
    counts = Counter(f"{label.dataset}/{label.cell_type}/{label.perturbation}/{label.batch}" for label in labels)
    shown = [f"{count} of {name}" for name, count in counts.most_common(8)]
    return ", ".join(shown) + (f" and {len(counts) - 8} other groups" if len(counts) > 8 else "")


def describe_sets(sampler: SetSampler) -> str:
    """Return a line on an epoch's sets, and how many of their cells only fill them up."""
    most, whose = ("up to ", "population") if sampler.is_mixed else ("", "group")
    return (
        f"sets      {sampler.num_sets} of {most}{sampler.set_size} cells per epoch; "
        f"{sampler.padding_share():.1%} of cells are repeated to fill the last set of a {whose}"
    )


class _Lap(NamedTuple):
    """Time on the clock, and how much of it was waiting for data."""

    seconds: float
    waited: float

    @classmethod
    def now(cls) -> "_Lap":
        return cls(time.perf_counter(), waiting.FOR_DATA.seconds)

    def until_now(self) -> "_Lap":
        now = _Lap.now()
        return _Lap(now.seconds - self.seconds, now.waited - self.waited)


class StopOnSignal(pl.Callback):
    """Ends training after the step during which any process was told to: before a time limit, or by a person.

    The processes agree in every step, so that all of them save the same one. Lightning's own handlers end the process
    in the middle of a step, and NeMo's listens on one process only.

    Slurm sends its signals to every process of a task, those that read sets and write checkpoints too. The main thread
    blocks them before any of those is started, since that is inherited; it asks for pending ones after each step.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        """Name of the signal that ended training, on the process that received it; "another process" on the others."""
        self._pending: int | None = None
        self._before: dict[int, Any] = {}
        self._mask: set[int] | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Make the processes that are started from now on deaf to the signals."""
        # Python starts a process of its own with the first that is spawned, and lets this thread hear SIGTERM again.
        resource_tracker.ensure_running()
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the signals from whoever had them."""
        for number in STOP_SIGNALS:
            self._before[number] = signal.signal(number, self._note)

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        """Ask all processes whether one of them was told to stop."""
        # A thread that was there before may have taken one.
        self._pending = next(iter(signal.sigpending() & set(STOP_SIGNALS)), self._pending)
        asked = torch.tensor(float(self._pending is not None), device=torch.cuda.current_device())
        torch.distributed.all_reduce(asked, op=torch.distributed.ReduceOp.MAX)
        if asked.item():
            number = self._pending
            self.received = "another process" if number is None else signal.Signals(number).name
            trainer.should_stop = True

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the signals ignored: the checkpoint that is being written must be whole."""
        for number in self._before:
            signal.signal(number, signal.SIG_IGN)

    def restore(self) -> None:
        """Give the signals back; one that came while they were ignored is gone."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
        if self._mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._pending = number


class RunMonitor(pl.Callback):
    """Collects the terms of the loss from Megatron's schedule and shows and stores them.

    Only the last pipeline stage knows them, so it is that stage's first rank that writes. Lightning's own progress bar
    would show none of them, and NeMo's waits for a collective that some gloo ranks never enter.
    """

    def __init__(self, *, run_dir: Path, log_every: int, stream: TextIO):
        super().__init__()
        self._file = MetricsFile(run_dir / "metrics.csv")
        self._log_every, self._stream = log_every, stream
        self._train_terms: list[Tensor] = []
        self._val_terms: list[Tensor] = []
        self._progress = Progress(stream)
        self._train_loss = math.nan
        self._is_far = False
        self._is_reporter = False
        self._lap = _Lap.now()
        self._guard = LossGuard()

    def on_megatron_reduce_microbatches_end(self, step: Any, microbatch_outputs: Sequence[dict[str, Tensor]]) -> None:
        """Keep the terms of one step, averaged over its micro-batches."""
        terms = torch.stack([output["terms"] for output in microbatch_outputs]).mean(0)
        (self._val_terms if step.forward_only else self._train_terms).append(terms)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the file and count steps from where the run begins or resumes."""
        self._lap = _Lap.now()
        self._is_reporter = _is_reporter()
        if not self._is_reporter:
            return
        self._file.open_at(trainer.global_step)
        print(describe_sets(trainer.datamodule.train_sampler), file=self._stream, flush=True)
        self._progress.begin("step", trainer.max_steps, done=trainer.global_step)

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        """Show progress; at every logged step write a row."""
        step = trainer.global_step
        if self._is_reporter:
            self._progress.add(1)
        if step % self._log_every and step != trainer.max_steps:
            return
        if not self._train_terms:
            return
        terms = torch.stack(self._train_terms)
        means = dict(zip(TERMS, terms.mean(0).tolist(), strict=True))
        lap, self._lap, self._train_terms = self._lap.until_now(), _Lap.now(), []
        self._guard.check(terms[:, 0].tolist(), last_step=step, sets_of=lambda bad: sets_of_step(trainer, bad))
        if self._is_reporter:
            self._report(trainer, step, means, speed=speed_of(trainer.datamodule, step, len(terms), lap=lap))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the validation terms of this step."""
        terms, self._val_terms = self._val_terms, []
        # Validation is not training time.
        self._lap = _Lap.now()
        if not self._is_reporter or not terms:
            return
        means = dict(zip(TERMS, torch.stack(terms).mean(0).tolist(), strict=True))
        self._store(trainer, trainer.global_step, {f"val_{name}": value for name, value in means.items()})
        self._progress.say(f"validation loss {means['loss']:.4f} at step {trainer.global_step}", last=True)
        warning = far_above(means["loss"], self._train_loss)
        if warning and not self._is_far:
            self._progress.say(warning, last=True)
        self._is_far = self._is_far or bool(warning)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Say which sets it was where Megatron found a gradient that is no number, before the loss was looked at.

        Raises:
            TrainingStopped: In the place of Megatron's error.
        """
        if isinstance(exception, RuntimeError) and "in local grad norm" in str(exception):
            step = trainer.global_step + 1
            raise TrainingStopped(
                f"the gradient is no number at step {step}; its sets: {sets_of_step(trainer, step)}; try a "
                "lower --lr, "
                "or look at metrics.csv"
            ) from exception

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the line of a terminal complete."""
        self._progress.close()

    def _report(self, trainer: pl.Trainer, step: int, means: dict[str, float], *, speed: Mapping[str, float]) -> None:
        row = {
            **means,
            "learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
            "grad_norm": float(trainer.callback_metrics.get("grad_norm", math.nan)),
            **speed,
        }
        self._store(trainer, step, row)
        self._train_loss = means["loss"]
        self._progress.show(f"loss {means['loss']:.4f}, {speed['cells_per_second']:,.0f} cells/s")

    def _store(self, trainer: pl.Trainer, step: int, row: dict[str, float]) -> None:
        self._file.append({"step": step, **row})
        for logger in trainer.loggers:
            logger.log_metrics(row, step)


def speed_of(data: Any, step: int, steps: int, *, lap: "_Lap") -> dict[str, float]:
    """Return the columns :data:`SPEED` of some steps, over all processes.

    Args:
        data: The run's data module, which knows the sets.
        step: The last of the steps, from 1.
        steps: How many.
        lap: What they took.
    """
    size, sampler = data.global_batch_size, data.train_sampler
    own, rows = sampler.count_cells(range((step - steps) * size, step * size))
    values = (own / lap.seconds, steps / lap.seconds, 1 - own / rows, lap.waited / lap.seconds)
    return dict(zip(SPEED, values, strict=True))


def _is_reporter() -> bool:
    return (
        parallel_state.is_pipeline_last_stage()
        and parallel_state.get_tensor_model_parallel_rank() == 0
        and parallel_state.get_data_parallel_rank() == 0
    )


def far_above(validation: float, training: float) -> str | None:
    """Return a warning where the validation loss is several times the training loss.

    Args:
        validation: Mean over the validation sets.
        training: Mean over the last logged steps; not a number before the first of them.
    """
    if not 0 < FAR_ABOVE * training < validation:
        return None
    return (
        f"warning: the validation loss is {validation / training:.1f} times the training loss: the network does not "
        "carry over to the held-out groups; fewer steps, a smaller network or more data may help"
    )


class TrainableReport(pl.Callback):
    """Says how many weights are trained; known once every process has its share of the network."""

    def __init__(self, stream: TextIO):
        super().__init__()
        self._stream = stream

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count, on all processes, and write on the first."""
        # The average is a ScaleModel too, below the one that is trained.
        model = next(module for module in pl_module.modules() if isinstance(module, ScaleModel))
        total, trained = count_weights(model), count_weights(model, lambda parameter: parameter.requires_grad)
        if torch.distributed.get_rank() == 0:
            self._stream.write(f"  trained       {trained:,} of {total:,} weights\n")
            self._stream.flush()
