# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""bionemo-scale-crossval: a screen -> scores of every fold of a cross-validation, and all of them together."""

from bionemo.scale.process import interrupt  # isort: skip  # noqa: F401 - before all others, so that an interrupt finds it

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bionemo.scale.crossval.settings import CrossvalSettings
from bionemo.scale.crossval.stopped import FoldStopped
from bionemo.scale.data.prepare.settings import PrepareSettings
from bionemo.scale.options.commands import Commands, add_commands, fields_of
from bionemo.scale.options.parser import OptionParser, make_settings
from bionemo.scale.process.command import run_command
from bionemo.scale.recipes.defaults import OTHERS
from bionemo.scale.train.callbacks.stopping import EXIT_CONTINUE
from bionemo.scale.train.settings import TrainSettings


if TYPE_CHECKING:
    from bionemo.scale.crossval.crossval import Crossval


COMMANDS: Commands = {
    "prepare": (PrepareSettings, ("inputs", "out", "split", "scanned", "overwrite")),
    "train": (TrainSettings, ("store", "out", "size", "blind", "fold", "perturbation_features")),
}
"""Settings of the steps whose options are the user's, and the fields that are not."""


def parser() -> OptionParser:
    """Return the command's options."""
    options = OptionParser(
        CrossvalSettings,
        prog="bionemo-scale-crossval",
        description="Leave out each cell type, donor or perturbation of a screen in turn. The data are prepared once. "
        "Each fold is trained, predicted and scored beside all classical methods, and the scores are pooled, with "
        "intervals over folds.",
        ways=(
            "INPUT ... --out FOLDER --leave-out WHAT [OPTIONS]",
            "--store STORE --out FOLDER --leave-out WHAT [OPTIONS]",
        ),
        others=OTHERS,
    )
    add_commands(options, CrossvalSettings, COMMANDS)
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command: 0 done, 1 a fold failed, 2 refused, 75 stopped by a signal and saved, 130 interrupted."""
    try:
        return run_command(_crossval, argv)
    except FoldStopped as stop:
        print(f"error: {stop}; the same command continues", file=sys.stderr)
        return EXIT_CONTINUE if stop.code == EXIT_CONTINUE else 1


def _crossval(argv: Sequence[str] | None) -> None:
    given = parser().parse_args(argv)
    settings = make_settings(CrossvalSettings, given)
    from bionemo.scale.crossval.crossval import Crossval
    from bionemo.scale.crossval.job import cross_validate, make_store

    crossval = Crossval(settings=settings, **{name: fields_of(name, given, COMMANDS) for name in COMMANDS})
    if settings.on == "slurm" or settings.dryrun:
        make_store(crossval, _say)
        _show_folds(crossval)
        if settings.on == "slurm":
            _submit(crossval)
        return
    pooled = cross_validate(crossval, _say)
    if pooled is not None:
        print(f"\n{pooled.table}\n\nresults in {crossval.out}")


def _show_folds(crossval: "Crossval") -> None:
    for number, fold in enumerate(crossval.folds):
        state = "finished" if crossval.is_finished(number) else "to do"
        print(f"fold {number + 1}/{len(crossval.folds)} {fold.name}: {len(fold.units)} left out, {state}")


def _submit(crossval: "Crossval") -> None:
    """Submit the folds as a job array and a job that waits for it, or print the scripts."""
    from bionemo.scale.crossval.job import cluster_steps
    from bionemo.scale.recipes import executors
    from bionemo.scale.recipes.site import read_site

    assert crossval.settings.site is not None, "checked by the settings"
    site, steps = read_site(crossval.settings.site), cluster_steps(crossval)
    if crossval.settings.dryrun:
        for scheduled in steps:
            print(executors.sbatch_text(scheduled, site), flush=True)
        return
    executors.submit_slurm(steps, site)


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
