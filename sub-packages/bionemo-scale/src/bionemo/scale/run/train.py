# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""bionemo-scale-train: store -> run folder."""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bionemo.scale.megatron.ranks import take_ranks_of_slurm
from bionemo.scale.model.sizes import SIZES
from bionemo.scale.recipes.defaults import train_settings
from bionemo.scale.run.command import run_command
from bionemo.scale.train.settings import FREEZABLE, TrainSettings
from bionemo.scale.types import InputError


EXIT_CONTINUE = 75
"""Exit code of a run that was stopped and saved: EX_TEMPFAIL, "try again later"."""


def parser() -> argparse.ArgumentParser:
    """Return the command's options; each default and help text is that of the settings field."""
    defaults = TrainSettings(store=Path("STORE"), out=Path("RUN"))
    options = argparse.ArgumentParser(
        prog="bionemo-scale-train",
        description="Train SCALE on a store. A run folder that already holds this run is continued.",
        epilog="Larger sizes have defaults of their own: bionemo/scale/recipes/defaults.py.",
        argument_default=argparse.SUPPRESS,
    )
    options.add_argument("--store", type=Path, help="folder that bionemo-scale-prepare wrote")
    options.add_argument("--out", type=Path, help="run folder")
    options.add_argument(
        "--dry-run", action="store_true", help="print the number of parameters and stop; needs no --store and no --out"
    )
    for name, help_text in _OPTIONS.items():
        default = getattr(defaults, name)
        text = f"{help_text} (default: {default})"
        options.add_argument(f"--{name.replace('_', '-')}", type=type(default), help=text)
    options.add_argument(
        "--perturbation-features", type=Path, help="one vector per perturbation: .csv, .tsv or .parquet, names first"
    )
    options.add_argument(
        "--from-checkpoint",
        type=Path,
        metavar="RUN",
        help="fine-tune: start from the weights of this run; its network, with the store's genes and labels by name",
    )
    options.add_argument(
        "--freeze", type=_names, metavar="A,B", help=f"parts that keep those weights: {', '.join(FREEZABLE)}"
    )
    options.add_argument(
        "--lora", type=int, metavar="RANK", help="train adapters of this rank in the place of the blocks' own weights"
    )
    options.add_argument("--wandb", metavar="PROJECT", help="log to this Weights & Biases project too")
    options.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any field of ScaleModelConfig; may be repeated",
    )
    return options


_OPTIONS = {
    "size": f"network size: {', '.join(SIZES)}",
    "max_steps": "optimizer steps",
    "seed": "seed of weights and of the order of sets",
    "set_size": "cells of a set",
    "micro_batch_size": "sets that one process takes at once",
    "accumulate": "micro-batches of an optimizer step",
    "lr": "highest learning rate",
    "warmup_steps": "steps to reach it",
    "weight_decay": "AdamW's weight decay",
    "val_interval": "steps between validations and checkpoints",
    "log_interval": "steps between rows of metrics.csv",
    "keep_best": "checkpoints of the lowest validation loss that are kept beside the last one",
    "keep_last": "keep so many of the newest checkpoints instead of the best",
    "async_checkpoints": "train on while a checkpoint is written: on, off, auto (on where there is a GPU)",
    "weighting": "how groups are drawn: proportional, uniform, tempered",
    "control_share": "share of the sets that go from controls to other controls",
    "num_workers": "data loading processes beside each training process",
    "devices": "processes on this machine",
    "num_nodes": "machines",
    "tensor_parallel": "processes that share every layer",
    "pipeline_parallel": "processes that share the stack of blocks",
    "precision": "fp32, bf16, fp8, fp8-current, mxfp8; the last three on GPUs that have it",
    "spec": "layers of the blocks: local (torch), te (Transformer Engine), auto (te where it runs)",
}


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)


def settings_from(argv: Sequence[str] | None) -> TrainSettings:
    """Read the command line."""
    values = vars(parser().parse_args(argv))
    pairs = [text.partition("=") for text in values.pop("overrides")]
    for name, separator, _ in pairs:
        if not separator:
            raise InputError(f"--set expects KEY=VALUE, found {name!r}")
    is_dry = values.pop("dry_run", False)
    for name in ("store", "out"):
        if name not in values and not is_dry:
            raise InputError(f"--{name} is required without --dry-run")
        values.setdefault(name, Path(name))
    # Absolute, so that a run folder is the same run from wherever it is continued.
    values["store"], values["out"] = values["store"].resolve(), values["out"].resolve()
    for name in {"perturbation_features", "from_checkpoint"} & values.keys():
        values[name] = values[name].resolve()
    overrides = {name: value for name, _, value in pairs}
    return train_settings(values.pop("size", None), overrides=overrides, **values)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command: 0 done, 1 the loss went wrong, 2 refused, 75 stopped by a signal and saved, 130 interrupted."""
    from bionemo.scale.train.callbacks.stopping import TrainingInterrupted, TrainingStopped

    try:
        return run_command(_train, argv)
    except TrainingInterrupted as stop:
        if os.environ.get("RANK", "0") == "0":
            print(f"{stop}; the same command continues", file=sys.stderr)
        return EXIT_CONTINUE
    except TrainingStopped as stop:
        print(f"error: {stop}", file=sys.stderr)
        return 1


def _train(argv: Sequence[str] | None) -> None:
    options = parser().parse_args(argv)
    settings = settings_from(argv)
    if "dry_run" in options:
        _show_size(settings, with_store="store" in options)
        return
    take_ranks_of_slurm(os.environ)
    if settings.devices > 1 and "LOCAL_RANK" not in os.environ:
        sys.exit(_run_processes(settings.devices, argv))
    is_new = not settings.out.exists()
    try:
        _run(settings)
    except InputError:
        if is_new:
            shutil.rmtree(settings.out, ignore_errors=True)
        if os.environ.get("LOCAL_RANK", "0") != "0":
            # Every process of a machine finds the same; the first one says it.
            sys.exit(2)
        raise


def _run(settings: TrainSettings) -> None:
    from bionemo.scale.run.console import quiet_screen

    rank = os.environ.get("RANK", "0")
    with quiet_screen(settings.out / "logs" / f"output-rank{rank}.log") as screen:
        from bionemo.scale.megatron import cpu

        cpu.install()
        from bionemo.scale.train.resolve import resolve

        run = resolve(settings)
        if rank == "0":
            screen.write(f"run folder {settings.out}\n")
        # NeMo's import takes several times as long as all that can be refused before it.
        from bionemo.scale.train.training import train

        train(run, screen)


def _show_size(settings: TrainSettings, *, with_store: bool) -> None:
    from bionemo.scale.run.console import quiet_screen

    with tempfile.TemporaryDirectory() as folder, quiet_screen(Path(folder) / "output.log") as screen:
        from bionemo.scale.megatron import cpu

        cpu.install()
        from bionemo.scale.train.size_table import size_table

        screen.write(size_table(settings, with_store=with_store))


def _run_processes(devices: int, argv: Sequence[str] | None) -> int:
    """Run one process a device, as torchrun does, and return the exit code of the first that failed, or 0."""
    import logging
    import uuid

    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # What failed has said so itself; torchrun would add a page on processes.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    logging.getLogger("torch.distributed.launcher").setLevel(logging.CRITICAL)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=devices,
        run_id=str(uuid.uuid4()),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        elastic_launch(config, sys.executable)("-u", "-m", "bionemo.scale.run.train", *arguments)
    except ChildFailedError as error:
        return error.get_first_failure()[1].exitcode
    return 0


if __name__ == "__main__":
    sys.exit(main())
