# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""``bionemo-scale-submit``: predicted counts as one file for the Virtual Cell Challenge."""

from bionemo.scale.process import interrupt  # isort: skip  # noqa: F401 - before all others, so that an interrupt finds it

import shlex
import sys
from collections.abc import Sequence

from bionemo.scale.options.parser import OptionParser, make_settings
from bionemo.scale.process.command import run_command
from bionemo.scale.submit.settings import SubmitSettings


def parser() -> OptionParser:
    """Return the command's options."""
    return OptionParser(
        SubmitSettings,
        prog="bionemo-scale-submit",
        description="Check predicted counts by the rules of the Virtual Cell Challenge 2026 and write one file to "
        "submit. What can be mended without changing predictions is mended and reported, the rest is refused.",
        epilog="docs/challenge.md lists the rules.",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0 done, 2 refused, 130 interrupted."""
    return run_command(_submit, argv)


def _submit(argv: Sequence[str] | None) -> None:
    settings = make_settings(SubmitSettings, parser().parse_args(argv))
    # Late, so that --help answers at once.
    from bionemo.scale.submit.write import submit

    done = submit(settings)
    for note in done.notes:
        print(f"note: {note}")
    print(done.line)
    words = ["vcc", "prep", settings.out, "-g", settings.genes, "--perts", settings.perturbations]
    words += ["--contexts", ",".join(done.contexts)] if settings.contexts else []
    print(f"next, with the challenge's own vcc-cli: {shlex.join(map(str, words))}")


if __name__ == "__main__":
    sys.exit(main())
