# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""What the functions refuse before any file is read; what they do is tests/end_to_end/test_api.py."""

import subprocess
import sys
from importlib import import_module

import pytest

from bionemo.scale import api
from bionemo.scale.files.provenance import version_of


@pytest.mark.parametrize(
    ("call", "found"),
    [
        (lambda: api.prepare([], "s"), "expected files to convert, found none"),
        (lambda: api.prepare("a.h5ad", "s", num_hgv=3), "unknown setting 'num_hgv'; did you mean 'num_hvg'"),
        (lambda: api.prepare("a.h5ad", "s", workers=0), "workers must be at least 1, found 0"),
        (lambda: api.prepare("a.h5ad", "s", target_sum=float("inf")), "target_sum must be at least 1"),
        (lambda: api.prepare("a.h5ad", "s", target_sum=1e-300), "target_sum must be at least 1"),
        (lambda: api.prepare("a.h5ad", "s", datasets=[""]), "datasets must be text that is not empty, found ''"),
        (lambda: api.prepare("a.h5ad", "s", keys=api.ObsKeys(batch="")), "keys.batch must be the name of a column"),
        (lambda: api.prepare("a.h5ad", "s", knockdown=(0.3, -1.0)), "knockdown must be above 0, found -1.0"),
        (lambda: api.train("s", "r", lr=-1), "lr must be at least 0, found -1"),
        (lambda: api.train("s", "r", seed=-1), "seed must be at least 0"),
        (lambda: api.train("s", "r", max_steps="5"), "max_steps must be a whole number, found '5'"),
        (lambda: api.Predictor.from_checkpoint("r", num_steps=0), "num_steps must be at least 1, found 0"),
        (lambda: api.evaluate("p", "r", "o", seed=-3), "seed must be at least 0"),
        (lambda: api.evaluate("p", "r", "o", target_sum=0.0), "target_sum must be at least 1"),
        (lambda: api.evaluate("p", "r", "o", plots=True), "unknown setting 'plots'; did you mean 'plot'"),
        (lambda: api.rank("s", "o.csv", by="size"), "by must be one of effect, reversal, synergy, dose"),
    ],
)
def test_values_are_refused_by_the_name_of_the_argument(call, found, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(api.InputError) as refused:
        call()
    assert found in str(refused.value) and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("trains", [False, True])
def test_a_store_of_cells_goes_with_a_refused_training(trains, screen, tmp_path, monkeypatch):
    """Also beside the checkpoints of another run; but not where this training made one."""
    theirs, ours = (tmp_path / "run" / "checkpoints" / name for name in ("theirs", "ours"))
    theirs.mkdir(parents=True)

    def refuse(*_: object) -> None:
        if trains:
            ours.mkdir()
        raise api.InputError("refused")

    monkeypatch.setattr(api, "run_command", refuse)
    with pytest.raises(api.InputError, match="refused"):
        api.train(screen, tmp_path / "run", size="tiny")
    assert (tmp_path / "run" / "store").exists() == trains and theirs.is_dir()


def test_the_version_is_that_of_the_distribution():
    assert api.__version__ == version_of("bionemo-scale")
    with pytest.raises(AttributeError, match="'versions'"):
        _ = api.versions


def test_import_of_everything_imports_no_large_library():
    code = """
import sys
from bionemo.scale.api import *
print(prepare.__name__, {"torch", "megatron", "nemo", "matplotlib"} & sys.modules.keys())
from bionemo.scale import api
print(api.TrainSettings.__name__, {"torch", "megatron", "nemo"} & sys.modules.keys())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "prepare set()\nTrainSettings set()\n"


def test_what_is_imported_late_is_a_public_name():
    assert {*api.__all__, "MainConfig", "ScaleModel", "TrainSettings", "plot", "__version__"} <= set(dir(api))
    assert not {"MainConfig", "plot", "TrainSettings"} & set(api.__all__)


def test_a_package_that_is_not_installed_is_named_in_one_line(monkeypatch):
    def lacks(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name="not_installed_here")

    monkeypatch.setattr(api, "import_module", lacks)
    with pytest.raises(ModuleNotFoundError) as missing:
        _ = api.plot
    assert str(missing.value) == (
        "api.plot needs the Python package not_installed_here, which is not installed; docs/install.md says what to "
        "install"
    )
    monkeypatch.setattr(api, "import_module", lambda name: import_module("bionemo.scale.no_such_part"))
    with pytest.raises(ModuleNotFoundError, match="^No module named 'bionemo.scale.no_such_part'$"):
        _ = api.plot
