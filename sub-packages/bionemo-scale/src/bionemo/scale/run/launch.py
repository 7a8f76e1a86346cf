# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What the scripts in recipes/ share: options over a pipeline, and where it runs."""

from bionemo.scale.run import interrupt  # isort: skip  # noqa: F401 - before all others, so that an interrupt finds it

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bionemo.scale.run.command import run_command


if TYPE_CHECKING:
    from bionemo.scale.recipes.pipeline import Pipeline

_OF_PIPELINE = ("inputs", "split", "out", "size", "infer_tasks", "array")
Where = Literal["local", "docker", "slurm"]


def parser(where: Where, site: Path | None) -> argparse.ArgumentParser:
    """Return the options of a launch script."""
    options = argparse.ArgumentParser(
        description=f"prepare -> train -> infer -> evaluate, {where}. What is not given is as the script says.",
        argument_default=argparse.SUPPRESS,
    )
    add = options.add_argument
    add("--inputs", type=Path, nargs="+", metavar="IN.h5ad", help="screens")
    add("--split", type=Path, help="split file")
    add("--out", type=Path, help="folder for store, run, predicted and scores")
    add("--size", help="size of the model")
    add("--infer-tasks", type=int, help="processes that share the prediction")
    for name in ("max_steps", "devices", "num_nodes", "tensor_parallel"):
        add(f"--{name.replace('_', '-')}", type=int, help="of the training")
    if where == "slurm":
        add("--array", action="store_true", help="convert each file in a job of its own, and merge")
    add("--dryrun", action="store_true", help="print what would be run or submitted, and do nothing")
    if site is not None:
        add("--site", type=Path, default=site, help=f"settings of the site (default: {site.name} beside the script)")
    return options


def main(pipeline: "Pipeline", where: Where, *, site: Path | None = None, argv: Sequence[str] | None = None) -> int:
    """Run a launch script and return its exit code: 0 done or submitted, 1 a step failed, 2 refused."""
    from bionemo.scale.recipes.pipeline import StepFailed

    try:
        return run_command(lambda given: _launch(pipeline, where, site, given), argv)
    except StepFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _launch(pipeline: "Pipeline", where: Where, site: Path | None, argv: Sequence[str] | None) -> None:
    options = vars(parser(where, site).parse_args(argv))
    dryrun, site_path = options.pop("dryrun", False), options.pop("site", None)
    chosen = {name: options.pop(name) for name in _OF_PIPELINE if name in options}
    if "inputs" in chosen:
        chosen["inputs"] = tuple(chosen["inputs"])
    from bionemo.scale.recipes.pipeline import place
    from bionemo.scale.recipes.site import read_site

    # First what can be wrong, then NeMo-Run, whose import takes seconds.
    steps = place(replace(pipeline, **chosen, train={**pipeline.train, **options}))
    place_of_run = None if site_path is None else read_site(site_path)
    from bionemo.scale.recipes import executors

    if dryrun:
        for placed in steps:
            print(_describe(placed, where, place_of_run), flush=True)
    elif where == "slurm":
        executors.submit_slurm(steps, place_of_run)
    else:
        executors.run_here(steps, place_of_run)


def _describe(placed: Any, where: Where, site: Any) -> str:
    import shlex

    from bionemo.scale.recipes import executors

    if where == "slurm":
        return executors.sbatch_text(placed, site)
    words = executors.script(placed).to_command(with_entrypoint=True)
    if where == "docker":
        executor = executors.docker(placed, site)
        volumes = [word for volume in executor.volumes for word in ("--volume", volume)]
        gpus = ["--gpus", "all"] if executor.num_gpus else []
        words = ["docker", "run", "--rm", *gpus, "--shm-size", executor.shm_size, *volumes, site.image, *words]
    return shlex.join(words)
