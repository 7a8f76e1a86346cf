# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""A training in its run folder: what its beginning and any end of it leave there, and on the screen.

The command and the recipe of NeMo's objects both train by this function. NeMo is imported when all is checked.
"""

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from bionemo.scale.files.writing.atomic import remove, remove_leftovers_in
from bionemo.scale.files.writing.folder import new_folder
from bionemo.scale.files.writing.lock import sole_writer
from bionemo.scale.megatron.ranks import Ranks, check_processes
from bionemo.scale.process import interrupt
from bionemo.scale.process.command import run_command
from bionemo.scale.process.freed_memory import keep_freed_memory
from bionemo.scale.process.imports import imports
from bionemo.scale.progress import SILENCE, Progress
from bionemo.scale.train.callbacks.stopping import EXIT_CONTINUE, TrainingInterrupted, TrainingStopped
from bionemo.scale.train.settings import TrainSettings
from bionemo.scale.types import EXIT_REFUSED, InputError


if TYPE_CHECKING:
    from bionemo.scale.train.components import Components


TOLD = "BIONEMO_SCALE_RUN_IS_TOLD"
"""Set in the environment of the command that a training becomes: the screen has what it would say of the run."""


def run_training(function: Callable[[Sequence[str] | None], None], argv: Sequence[str] | None = None) -> int:
    """Run what trains as a command, and turn its outcome into an exit code.

    Returns:
        0 done, 1 the loss went wrong, 2 refused, 75 stopped by a signal and saved, 130 interrupted.
    """
    try:
        return run_command(function, argv)
    except TrainingInterrupted as stop:
        if os.environ.get("RANK", "0") == "0":
            sys.stderr.write(f"{stop}; the same command continues\n")
        return EXIT_CONTINUE
    except TrainingStopped as stop:
        sys.stderr.write(f"error: {stop}\n")
        return 1


@contextlib.contextmanager
def refused_once(ranks: Ranks) -> Iterator[None]:
    """Let the first process of a machine say what all of them find in the body; the others end with its exit code."""
    try:
        yield
    except InputError:
        if ranks.local_rank:
            sys.exit(EXIT_REFUSED)
        raise


def can_continue(out: Path) -> bool:
    """Whether a run folder has more than logs: a checkpoint, perhaps one that is not whole."""
    return any(out.glob("checkpoints/*/weights"))


def train_in_folder(settings: TrainSettings, ranks: Ranks, given: "Components | None" = None) -> None:
    """Train to ``settings.max_steps``, or continue the run that the folder holds, as its only writer.

    Libraries write to logs/ in the folder; the screen has what a user should see. An interrupt leaves a run that
    continues, or what was there before. A start removes what a killed one left.

    Args:
        settings: Of the run, with absolute paths.
        ranks: Of this process; each of those that train calls this.
        given: NeMo's objects that a user composed, whose settings these are; without them the run's own.

    Raises:
        InputError: Another number of processes is asked for, or the store, the settings or the run folder cannot be
            used.
        TrainingStopped: See :func:`bionemo.scale.train.training.train`.
    """
    check_processes(ranks, devices=settings.devices, num_nodes=settings.num_nodes)
    from bionemo.scale.process.console import quiet_screen

    out, lock = settings.out, settings.out / ".lock"
    with new_folder(out) as folder, sole_writer(out, lock, rank=ranks.rank, launch=ranks.launch):

        def clear() -> None:
            if ranks.is_first:
                remove(lock)
                if not can_continue(out):
                    folder.remove()

        # A kill at any moment leaves a run that continues, and Lightning would answer an interrupt by exit code 1.
        with interrupt.removes(clear), interrupt.ends_at_once():
            try:
                with quiet_screen(out / "logs" / f"output-rank{ranks.rank}.log") as screen, _told_by_its_cause():
                    _train(settings, ranks, screen, given=given)
            except (InputError, OSError, ModuleNotFoundError):
                clear()
                raise


@contextlib.contextmanager
def _told_by_its_cause() -> Iterator[None]:
    """Raise what the file system said, where a writer of checkpoints raises another error because of it."""
    try:
        yield
    except (InputError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # torch's CheckpointException is no Exception
        if isinstance(cause := _cause(error), OSError):
            raise cause from None
        raise


def _cause(error: BaseException) -> BaseException:
    """Return the first cause of an error, through Megatron's errors and torch's errors of several ranks."""
    failures = getattr(error, "failures", None)  # of torch's: an error and its lines by rank
    if isinstance(failures, dict) and failures:
        return _cause(next(iter(failures.values()))[0])
    if error.__cause__ is not None:
        return _cause(error.__cause__)
    # Ranks send their errors pickled, which keeps the words and loses the cause.
    told = re.fullmatch(r"Worker failure: \[Errno (\d+)\] (.*)", str(error))
    return OSError(int(told[1]), told[2]) if told else error


def _train(settings: TrainSettings, ranks: Ranks, screen: TextIO, *, given: "Components | None") -> None:
    keep_freed_memory()
    with imports():
        from bionemo.scale.megatron import cpu

        cpu.install()
        from bionemo.scale.megatron.kernels import crowded
        from bionemo.scale.model.checkpoint import steps_done
        from bionemo.scale.train.setup.kept import kept_by, tidy_checkpoints
        from bionemo.scale.train.setup.resolve import resolve

    run = resolve(settings)
    if ranks.is_first:
        remove_leftovers_in(settings.out)
        tidy_checkpoints(settings.out / "checkpoints", kept_by(settings, has_validation=run.has_validation))
    tells = ranks.is_first and os.environ.pop(TOLD, None) is None
    if tells:
        screen.write(f"run folder {settings.out}\n")
        if run.agents:
            screen.write(f"agents    {run.agents}\n")
        if words := crowded(settings.devices):
            screen.write(f"processes {words}\n")
    if (done := steps_done(settings.out / "checkpoints")) >= settings.max_steps:
        if tells:
            screen.write(f"the run has its {done} steps already; a larger --max-steps trains on\n")
        return
    with Progress(screen, silence=SILENCE, shown=ranks.is_first) as progress:
        progress.stage("starting the trainer")
        # NeMo's import takes several times as long as all that can be refused before it.
        with imports():
            from bionemo.scale.train.training import train

    train(run, screen, given)
