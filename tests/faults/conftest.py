# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The undamaged inputs, made once, and the scripts that damage them and stop commands, run as a user would."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


HERE = Path(__file__).parent


def _script(name: str, *words: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, HERE / f"{name}.py", *map(str, words)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )


def _make(folder: Path) -> None:
    done = _script("inputs", folder / "inputs")
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(scope="session")
def inputs(make_once: Callable[..., Path]) -> Path:
    return make_once("faults", _make) / "inputs"


@pytest.fixture
def script(inputs: Path) -> Callable[..., subprocess.CompletedProcess]:
    """Run a script of this folder on the inputs."""
    return lambda name, *words: _script(name, "--inputs", inputs, *words)
