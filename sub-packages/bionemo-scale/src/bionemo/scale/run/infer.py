# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""bionemo-scale-infer: checkpoint and control cells -> predicted cells."""

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from bionemo.scale.infer.settings import Generation, InferSettings, Output, Precision, SpecName, SplitName
from bionemo.scale.megatron.ranks import take_ranks_of_slurm
from bionemo.scale.run.command import run_command
from bionemo.scale.types import InputError


def parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    options = argparse.ArgumentParser(
        prog="bionemo-scale-infer",
        description="Predict populations: the held-out groups of a store, or control cells under any known "
        "perturbation. Started by torchrun or srun, processes share the work; killed, it continues when run again.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = options.add_argument
    add("--checkpoint", type=Path, required=True, help="run folder, or one of its checkpoints")
    add("--out", type=Path, required=True, help="h5ad to write; for a split a folder may be given")
    source = options.add_mutually_exclusive_group(required=True)
    source.add_argument("--store", type=Path, help="predict held-out groups of this store, or screen its controls")
    source.add_argument("--adata", type=Path, help="predict from the control cells of this h5ad")
    add("--split", choices=get_args(SplitName), default="test", help="split of --store")
    add("--perturbations", type=_labels, default=(), metavar="A,B", help="carry controls to these, comma-separated")
    add("--perturbation-features", type=Path, help="one vector per perturbation, for those that were not trained")
    add(
        "--allow-unknown", action="store_true", help="predict cell types and batches that were not trained, as unknown"
    )
    add("--all-perturbations", action="store_true", help="carry controls to every perturbation the model knows")
    add("--cell-types", type=_labels, default=(), metavar="X,Y", help="only controls of these, comma-separated")
    add("--cells-per-condition", type=int, metavar="N", help="most controls of a (cell type, batch); with --store 256")
    add("--output", choices=get_args(Output), default="cells", help="every cell, or the mean of each condition")
    add("--with-controls", action="store_true", help="append the real controls of the contexts of a split")
    add("--generation", choices=get_args(Generation), help="default: as trained")
    add("--num-steps", type=int, help="solver steps; default: as trained")
    add("--samples", type=int, help="draws of a stochastic prior to average over; default: as trained, which is 1")
    add("--set-size", type=int, help="cells of a set; default: as trained")
    add(
        "--precision",
        choices=get_args(Precision),
        default="fp32",
        help="of matrix products; the last two, of the blocks, on GPUs that have it",
    )
    add(
        "--spec",
        choices=get_args(SpecName),
        default="auto",
        help="layers of the blocks: local (torch), te (Transformer Engine), auto (te where it runs)",
    )
    add("--seed", type=int, default=0, help="draw of the controls")
    return options


def _labels(text: str) -> tuple[str, ...]:
    return tuple(name for name in text.split(",") if name)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(_infer, argv)


def _infer(argv: Sequence[str] | None) -> None:
    settings = InferSettings(**vars(parser().parse_args(argv)))
    take_ranks_of_slurm(os.environ)
    from bionemo.scale.run.console import quiet_screen

    rank = os.environ.get("RANK", "0")
    out = settings.pred_path
    # The log is for a crash: a prediction or a refusal says itself all there is to say.
    log = out.with_name(f".{out.stem}{'' if rank == '0' else f'.rank{rank}'}.log")
    is_new = not out.parent.exists()
    try:
        with quiet_screen(log) as screen:
            from bionemo.scale.megatron import cpu

            cpu.install()
            from bionemo.scale.infer.job import infer

            infer(settings, screen)
    except InputError:
        log.unlink()
        if is_new:
            with contextlib.suppress(OSError):
                # Other processes may still have their logs there; the last one to leave removes the folder.
                out.parent.rmdir()
        raise
    log.unlink()


if __name__ == "__main__":
    sys.exit(main())
