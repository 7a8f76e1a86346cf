# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""An evaluator's own environment is made once and announced; one that cannot be made is refused and leaves nothing."""

import json
from pathlib import Path

import pytest

from bionemo.scale.eval.cell_eval import environment
from bionemo.scale.eval.cell_eval.adapter import MetricError
from bionemo.scale.eval.cell_eval.challenge import CELL_EVAL2
from bionemo.scale.eval.cell_eval.environment import Environment, Worker, cache_folder, ensure_environment
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
    versions = dict.fromkeys(CELL_EVAL2.listed, "0.20.0")
    monkeypatch.setattr(environment.venv, "create", make(f"echo '{json.dumps(versions)}'"))
    said: list[str] = []
    for _ in range(2):
        found = ensure_environment(CELL_EVAL2, tmp_path / "environment", announce=said.append)
        assert found.versions == versions
    assert len(said) == 1


NO_VERSIONS = ["exit 1", "echo words", "echo '[1]'", "echo '{}'", """echo '{"cell-eval2": 2}'""", "printf '\\377'"]


@pytest.mark.parametrize("answer", [None, *NO_VERSIONS])
def test_a_folder_that_is_no_environment(tmp_path, answer):
    if answer:
        make(answer)(tmp_path, with_pip=False)
    with pytest.raises(InputError, match="has no cell-eval2; remove the folder"):
        ensure_environment(CELL_EVAL2, tmp_path)


def test_a_file_is_no_environment(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file: has no cell-eval2; remove the folder"):
        ensure_environment(CELL_EVAL2, tmp_path / "file")


@pytest.mark.parametrize("answer", ["words", "[1]", "7"])
def test_an_evaluator_that_answers_something_else_has_failed(tmp_path, answer):
    make(f"read request; echo '{answer}'")(tmp_path, with_pip=False)
    found = Environment(python=tmp_path / "bin" / "python", versions={"cell-eval2": "0.20.0"})
    with (
        Worker(found, tool=CELL_EVAL2, script=tmp_path / "script.py") as worker,
        pytest.raises(MetricError, match="cell-eval2 0.20.0 stopped: expected an answer in JSON, found"),
    ):
        worker.ask({})


def test_every_evaluator_has_a_folder_of_its_own(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert len({cache_folder(NEWEST), cache_folder(CELL_EVAL2)}) == 2
    assert cache_folder(CELL_EVAL2).parent == Path("/cache/bionemo-scale")
