# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The script recipes/launch.py: from h5ad files to scores, on this machine, in Docker or on Slurm."""

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bionemo.scale.data.prepare.settings import PrepareSettings
from bionemo.scale.eval.settings import EvaluateSettings
from bionemo.scale.infer.settings import InferSettings
from bionemo.scale.model.size.sizes import SIZES
from bionemo.scale.options.commands import add_commands, fields_of
from bionemo.scale.options.fields import option, options_of
from bionemo.scale.options.limits import COUNT
from bionemo.scale.options.parser import OptionParser, make_settings
from bionemo.scale.options.settings import Settings
from bionemo.scale.process.command import run_command
from bionemo.scale.recipes.defaults import OTHERS
from bionemo.scale.train.settings import TrainSettings


if TYPE_CHECKING:
    from bionemo.scale.recipes.pipeline import Pipeline, ScheduledStep
    from bionemo.scale.recipes.site import Site

Where = Literal["local", "docker", "slurm"]


@dataclass(frozen=True, kw_only=True)
class PlaceSettings(Settings):
    """Which files are used, and where the steps run."""

    on: Where = "local"
    """This machine, containers on this machine, or a Slurm cluster."""
    inputs: tuple[Path, ...] = option(form="words", metavar="IN.h5ad")
    """h5ad files of the screen."""
    out: Path
    """Folder for all that is made: store, run, predictions and scores."""
    infer_tasks: int | None = option(None, limits=COUNT)
    """Processes of a node that share the prediction (default: as many as train)."""
    array: bool = False
    """Convert each file in a job of its own, and merge; Slurm only."""
    dryrun: bool = False
    """Print what would be run or submitted, and do nothing."""
    site: Path | None = option(None, metavar="SITE.yaml")
    """Settings of the site, for Docker and Slurm (default: site.yaml of the folder recipes)."""


@dataclass(frozen=True, kw_only=True)
class LaunchSettings(PlaceSettings):
    """What is launched, and where."""

    split: Path = option(metavar="SPLIT.toml")
    """Split file; its test part is predicted and scored."""
    size: str | None = option(None, choices=SIZES)
    """Size of the network, which has defaults of its own (default: small, or the network of --from-checkpoint)."""


COMMANDS: dict[str, tuple[type[Settings], tuple[str, ...]]] = {
    "prepare": (PrepareSettings, ("inputs", "out", "split", "scanned")),
    "train": (TrainSettings, ("store", "out", "size")),
    "infer": (
        InferSettings,
        (
            *("checkpoint", "out", "store", "adata", "perturbations", "all_perturbations"),
            *("cell_types", "cells_per_condition", "output"),
            # Of a file of controls, where the pipeline has a store.
            *("values", "target_sum", "library_size_key", "sum_as_library_size", "matrix", "gene_key"),
        ),
    ),
    "evaluate": (
        EvaluateSettings,
        (
            *("pred", "real", "out", "store", "write_baselines", "keys", "control", "target_sum", "values"),
            # Predictions of this pipeline say themselves how their cells are labelled.
            *(each.name for each in options_of(EvaluateSettings) if each.name.startswith("pred_")),
        ),
    ),
}
"""Settings of each step, and the fields that the pipeline decides."""


def parser() -> OptionParser:
    """Return the options of the script: its own, and those of the four commands."""
    options = OptionParser(
        LaunchSettings,
        prog="launch.py",
        description="Prepare, train, predict and score: four commands, each waiting for the one before.",
        others=OTHERS,
    )
    add_commands(options, LaunchSettings, COMMANDS)
    return options


def main(argv: Sequence[str] | None = None, *, site: Path | None = None) -> int:
    """Run the script and return its exit code: 0 done or submitted, 1 a step failed, 2 refused.

    Args:
        argv: Command line.
        site: Settings of the site where no option names others.
    """
    return run_launch(lambda given: _launch(parser().parse_args(given), site), argv)


def run_launch(launch: Callable[[Sequence[str] | None], None], argv: Sequence[str] | None) -> int:
    """Call a function as a launch script; return its exit code: 0 done or submitted, 1 a step failed, 2 refused."""
    from bionemo.scale.recipes.pipeline import StepFailed

    try:
        return run_command(launch, argv)
    except StepFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _launch(given: argparse.Namespace, site_path: Path | None) -> None:
    settings = make_settings(LaunchSettings, given)
    from bionemo.scale.recipes.pipeline import schedule

    start(schedule(pipeline_of(settings, given)), settings, site_path)


def start(steps: "Sequence[ScheduledStep]", place: PlaceSettings, site_path: Path | None) -> None:
    """Run, submit or show steps.

    Args:
        steps: In their order.
        place: Where they run.
        site_path: Settings of the site where ``place`` names none.

    Raises:
        InputError: The site's file cannot be used, or a step does not fit the site.
        StepFailed: A step ended without success.
    """
    from bionemo.scale.recipes.site import read_site

    site = None if place.on == "local" else read_site(place.site or site_path or Path("site.yaml"))
    if place.dryrun:
        _show(steps, place.on, site)
        return
    # Late: the import of NeMo-Run takes seconds.
    from bionemo.scale.recipes import executors

    if place.on == "slurm" and site is not None:
        executors.submit_slurm(steps, site)
    else:
        executors.run_here(steps, site)


def _show(steps: "Sequence[ScheduledStep]", where: Where, site: "Site | None") -> None:
    """Print what would be run or submitted; keys that the site's file leaves open are words in capitals."""
    if site is not None:
        from bionemo.scale.recipes.site import with_placeholders

        site, missing = with_placeholders(site, where)
        if missing:
            line = f"note: {site.path}: a launch needs {', '.join(missing)}; words in capitals stand for them"
            print(line, file=sys.stderr, flush=True)
    before = ""
    for number, scheduled in enumerate(steps, start=1):
        text = _describe(scheduled, where, site)
        if where == "slurm":
            needed = before if scheduled.after is None else " and ".join(scheduled.after)
            succeed = "have succeeded" if " and " in needed else "has succeeded"
            start = f"; starts when {needed} {succeed} (afterok)" if needed else ""
            shebang, rest = text.split("\n", 1)
            text = f"{shebang}\n# Job {number} of {len(steps)}: {scheduled.step.name}{start}\n{rest}"
        print(text, flush=True)
        before = scheduled.step.name


def pipeline_of(settings: LaunchSettings, given: argparse.Namespace) -> "Pipeline":
    """Return the pipeline that a command line asks for."""
    from bionemo.scale.recipes.pipeline import Pipeline

    return Pipeline(
        inputs=settings.inputs,
        split=settings.split,
        out=settings.out,
        size=settings.size,
        infer_tasks=settings.infer_tasks,
        array=settings.array,
        **{command: fields_of(command, given, COMMANDS) for command in COMMANDS},
    )


def _describe(scheduled: "ScheduledStep", where: Where, site: "Site | None") -> str:
    from bionemo.scale.recipes import executors

    if where == "slurm" and site is not None:
        return executors.sbatch_text(scheduled, site)
    words = ["python", *executors.script(scheduled).to_command()]
    if where == "docker" and site is not None:
        executor = executors.docker(scheduled, site)
        volumes = [word for volume in executor.volumes for word in ("--volume", volume)]
        environment = [word for name, value in site.env.items() for word in ("--env", f"{name}={value}")]
        gpus = ["--gpus", "all"] if executor.num_gpus else []
        options = [*gpus, "--shm-size", executor.shm_size, *environment, *volumes]
        words = ["docker", "run", "--rm", *options, site.image, *words]
    return shlex.join(words)
