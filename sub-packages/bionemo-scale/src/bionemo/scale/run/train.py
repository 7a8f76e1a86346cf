# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""bionemo-scale-train: store -> run folder."""

from bionemo.scale.process import interrupt  # isort: skip - before all others, so that an interrupt finds it

import argparse
import csv
import os
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bionemo.scale.files.writing.folder import temporary_folder
from bionemo.scale.megatron.ranks import take_ranks
from bionemo.scale.options.arguments import arguments as words_of
from bionemo.scale.options.config_file import write_yaml
from bionemo.scale.options.fields import option
from bionemo.scale.options.parser import OptionParser
from bionemo.scale.process.command import exit_code_of, next_step
from bionemo.scale.recipes.defaults import OTHERS
from bionemo.scale.run.config.given import PLACES, SettingsFile, given_values, training_of
from bionemo.scale.run.inner.weigh import weigh_network
from bionemo.scale.train.callbacks.stopping import EXIT_CONTINUE
from bionemo.scale.train.in_folder import can_continue, refused_once, run_training, train_in_folder
from bionemo.scale.train.presets import WRITTEN_PRESET
from bionemo.scale.train.settings import TrainSettings
from bionemo.scale.types import EXIT_REFUSED, InputError


@dataclass(frozen=True, kw_only=True)
class TrainModes(SettingsFile):
    """What the command does besides training."""

    dry_run: bool = False
    """Print the number of parameters and stop; needs no --store and no --out."""
    write_config: Path | None = option(None, metavar="FILE.yaml")
    """Write every setting to a file for --config, one key per option, and stop. Needs no --store and no --out.
    bionemo-scale-recipe writes such a file in sections."""


def parser() -> OptionParser:
    """Return the command's options."""
    return OptionParser(
        TrainSettings,
        TrainModes,
        prog="bionemo-scale-train",
        description="Train SCALE on a store. If the run folder already holds this run, the training continues.",
        epilog="--size SIZE --write-config FILE writes every setting of a size.",
        ways=("--store PATH --out PATH [OPTIONS]", "--config FILE.yaml [OPTIONS]"),
        others=OTHERS,
    )


def settings_from(argv: Sequence[str] | None) -> TrainSettings:
    """Read the command line."""
    options = parser().parse_args(argv)
    return _settings(options, given_values(options))


def _settings(options: argparse.Namespace, values: Mapping[str, Any]) -> TrainSettings:
    """Return the settings of values that were read once: a file may be a pipe."""
    trains = not {"dry_run", "write_config"} & vars(options).keys()
    for name in PLACES:
        if name not in values and trains:
            raise InputError(f"--{name} is required without --dry-run and --write-config")
    return training_of(values)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit code.

    Returns:
        0 done, 1 the loss went wrong, 2 refused, 75 stopped by a signal and saved, 130 interrupted, 137 a process that
        it had started was killed.
    """
    return run_training(_train, argv)


def _train(argv: Sequence[str] | None) -> None:
    options = parser().parse_args(argv)
    named = given_values(options)
    settings = _settings(options, named)
    if "write_config" in options:
        shown = {name for name in settings.as_dict() if name in named or name not in PLACES}
        held = {name: value for name, value in settings.as_dict().items() if name in shown}
        write_yaml(options.write_config, {WRITTEN_PRESET: settings.preset, **held})
        print(f"settings in {options.write_config}")
        return
    if "dry_run" in options:
        _show_size(settings, with_store="store" in named)
        return
    ranks = take_ranks(os.environ)
    # The processes that this one starts get what a file says, for it may be a pipe, or change meanwhile.
    arguments = words_of(settings) if "config" in options else list(sys.argv[1:] if argv is None else argv)
    if ranks.world_size == 1 and not ranks.launch and settings.devices > 1 and settings.num_nodes == 1:
        sys.exit(_train_in_processes(settings, arguments))
    with refused_once(ranks):
        train_in_folder(settings, ranks)
        if ranks.is_first and not os.environ.get("TORCHELASTIC_RUN_ID", "").startswith(interrupt.QUIET_LAUNCH):
            _finish(settings, arguments, is_launched=ranks.world_size > 1)


def _train_in_processes(settings: TrainSettings, arguments: Sequence[str]) -> int:
    """Train in one process a device, and return the exit code."""
    is_new, code = not settings.out.exists(), interrupt.EXIT_INTERRUPTED
    try:
        code = _run_processes(settings.devices, arguments)
    finally:
        # The first process has tidied up, and one that ended later may have written its log once more.
        ended_early = code in (EXIT_REFUSED, interrupt.EXIT_INTERRUPTED)
        if is_new and ended_early and not can_continue(settings.out):
            shutil.rmtree(settings.out, ignore_errors=True)
    if not code:
        _finish(settings, arguments, is_launched=False)
    return code


def _finish(settings: TrainSettings, arguments: Sequence[str], *, is_launched: bool) -> None:
    """Measure the network's weight, and say what was made and what to do with it."""
    weigh_network(settings, arguments, is_launched=is_launched)
    if settings.blind:
        return
    if best := _best_validation(settings.out / "metrics.csv"):
        print(f"lowest validation loss {best[1]:.4g}, at step {best[0]}")
    print(next_step("infer", checkpoint=settings.out, **_next_source(settings)), flush=True)


