# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Every command of the package exists, and says what it does at once."""

import json
import re
import resource
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from bionemo.scale.run.main import COMMANDS


PACKAGE = Path(__file__).parents[3]
SCRIPTS = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]["scripts"]
HEAVY = ("torch", "scanpy", "anndata", "pandas", "scipy", "matplotlib", "nemo", "lightning", "megatron", "cell_eval")

PROBE = """
import importlib, json, sys
function = getattr(importlib.import_module(sys.argv[1]), sys.argv[2])
try:
    function(["--help"])
except SystemExit as stop:
    assert stop.code == 0
print(json.dumps([name for name in json.loads(sys.argv[3]) if name in sys.modules]))
"""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What a process printed and what it cost."""

    code: int
    out: str
    err: str
    cpu_seconds: float


def run(*arguments: str) -> Finished:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return Finished(code=done.returncode, out=done.stdout, err=done.stderr, cpu_seconds=cpu)


def test_the_commands_of_the_package():
    assert set(SCRIPTS) == {"bionemo-scale", *(f"bionemo-scale-{name}" for name in COMMANDS)}


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_target_is_a_file_of_the_package(name):
    module, _, function = SCRIPTS[name].partition(":")
    assert function == "main"
    assert (PACKAGE / "src" / Path(*module.split("."))).with_suffix(".py").is_file()


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_help_imports_nothing_heavy(name):
    module, _, function = SCRIPTS[name].partition(":")
    done = run("-c", PROBE, module, function, json.dumps(HEAVY))
    assert done.code == 0, done.err
    assert done.out.startswith(f"usage: {name} ")
    assert json.loads(done.out.splitlines()[-1]) == []


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_help_answers_within_two_seconds(name):
    done = run("-m", SCRIPTS[name].partition(":")[0], "--help")
    assert done.code == 0, done.err
    assert done.out.startswith(f"usage: {name} ") and done.err == ""
    # CPU time, which another process on the machine does not lengthen as it does the time on the wall.
    assert done.cpu_seconds < 2


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_a_missing_option_is_refused_with_code_2(name):
    done = run("-m", SCRIPTS[name].partition(":")[0])
    assert done.code == 2
    assert re.search(r"error: .*(required|expected)", done.err.splitlines()[-1])
    assert "SUPPRESS" not in done.err


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--weighting", "fair", "error: --weighting must be one of proportional, uniform, tempered, found 'fair'"),
        ("--tensor-parallel", "0", "error: --tensor-parallel must be at least 1, found 0"),
        ("--set", "hidden_size", "error: --set expects KEY=VALUE, found 'hidden_size'"),
    ],
)
def test_train_refuses_a_value_in_one_line_before_anything_is_written(option, value, expected, tmp_path):
    folder = tmp_path / "run"
    done = run("-m", "bionemo.scale.run.train", f"--store={tmp_path}", f"--out={folder}", option, value)
    assert (done.code, done.err.strip()) == (2, expected)
    assert not folder.exists()
