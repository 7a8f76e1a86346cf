# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""This machine: ``launch.py --on local``."""

import sys

from launch import run


sys.exit(run("--on", "local"))
