# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""``bionemo-scale-rank``: which perturbations of a virtual screen matter, and which to measure next."""

from bionemo.scale.process import interrupt  # isort: skip  # noqa: F401 - before all others, so that an interrupt finds it

import sys
from collections.abc import Sequence

from bionemo.scale.options.parser import OptionParser, make_settings
from bionemo.scale.process.command import run_command
from bionemo.scale.rank.settings import RankSettings


def parser() -> OptionParser:
    """Return the command's options."""
    return OptionParser(
        RankSettings,
        prog="bionemo-scale-rank",
        description="Order the conditions of a virtual screen by one question, or choose those to measure next.",
        epilog="docs/rank.md defines each score and its interval.",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0 done, 2 refused, 130 interrupted."""
    return run_command(_rank, argv)


def _rank(argv: Sequence[str] | None) -> None:
    settings = make_settings(RankSettings, parser().parse_args(argv))
    # Late, so that --help answers at once.
    from bionemo.scale.rank.rank import rank, shown

    ranking = rank(settings)
    for note in ranking.notes:
        print(note if note.startswith("warning: ") else f"note: {note}")
    print(shown(ranking, settings.top))
    print(f"wrote {settings.out}: {len(ranking.table)} conditions")


if __name__ == "__main__":
    sys.exit(main())
