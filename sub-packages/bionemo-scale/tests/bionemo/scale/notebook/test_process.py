# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import sys

import pytest

from bionemo.scale.notebook.process import run_command
from bionemo.scale.types import InputError


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module that ends as it is told."""
    code = "import sys\nprint('error: ' + sys.argv[2] if sys.argv[2:] else 'working', file=sys.stderr)\n"
    (tmp_path / "told.py").write_text(code + "sys.exit(int(sys.argv[1]))\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "told"


def test_what_a_command_shows_is_shown(module, capsys):
    run_command(module, ["0"])
    assert capsys.readouterr().err == "working\n"


def test_its_refusal_is_raised(module):
    with pytest.raises(InputError, match="^s: no store$"):
        run_command(module, ["2", "s: no store"])
    with pytest.raises(RuntimeError, match="told ended with exit code 1"):
        run_command(module, ["1"])
    assert "told" not in sys.modules


@pytest.mark.parametrize("ends", ["os.kill(os.getpid(), signal.SIGKILL)", "sys.exit(137)"])
def test_a_command_that_is_killed_is_told(ends, module, tmp_path):
    """Itself, or a process that it has started."""
    (tmp_path / "told.py").write_text(f"import os, signal, sys\n{ends}\n")
    with pytest.raises(
        RuntimeError, match="^told was ended by SIGKILL, which the system sends where memory runs out$"
    ):
        run_command(module, [])
