# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Writes docs/commands.md: the help of every command, as the command gives it."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path


REPOSITORY = Path(__file__).resolve().parents[1]


def main() -> None:
    """Write the page beside this file, or where the first argument says."""
    scripts = tomllib.loads((REPOSITORY / "sub-packages/bionemo-scale/pyproject.toml").read_text())["project"][
        "scripts"
    ]
    parts = [
        "# Commands\n\nEvery option of every command, as in `--help`. [Which command](which-command.md) begins "
        "with what you want to do.\n\nThe exit code is 0 when a command is done, 1 when it failed, 2 when it refused "
        "its input (one line says why), and 75 when a training was stopped and saved."
    ]
    for name, target in scripts.items():
        done = subprocess.run(
            [sys.executable, "-m", target.partition(":")[0], "--help"],
            capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "100"},
        )  # fmt: skip
        parts.append(f"## {name}\n\n```text\n{done.stdout.strip()}\n```")
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("commands.md")
    out.write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    main()
