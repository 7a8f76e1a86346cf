# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""bionemo-scale-recipe: size and preset -> a file of settings for ``bionemo-scale-train --config``."""

from bionemo.scale.process import interrupt  # isort: skip  # noqa: F401 - before all others, so that an interrupt finds it

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bionemo.scale.options.config_file import write_yaml
from bionemo.scale.options.fields import option
from bionemo.scale.options.parser import OptionParser, make_settings
from bionemo.scale.options.settings import Settings
from bionemo.scale.process.command import next_step, run_command
from bionemo.scale.recipes.defaults import OTHERS
from bionemo.scale.run.config.given import SettingsFile, config_models, given_values, training_of
from bionemo.scale.run.config.sections import SECTIONS
from bionemo.scale.train.settings import TrainSettings


@dataclass(frozen=True, kw_only=True)
class RecipeFile(Settings):
    """Where the settings go."""

    dest: Path = option(metavar="FILE.yaml")
    """File to write."""


def parser() -> OptionParser:
    """Return the command's options."""
    return OptionParser(
        RecipeFile,
        SettingsFile,
        TrainSettings,
        prog="bionemo-scale-recipe",
        description="Write every setting of a training run to a YAML file, in the sections of BioNeMo's models. "
        f"Nothing is trained. The sections are {', '.join(SECTIONS.values())}.",
        epilog="bionemo-scale-train --config FILE.yaml trains it. Without --store and --out the file suits any store.",
        ways=("--dest FILE.yaml [OPTIONS]",),
        others=OTHERS,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command: 0 done, 2 refused, 130 interrupted."""
    return run_command(_write, argv)


def _write(argv: Sequence[str] | None) -> None:
    options = parser().parse_args(argv)
    dest, values = make_settings(RecipeFile, options).dest, given_values(options)
    settings = training_of(values)
    config = config_models().MainConfig.from_settings(settings)
    missing = {name: text for name, text in {"store": "STORE", "out": "RUN"}.items() if name not in values}
    write_yaml(dest, config.as_dict(without=missing))
    print(f"settings in {dest}")
    print(next_step("train", config=dest, **missing))


if __name__ == "__main__":
    sys.exit(main())
