# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""All commands under one name."""

import importlib
import subprocess

import pytest

from bionemo.scale.files.provenance import version_of
from bionemo.scale.run.main import COMMANDS, main, module_of


def test_every_command_is_reached_by_its_name(pytestconfig):
    import tomllib

    project = tomllib.loads((pytestconfig.rootpath / "sub-packages/bionemo-scale/pyproject.toml").read_text())[
        "project"
    ]
    scripts = {name.removeprefix("bionemo-scale-"): target for name, target in project["scripts"].items()}
    scripts.pop("bionemo-scale")
    assert scripts == {name: f"{module_of(name)}:main" for name in COMMANDS}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_gets_the_words_after_its_name(name, monkeypatch):
    given = []
    monkeypatch.setattr(importlib.import_module(module_of(name)), "main", lambda argv: given.append(argv) or 7)
    assert main([name, "--out", "x"]) == 7
    assert given == [["--out", "x"]]


@pytest.mark.parametrize("words", [["--help"], ["-h"]])
def test_help_lists_the_commands(words, capsys):
    assert main(words) == 0
    assert all(f"  {name} " in capsys_line for name, capsys_line in zip(COMMANDS, _command_lines(capsys), strict=True))


def _command_lines(capsys) -> list[str]:
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]


def test_an_unknown_command_is_refused_in_one_line(capsys):
    assert main(["evaluates"]) == 2
    assert capsys.readouterr().err == "error: unknown command 'evaluates'; did you mean 'evaluate'?\n"


def test_version(capsys):
    assert main(["--version"]) == 0
    with pytest.raises(SystemExit) as stop:
        main(["report", "--version"])
    assert stop.value.code == 0
    version = version_of("bionemo-scale")
    assert capsys.readouterr().out.splitlines() == [f"bionemo-scale {version}", f"bionemo-scale-report {version}"]


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shell_can_complete_commands_options_and_choices(shell, capsys):
    assert main(["--print-completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(word in script for word in (*COMMANDS, "--max-steps", "184m"))


def test_bash_completes_options_of_a_command(tmp_path, capsys):
    main(["--print-completion", "bash"])
    (tmp_path / "completion").write_text(capsys.readouterr().out)
    lines = 'COMP_WORDS=(bionemo-scale train --max-st) COMP_CWORD=2 COMP_LINE="bionemo-scale train --max-st"'
    script = f'. {tmp_path}/completion; {lines}; _shtab_bionemo_scale; echo "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["--max-steps"]


def test_a_shell_without_completion_is_refused(capsys):
    assert main(["--print-completion", "csh"]) == 2
    assert capsys.readouterr().err == "error: --print-completion: expected one of bash, zsh, found 'csh'\n"
