# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""From h5ad files to scores: prepare, train, infer and evaluate, on this machine, in Docker or on Slurm.

python recipes/launch.py --on local --inputs screen.h5ad --split split.toml --out runs/one --dryrun
"""

import sys
from pathlib import Path

from bionemo.scale.run.inner.launch import main


def run(*options: str) -> int:
    """Launch what the command line says, after these options, and return the exit code."""
    return main([*options, *sys.argv[1:]], site=Path(__file__).with_name("site.yaml"))


if __name__ == "__main__":
    sys.exit(run())
