# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What takes long to make is made once for all tests, also where several workers run them."""

import fcntl
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


REPOSITORY = Path(__file__).parents[1]
JOBS = REPOSITORY / "tests" / "distributed" / "jobs.py"
# Ranks of whoever runs the tests.
RANKS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class Commands:
    """Runs commands as forks of a process that has imported NeMo, which takes longer than most of what they do."""

    def __init__(self, log: Path):
        environment = {name: value for name, value in os.environ.items() if name not in RANKS}
        # gloo on the CPU, whatever the machine has.
        environment |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONWARNINGS": "ignore"}
        with log.open("w") as file:
            self._server = subprocess.Popen(
                [sys.executable, JOBS, "--serve"],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
            )

    def run(self, command: str, *arguments: object, code: int = 0) -> str:
        """Run a command by its ``main`` and return what it wrote to the screen."""
        job = {"command": command, "arguments": [*map(str, arguments)], "processes": 1}
        print(json.dumps(job), file=self._server.stdin, flush=True)
        result = json.loads(self._server.stdout.readline())
        assert result["codes"] == [code], result["screen"]
        return result["screen"]

    def close(self) -> None:
        """End the process."""
        self._server.communicate()


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """A process that runs commands one after the other."""
    server = Commands(tmp_path_factory.mktemp("commands") / "log.txt")
    yield server
    server.close()


@pytest.fixture(scope="session")
def entry_points(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment of a process that sees the entry points of pyproject.toml as an installation would show them."""
    project = tomllib.loads((REPOSITORY / "sub-packages" / "bionemo-scale" / "pyproject.toml").read_text())["project"]
    folder = tmp_path_factory.mktemp("installed")
    info = folder / "bionemo_scale_from_source-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bionemo-scale-from-source\nVersion: 0\n")
    lines = [f"{name} = {target}" for name, target in project["entry-points"]["nemo_run.cli"].items()]
    (info / "entry_points.txt").write_text("\n".join(["[nemo_run.cli]", *lines, ""]))
    paths = [str(REPOSITORY / "sub-packages" / "bionemo-scale" / "src"), str(folder)]
    before = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*paths, *([before] if before else [])])}


@pytest.fixture(scope="session")
def make_once(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Callable[..., Path]:
    """Function that makes a folder once a session: the first worker that asks makes it, the others wait for it."""
    base = tmp_path_factory.getbasetemp()
    is_worker = hasattr(request.config, "workerinput")
    shared = base.parent if is_worker else base

    def make(name: str, fill: Callable[[Path], object]) -> Path:
        folder, done = shared / name, shared / f"{name}.done"
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                folder.mkdir()
                fill(folder)
                done.touch()
        return folder

    return make
