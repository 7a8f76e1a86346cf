# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""bionemo-scale-infer: checkpoint and control cells -> predicted cells."""

import contextlib
import os
import sys
from collections.abc import Sequence

from bionemo.scale.infer.settings import InferSettings
from bionemo.scale.megatron.ranks import take_ranks_of_slurm
from bionemo.scale.options.parser import OptionParser, make_settings
from bionemo.scale.run.command import run_command
from bionemo.scale.types import InputError


def parser() -> OptionParser:
    """Return the command's options."""
    return OptionParser(
        InferSettings,
        prog="bionemo-scale-infer",
        description="Predict populations: the held-out groups of a store, or control cells under any known "
        "perturbation. Started by torchrun or srun, processes share the work; killed, it continues when run again.",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    return run_command(_infer, argv)


def _infer(argv: Sequence[str] | None) -> None:
    settings = make_settings(InferSettings, parser().parse_args(argv))
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
