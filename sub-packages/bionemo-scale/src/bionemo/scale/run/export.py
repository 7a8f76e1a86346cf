# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""``bionemo-scale-export``: a run as a folder that can be moved, published, and opened without NeMo."""

from bionemo.scale.process import interrupt  # isort: skip  # noqa: F401 - before all others, so that an interrupt finds it

import sys
from collections.abc import Sequence

from bionemo.scale.export.settings import ExportSettings
from bionemo.scale.files.writing.folder import temporary_folder
from bionemo.scale.options.parser import OptionParser, make_settings
from bionemo.scale.process.command import next_step, run_command
from bionemo.scale.process.imports import imports


def parser() -> OptionParser:
    """Return the command's options."""
    return OptionParser(
        ExportSettings,
        prog="bionemo-scale-export",
        description="Write a trained model, with its genes, labels, estimate and a model card, as "
        "a folder of safetensors and JSON. bionemo-scale-infer takes it as it takes a run.",
        epilog="docs/export.md lists the files, and says how to publish them.",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0 done, 2 refused, 130 interrupted."""
    return run_command(_export, argv)


def _export(argv: Sequence[str] | None) -> None:
    settings = make_settings(ExportSettings, parser().parse_args(argv))
    from bionemo.scale.process.console import quiet_screen

    with temporary_folder() as folder, quiet_screen(folder / "log.txt") as screen:
        with imports():
            from bionemo.scale.megatron import cpu

            cpu.install()
            from bionemo.scale.export.write import export

        done = export(settings)
        screen.write(f"note: {done.note}\n" if done.note else "")
        screen.write(f"wrote {done.out}: {done.num_weights:,} weights of {done.checkpoint}\n")
    print(next_step("infer", checkpoint=settings.out, adata="CONTROLS.h5ad", out="PREDICTED.h5ad"))


if __name__ == "__main__":
    sys.exit(main())
