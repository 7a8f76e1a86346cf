# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""A conversion of many files as three jobs: scan each file, convert each file, merge the parts.

The first two are job arrays with a task a file; a task finds what is its own in shell arrays of the batch script.
Genes are chosen from the scans of all files, so that every part has the same ones.
"""

import shlex
from dataclasses import replace
from pathlib import Path

from bionemo.scale.data.prepare.settings import PrepareSettings
from bionemo.scale.options.arguments import arguments
from bionemo.scale.recipes.steps import Step
from bionemo.scale.types import InputError


TASK = "SLURM_ARRAY_TASK_ID"
"""Variable of the shell with the number of a task of a job array."""


class ShellWord(str):
    """A word of a command that the shell of a batch script completes, already quoted for it."""

    __slots__ = ()


def conversion_steps(config: PrepareSettings, work: Path) -> tuple[Step, Step, Step]:
    """Return the jobs that together make a store.

    Args:
        config: The conversion of all files.
        work: Folder for scans and parts.

    Raises:
        InputError: There are fewer than two files, or they are told apart by other things than their paths.
    """
    count = len(config.inputs)
    if count < 2:
        raise InputError(f"--array converts each file in a job of its own: expected at least two files, found {count}")
    if not isinstance(config.split, Path | None):
        raise InputError("--array: expected a split file")
    scans, parts = ([work / kind / f"{number:05d}" for number in range(count)] for kind in ("scans", "parts"))
    each = {"inputs": tuple(map(str, config.inputs))}
    if len(config.datasets) > 1:
        each["datasets"] = config.datasets
    merging = [*map(str, parts), f"--out={config.out}", "--merge", "--overwrite"]
    split = [] if config.split is None else [f"--split={config.split}"]
    return (
        _array("scan", replace(config, out=work / "scans"), each, more=("--scan-only",)),
        _array("convert", replace(config, out=work / "parts", scanned=tuple(scans)), each),
        Step(name="merge", command="prepare", arguments=(*merging, *split)),
    )


def _array(
    name: str, config: PrepareSettings, each: dict[str, tuple[str, ...]], *, more: tuple[str, ...] = ()
) -> Step:
    """Return a job array whose tasks run the conversion of one file."""
    own = "datasets" in each
    # The command of one file, without what differs from task to task.
    words = arguments(config, without=("inputs", "out", *(("datasets",) if own else ())))
    dataset = (ShellWord(f'--dataset="${{datasets[{TASK}]}}"'),) if own else ()
    return Step(
        name=name,
        command="prepare",
        # First: --scanned takes all words that follow it.
        arguments=(ShellWord(f'"${{inputs[{TASK}]}}"'), _numbered(config.out), *words, *dataset, *more),
        each=each,
    )


def _numbered(out: Path) -> ShellWord:
    """Return the option that names a task's own folder under this one."""
    return ShellWord(f"""--out={shlex.quote(str(out))}/"$(printf %05d "${TASK}")\"""")
