# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Containers on this machine: ``launch.py --on docker``."""

import sys

from launch import run


sys.exit(run("--on", "docker"))
