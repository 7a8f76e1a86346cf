# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""``bionemo-scale-split``: a split file by a rule, for ``bionemo-scale-prepare --split``."""

from bionemo.scale.process import interrupt  # isort: skip  # noqa: F401 - before all others, so that an interrupt finds it

import sys
from collections.abc import Sequence

from bionemo.scale.data.folds.split_settings import SplitSettings
from bionemo.scale.options.parser import OptionParser, make_settings
from bionemo.scale.process.command import run_command


def parser() -> OptionParser:
    """Return the command's options."""
    return OptionParser(
        SplitSettings,
        prog="bionemo-scale-split",
        description="Choose perturbations or cell types to hold out by a rule, and write the split file for "
        "bionemo-scale-prepare.",
        epilog="The same options, data and seed give the same file; its first lines state the rule, seed and hash.",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0 done, 2 refused, 130 interrupted."""
    return run_command(_split, argv)


def _split(argv: Sequence[str] | None) -> None:
    settings = make_settings(SplitSettings, parser().parse_args(argv))
    # Late, so that --help answers at once.
    from bionemo.scale.data.folds.split_file import counts_line, make_split

    done = make_split(settings)
    for line in done.warnings:
        print(f"warning: {line}", file=sys.stderr)
    print(f"wrote {done.out}: {counts_line(done.split)}")
    if done.untrained_agents:
        print(f"no training cell has {', '.join(done.untrained_agents)}")
    print(f"sha256 {done.split.sha256}")


if __name__ == "__main__":
    sys.exit(main())
