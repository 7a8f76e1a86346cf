# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The newest cell-eval beside the one that the paper used.

The two cannot share an environment (numpy 1 against numpy 2), so the newest one lives in an environment of its own in
the user's cache folder, made once, and is spoken to through files. It sees the very same cells.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

import anndata as ad
import polars as pl

from bionemo.scale.eval.cell_eval.adapter import SKIPPED, MetricError
from bionemo.scale.eval.cells.populations import PERTURBATION
from bionemo.scale.files.writing.atomic import atomic
from bionemo.scale.types import InputError


PREFIX = "current_"
"""What the columns of the newest cell-eval begin with."""
PACKAGES = ("cell-eval>=0.8", "pdex>=0.3")
CONVENTIONS = {
    "fdr": "Benjamini-Hochberg over the genes of one perturbation, significant below 0.05",
    "fold_change": "log2 of the ratio of means, not clipped: infinite where a mean is 0",
    "overlap": "top genes by absolute fold change among those significant on both sides, infinite ones first",
    "auc": "adjusted p-values below 1e-10 count as 1e-10",
}
_WORKER = Path(__file__).with_name("newest_worker.py")
_LIST = (
    "import importlib.metadata as m, json; "
    "print(json.dumps({n: m.version(n) for n in ('cell-eval', 'pdex', 'numpy')}))"
)


@dataclass(frozen=True, kw_only=True)
class Environment:
    """An interpreter that has cell-eval."""

    python: Path
    versions: dict[str, str]


def cache_folder() -> Path:
    """Return where the environment lives: ``$XDG_CACHE_HOME`` or ``~/.cache``, then ``bionemo-scale``."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "bionemo-scale" / f"cell-eval-current-py{sys.version_info.major}.{sys.version_info.minor}"


def ensure_environment(folder: Path | None = None) -> Environment:
    """Return the environment, made with venv and pip where it is not there yet; remove the folder to renew it.

    Raises:
        InputError: It cannot be made: no network, no package.
    """
    folder = folder or cache_folder()
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with atomic(folder) as staging:
            venv.create(staging, with_pip=True)
            command = [str(staging / "bin" / "python"), "-m", "pip", "install", "-q", *PACKAGES]
            done = subprocess.run(command, capture_output=True, text=True, env=_clean())
            if done.returncode:
                line = (done.stderr.strip().splitlines() or ["no message"])[-1]
                raise InputError(f"--evaluator current: pip could not install {' '.join(PACKAGES)}: {line}")
    python = folder / "bin" / "python"
    done = subprocess.run([str(python), "-c", _LIST], capture_output=True, text=True, env=_clean())
    if done.returncode:
        raise InputError(f"{folder}: has no cell-eval; remove the folder, it will be made again")
    return Environment(python=python, versions=json.loads(done.stdout))


class CurrentCellEval:
    """A running cell-eval of another version; a context manager."""

    def __init__(self, environment: Environment, *, num_threads: int = 2):
        self.versions = environment.versions
        self._python, self._num_threads = environment.python, num_threads

    def __enter__(self) -> "CurrentCellEval":
        self._folder = Path(tempfile.mkdtemp(prefix="cell-eval-current-"))
        self._log: IO[bytes] = (self._folder / "log.txt").open("wb")
        self._process = subprocess.Popen(
            # Isolated, or the worker's own folder would come first and hide cell_eval behind ours.
            [str(self._python), "-I", str(_WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            bufsize=1,
            env=_clean(),
        )
        assert self._process.stdin is not None and self._process.stdout is not None, "both are pipes"
        self._requests, self._answers = self._process.stdin, self._process.stdout
        self._real: tuple[str, Path] | None = None
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

    def score(self, *, pred: ad.AnnData, real: ad.AnnData, real_key: str, control: str) -> pl.DataFrame:
        """Score one context; the columns are those of the newest cell-eval, each with :data:`PREFIX`.

        Args:
            pred: Predicted perturbed cells and controls, as for :func:`run_cell_eval`.
            real: Measured perturbed cells and controls.
            real_key: Names ``real``, which is written once as long as the name stays.
            control: Label of the controls.

        Raises:
            MetricError: The other cell-eval failed.
        """
        if self._real is None or self._real[0] != real_key:
            self._real = (real_key, self._write(real, "real.h5ad"))
        out = self._folder / "results.parquet"
        request = {
            "pred": str(self._write(pred, "pred.h5ad")),
            "real": str(self._real[1]),
            "out": str(out),
            "control": control,
            "pert_col": PERTURBATION,
            "num_threads": self._num_threads,
            "skip": list(SKIPPED),
        }
        try:
            self._requests.write(json.dumps(request) + "\n")
            line = self._answers.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise MetricError(f"cell-eval {self.versions['cell-eval']} stopped: {self._last_words()}")
        failure = json.loads(line).get("error")
        if failure is not None:
            raise MetricError(f"cell-eval {self.versions['cell-eval']} failed: {failure}")
        results = pl.read_parquet(out)
        numbers = [pl.col(name).cast(pl.Float64).alias(PREFIX + name) for name in results.columns[1:]]
        return results.select(pl.col(results.columns[0]).cast(pl.String).alias("perturbation"), *numbers)

    def _write(self, adata: ad.AnnData, name: str) -> Path:
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