def _next_source(settings: TrainSettings) -> dict[str, Any]:
    """Return what can be predicted next: what the store holds out, or perturbations of new controls."""
    # Late, so that --help answers at once.
    from bionemo.scale.data.store.reader import Store
    from bionemo.scale.types import Split

    with Store.open(settings.store) as store:
        for split in (Split.TEST, Split.VAL):
            if len(store.groups.perturbed_in(split)):
                return {"store": settings.store, "split": split.value, "out": "PREDICTED"}
    return {"adata": "CONTROLS.h5ad", "out": "PREDICTED.h5ad"}


def _best_validation(metrics: Path) -> tuple[int, float] | None:
    """Return step and loss of the best validation, ``None`` where the run had none."""
    try:
        with metrics.open(encoding="utf-8", newline="") as file:
            rows = [(int(row["step"]), float(row["val_loss"])) for row in csv.DictReader(file) if row.get("val_loss")]
    except (OSError, ValueError, TypeError, KeyError, csv.Error):
        # The run is whole without this table, which may be gone or damaged.
        return None
    return min(rows, key=lambda row: row[1], default=None)


def _show_size(settings: TrainSettings, *, with_store: bool) -> None:
    from bionemo.scale.process.console import quiet_screen

    with temporary_folder() as folder, quiet_screen(folder / "output.log") as screen:
        from bionemo.scale.megatron import cpu

        cpu.install()
        from bionemo.scale.train.setup.size_table import size_table

        screen.write(size_table(settings, with_store=with_store))


def _run_processes(devices: int, arguments: Sequence[str]) -> int:
    """Run one process a device, as torchrun does, and return the exit code of what failed, or 0."""
    import logging
    import uuid

    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # What failed has said so itself; torchrun would add a page on processes.
    logging.disable(logging.ERROR)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=devices,
        run_id=f"{interrupt.QUIET_LAUNCH}{uuid.uuid4()}",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    code = 0
    try:
        elastic_launch(config, sys.executable)("-u", "-m", "bionemo.scale.run.train", *arguments)
    except ChildFailedError as error:
        codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
        code = _code_of(codes, error.get_first_failure()[1].exitcode)
    except SignalException as stop:
        # It was passed on to the processes, which have saved or ended.
        code = interrupt.EXIT_INTERRUPTED if stop.sigval == signal.SIGINT else EXIT_CONTINUE
    if code == interrupt.EXIT_INTERRUPTED:
        raise KeyboardInterrupt
    return code


def _code_of(codes: Mapping[int, int], first: int) -> int:
    """Return the exit code of a training whose processes failed, and name the one that was killed.

    Args:
        codes: Exit code of each process that failed.
        first: The code of the one that failed first.
    """
    meant = [code for code in codes.values() if code in (EXIT_REFUSED, EXIT_CONTINUE, interrupt.EXIT_INTERRUPTED)]
    if meant:
        return meant[0]
    # The others fail for want of one that was killed.
    code = -signal.SIGKILL if -signal.SIGKILL in codes.values() else first
    rank = next(rank for rank, found in codes.items() if found == code)
    return exit_code_of(f"training process {rank}", code)


if __name__ == "__main__":
    sys.exit(main())
