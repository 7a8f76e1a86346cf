# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Run folders from strangers: whatever their files hold, no command runs it."""

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import fiddle
import numpy as np
import pytest
import torch
from fiddle.experimental import serialization

from bionemo.scale import api


pytestmark = pytest.mark.slow


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return exec, (f"open({str(self.marker)!r}, 'w').close()",)


def make_file(path: str) -> None:
    Path(path).touch()


@pytest.fixture
def run(api_run: Path, tmp_path: Path) -> Path:
    shutil.copytree(api_run, tmp_path / "run")
    return tmp_path / "run"


def checkpoints(run: Path) -> list[Path]:
    return [path for path in (run / "checkpoints").iterdir() if path.is_dir()]


def in_metadata(checkpoint: Path, marker: Path) -> None:
    (checkpoint / "weights" / ".metadata").write_bytes(pickle.dumps(Payload(marker)))


def in_common(checkpoint: Path, marker: Path) -> None:
    torch.save(Payload(marker), checkpoint / "weights" / "common.pt")


def in_model_yaml(checkpoint: Path, marker: Path) -> None:
    path = checkpoint / "context" / "model.yaml"
    path.write_text(path.read_text() + f"\nmore: !!python/object/apply:os.system ['touch {marker}']\n")


def command(name: str, *options: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", f"bionemo.scale.run.{name}", *map(str, options)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.parametrize("plant", [in_metadata, in_common, in_model_yaml])
@pytest.mark.parametrize("how", ["infer", "finetune", "resume"])
def test_a_hostile_checkpoint_is_one_line(plant, how, run, api_store, tmp_path):
    if (plant, how) == (in_model_yaml, "resume"):
        pytest.skip("a run that goes on does not read it")
    for checkpoint in checkpoints(run):
        plant(checkpoint, tmp_path / "marker")
    small = ("--size", "tiny", "--max-steps", 8, "--val-interval", 6, "--log-interval", 3)
    done = {
        "infer": lambda: command("infer", "--checkpoint", run, "--store", api_store, "--out", tmp_path / "out"),
        "finetune": lambda: command(
            "train", "--from-checkpoint", run, "--store", api_store, "--out", tmp_path / "out", "--max-steps", 2
        ),
        "resume": lambda: command("train", "--store", api_store, "--out", run, *small),
    }[how]()
    assert done.returncode == 2, done.stderr
    # On a busy machine a command says every few seconds that it is still at work.
    (line,) = [line for line in done.stderr.splitlines() if line and not line.startswith("loading ")]
    assert line.startswith("error: ") and str(run) in line and ("cannot be read" in line or "expected YAML" in line)
    assert not (tmp_path / "marker").exists() and not (tmp_path / "out").exists()


def test_files_that_nobody_reads_run_nothing(run, api_store, tmp_path):
    """NeMo's description of objects, its artifacts and the tables of the first start, which a run writes again."""
    marker = tmp_path / "marker"
    hostile = serialization.dump_json(fiddle.Config(make_file, path=str(marker)))
    for checkpoint in checkpoints(run):
        for path in (checkpoint / "context").iterdir():
            if path.name == "io.json":
                path.write_text(hostile)
            elif path.suffix != ".yaml":
                path.write_bytes(pickle.dumps(Payload(marker)))
    np.savez(run / "tables.npz", effects=np.array([Payload(marker)], dtype=object))
    predictor = api.Predictor.from_checkpoint(run)
    assert len(predictor.card.genes) == 200
    api.train(api_store, run, size="tiny", max_steps=8, val_interval=6, log_interval=3)
    assert not marker.exists()
