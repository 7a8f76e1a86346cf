# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Commands that a notebook starts: in a process of their own, with their progress below the cell."""

import os
import subprocess
import sys
from collections.abc import Sequence

from bionemo.scale.megatron.ranks import RANK_VARIABLES
from bionemo.scale.notebook.bars import notebook_stream
from bionemo.scale.process.command import killed
from bionemo.scale.types import InputError


def run_command(module: str, options: Sequence[str]) -> None:
    """Run a command and pass on what it shows.

    Args:
        module: Of the command.
        options: As they are typed.

    Raises:
        InputError: It refused.
        RuntimeError: It failed, or a signal ended it.
    """
    environment = {name: value for name, value in os.environ.items() if name not in RANK_VARIABLES}
    command = [sys.executable, "-m", module, *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    refusal = "it left no message"
    with process, notebook_stream() as stream:
        for line in process.stderr or ():
            # Not inherited: a notebook shows what Python writes, not what its process's descriptors receive.
            stream.write(line)
            if line.startswith("error: "):
                refusal = line.removeprefix("error: ").strip()
    if process.returncode == 2:
        raise InputError(refusal)
    if process.returncode:
        raise RuntimeError(killed(module, process.returncode) or f"{module} ended with exit code {process.returncode}")
