# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""bionemo-scale-infer: checkpoint and control cells -> predicted cells."""

from bionemo.scale.process import interrupt  # isort: skip - before all others, so that an interrupt finds it

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bionemo.scale.files.writing.atomic import remove, remove_leftovers
from bionemo.scale.files.writing.folder import new_folder
from bionemo.scale.files.writing.lock import sole_writer
from bionemo.scale.infer.output.measured_cells import keeps_measured_cells, settle
from bionemo.scale.infer.settings import InferSettings
from bionemo.scale.megatron.ranks import Ranks, take_ranks
from bionemo.scale.options.outputs import check_absent, check_not_inputs
from bionemo.scale.options.parser import OptionParser, make_settings
from bionemo.scale.process.command import next_step, run_command
from bionemo.scale.process.freed_memory import keep_freed_memory
from bionemo.scale.process.imports import imports
from bionemo.scale.progress import SILENCE, Progress
from bionemo.scale.types import EXIT_REFUSED, InputError


def parser() -> OptionParser:
    """Return the command's options."""
    return OptionParser(
        InferSettings,
        prog="bionemo-scale-infer",
        description="Predict cells: the held-out part of a store, or control cells under any known perturbation. "
        "Processes started by torchrun or srun share the work. To continue after a stop, give the same command again.",
        ways=(
            "--checkpoint RUN --store STORE --out FOLDER [OPTIONS]",
            "--checkpoint RUN --adata CELLS.h5ad --out FILE.h5ad [OPTIONS]",
        ),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(_infer, argv)


def _infer(argv: Sequence[str] | None) -> None:
    settings = make_settings(InferSettings, parser().parse_args(argv))
    ranks = take_ranks(os.environ)
    try:
        _check_outputs(settings)
        if not ranks.is_first:
            _check_absent(settings)
        _infer_alone(settings, ranks)
    except InputError:
        if ranks.local_rank:
            # Every process of a machine finds the same; the first one says it.
            sys.exit(EXIT_REFUSED)
        raise


def _outputs(settings: InferSettings) -> list[Path]:
    return [path for path in (settings.pred_path, settings.real_path, settings.measured) if path is not None]


def _check_outputs(settings: InferSettings) -> None:
    """Refuse to replace an input."""
    inputs = [settings.adata, settings.perturbation_features, settings.store, settings.checkpoint]
    check_not_inputs(_outputs(settings), inputs)


def _check_absent(settings: InferSettings) -> None:
    """Refuse to replace predictions where that was not asked for."""
    if not settings.overwrite:
        outputs = _outputs(settings)
        check_absent(outputs[:1] if keeps_measured_cells(settings) else outputs)


def _infer_alone(settings: InferSettings, ranks: Ranks) -> None:
    """Be the only launch that writes the prediction, and leave nothing of one that came to nothing."""
    out = settings.pred_path
    lock = out.with_name(f".{out.name}.lock")
    # The log is for a crash: a prediction or a refusal says itself all there is to say.
    log = out.with_name(f".{out.stem}{'' if ranks.is_first else f'.rank{ranks.rank}'}.log")
    with (
        new_folder(out.parent) as folder,
        sole_writer(out, lock, rank=ranks.rank, launch=ranks.launch),
        _measured_alone(settings, ranks) as clear_measured,
    ):

        def clear() -> None:
            from bionemo.scale.infer.output.part_folder import tidy

            remove(log)
            if ranks.is_first:
                tidy(out)
                clear_measured()
                remove(lock)
                folder.remove_empty()

        with interrupt.removes(clear):
            try:
                if ranks.is_first:
                    # Here, where what a kill has left beside a prediction that is whole is tidied up.
                    _check_absent(settings)
                    remove_leftovers(out)
                _run(settings, log, is_first=ranks.is_first)
            except (InputError, OSError, ModuleNotFoundError) as error:
                clear()
                if isinstance(error, OSError) and error.filename is None:
                    # Of a full disk, where libraries do not say the file.
                    reason = error.strerror or str(error)
                    raise InputError(
                        f"{out}: stopped by {reason}; when that is mended, the same command continues"
                    ) from error
                raise
            remove(log)
    real = settings.real_path or settings.measured
    if ranks.is_first and real is not None and settings.output == "cells":
        store = {} if settings.store is None else {"store": settings.store}
        print(next_step("evaluate", pred=settings.pred_path, real=real, **store, out="SCORES"))


@contextmanager
def _measured_alone(settings: InferSettings, ranks: Ranks) -> Iterator[Callable[[], None]]:
    """Be the only command that writes the file of --measured; give what clears up after a stop."""
    measured = settings.measured
    if measured is None or not ranks.is_first:
        yield lambda: None
        return
    lock = measured.with_name(f".{measured.name}.lock")
    with new_folder(measured.parent) as folder, sole_writer(measured, lock):

        def clear() -> None:
            settle(measured, settings.pred_path)
            remove(lock)
            folder.remove_empty()

        # What a kill has left.
        settle(measured, settings.pred_path)
        yield clear


def _run(settings: InferSettings, log: Path, *, is_first: bool) -> None:
    from bionemo.scale.process.console import quiet_screen

    keep_freed_memory()
    with quiet_screen(log) as screen, Progress(screen, silence=SILENCE, shown=is_first) as progress:
        # Imports take seconds, on a busy machine many.
        progress.stage("loading libraries")
        with imports():
            from bionemo.scale.megatron import cpu

            cpu.install()
            from bionemo.scale.infer.job import infer

        infer(settings, progress)


if __name__ == "__main__":
    sys.exit(main())
