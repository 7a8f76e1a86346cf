# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""A Slurm cluster: ``launch.py --on slurm``."""

import sys

from launch import run


sys.exit(run("--on", "slurm"))
