# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""An evaluator's own environment is made once and announced; one that cannot be made is refused and leaves nothing."""

from pathlib import Path

import pytest

from bionemo.scale.eval.cell_eval import environment
from bionemo.scale.eval.cell_eval.challenge import CELL_EVAL2
from bionemo.scale.eval.cell_eval.environment import cache_folder, ensure_environment
from bionemo.scale.eval.cell_eval.newest import NEWEST
from bionemo.scale.types import InputError


def make(answer: str):
    """Return what makes an environment whose interpreter gives one answer to everything."""

    def create(folder: Path, with_pip: bool) -> None:
        (folder / "bin").mkdir(parents=True)
        (folder / "bin" / "python").write_text(f"#!/bin/sh\n{answer}\n")
        (folder / "bin" / "python").chmod(0o755)

    return create


@pytest.mark.parametrize("tool", [NEWEST, CELL_EVAL2])
def test_an_environment_that_cannot_be_made_leaves_nothing(tmp_path, monkeypatch, tool):
    monkeypatch.setattr(environment.venv, "create", make("echo ERROR: No matching distribution found >&2; exit 1"))
    folder, said = tmp_path / "cache" / "environment", []
    expected = rf"--evaluator {tool.option}: pip could not install {tool.packages[0]}.*: ERROR: No matching"
    with pytest.raises(InputError, match=expected):
        ensure_environment(tool, folder, announce=said.append)
    assert list((tmp_path / "cache").iterdir()) == []
    assert said == [f"note: --evaluator {tool.option}: pip downloads {' '.join(tool.packages)} into {folder}, once"]


def test_an_environment_is_made_once(tmp_path, monkeypatch):
    monkeypatch.setattr(environment.venv, "create", make("""echo '{"cell-eval2": "0.20.0"}'"""))
    said: list[str] = []
    for _ in range(2):
        found = ensure_environment(CELL_EVAL2, tmp_path / "environment", announce=said.append)
        assert found.versions == {"cell-eval2": "0.20.0"}
    assert len(said) == 1


@pytest.mark.parametrize("has_python", [True, False])
def test_a_folder_that_is_no_environment(tmp_path, has_python):
    if has_python:
        make("exit 1")(tmp_path, with_pip=False)
    with pytest.raises(InputError, match="has no cell-eval2; remove the folder"):
        ensure_environment(CELL_EVAL2, tmp_path)


def test_every_evaluator_has_a_folder_of_its_own(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert len({cache_folder(NEWEST), cache_folder(CELL_EVAL2)}) == 2
    assert cache_folder(CELL_EVAL2).parent == Path("/cache/bionemo-scale")
