# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Other evaluators run by an interpreter of their own, and are spoken to through files.

One whose packages cannot stand beside ours gets an environment in the user's cache folder, made once.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, TypeVar

import anndata as ad

from bionemo.scale.eval.cell_eval.adapter import MetricError
from bionemo.scale.files.writing.atomic import atomic
from bionemo.scale.types import InputError


_Running = TypeVar("_Running", bound="Worker")


@dataclass(frozen=True, kw_only=True)
class Tool:
    """An evaluator of another package."""

    option: str
    """Value of ``--evaluator``."""
    name: str
    """Its distribution."""
    packages: tuple[str, ...]
    """What pip installs."""
    listed: tuple[str, ...]
    """Distributions whose versions decide its numbers."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """An interpreter that has the tool."""

    python: Path
    versions: dict[str, str]


def cache_folder(tool: Tool) -> Path:
    """Return where the environment lives: ``$XDG_CACHE_HOME`` or ``~/.cache``, then ``bionemo-scale``."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    version = f"py{sys.version_info.major}.{sys.version_info.minor}"
    return Path(root) / "bionemo-scale" / f"cell-eval-{tool.option.removeprefix('cell-eval')}-{version}"


def ensure_environment(
    tool: Tool, folder: Path | None = None, *, announce: Callable[[str], None] = lambda line: None
) -> Environment:
    """Return the environment, made with venv and pip where it is not there yet; remove the folder to renew it.

    Args:
        tool: What it must have.
        folder: Where it is; ``None`` takes :func:`cache_folder`.
        announce: Called with a line before anything is downloaded.

    Raises:
        InputError: It cannot be made (no network, no package), or the folder is something else.
    """
    folder = folder or cache_folder(tool)
    if not folder.exists():
        announce(f"note: --evaluator {tool.option}: pip downloads {' '.join(tool.packages)} into {folder}, once")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with atomic(folder) as staging:
            venv.create(staging, with_pip=True)
            command = [str(staging / "bin" / "python"), "-m", "pip", "install", "-q", *tool.packages]
            done = subprocess.run(command, capture_output=True, text=True, env=_clean())
            if done.returncode:
                line = (done.stderr.strip().splitlines() or ["no message"])[-1]
                raise InputError(f"--evaluator {tool.option}: pip could not install {' '.join(tool.packages)}: {line}")
    return Environment(python=folder / "bin" / "python", versions=_versions(tool, folder))


def _versions(tool: Tool, folder: Path) -> dict[str, str]:
    listing = f"import importlib.metadata as m, json; print(json.dumps({{n: m.version(n) for n in {tool.listed!r}}}))"
    try:
        done = subprocess.run(
            [str(folder / "bin" / "python"), "-c", listing], capture_output=True, text=True, env=_clean()
        )
        found = None if done.returncode else json.loads(done.stdout)
    except (OSError, ValueError):
        found = None
    if isinstance(found, dict) and all(isinstance(found.get(name), str) for name in tool.listed):
        return {name: found[name] for name in tool.listed}
    raise InputError(f"{folder}: has no {tool.name}; remove the folder, it will be made again")


class Worker:
    """A running evaluator of another interpreter; a context manager."""

    def __init__(self, environment: Environment, *, tool: Tool, script: Path):
        self.versions = environment.versions
        self._python, self._tool, self._script = environment.python, tool, script

    def __enter__(self: _Running) -> _Running:
        self._folder = Path(tempfile.mkdtemp(prefix="cell-eval-other-"))
        self._log: IO[bytes] = (self._folder / "log.txt").open("wb")
        self._process = subprocess.Popen(
            # Isolated, or the worker's own folder would come first and hide its modules behind ours.
            [str(self._python), "-I", str(self._script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            bufsize=1,
            env=_clean(),
        )
        assert self._process.stdin is not None and self._process.stdout is not None, "both are pipes"
        self._requests, self._answers = self._process.stdin, self._process.stdout
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._requests.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._answers.close()
        self._log.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a request, both as JSON holds them.

        Raises:
            MetricError: It failed, or stopped.
        """
        name = f"{self._tool.name} {self.versions[self._tool.name]}"
        try:
            self._requests.write(json.dumps(request) + "\n")
            line = self._answers.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise MetricError(f"{name} stopped: {self._last_words()}")
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise MetricError(f"{name} stopped: expected an answer in JSON, found {line.strip()[:80]!r}")
        if answer.get("error") is not None:
            raise MetricError(f"{name} failed: {answer['error']}")
        return answer

    def write(self, adata: ad.AnnData, name: str) -> Path:
        """Write cells where the evaluator reads them."""
        # Writing turns labels into categories in place; these are the caller's.
        ad.AnnData(X=adata.X, obs=adata.obs.copy(), var=adata.var.copy()).write_h5ad(self._folder / name)
        return self._folder / name

    def _last_words(self) -> str:
        self._log.flush()
        lines = (self._folder / "log.txt").read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "no message"


def _clean() -> dict[str, str]:
    """Return the environment variables without those that would lead the other interpreter to our packages."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
