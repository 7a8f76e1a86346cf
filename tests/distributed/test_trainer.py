# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""bionemo-scale-train on every layout of processes, and what its checkpoints can be used for afterwards.

Ten steps on real cells through NeMo's trainer, by one process and by two or four that share the work: the same losses,
the same weights, one kind of checkpoint. All runs happen once, before the first test.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import anndata
import numpy as np
import pytest
import torch
from torch.distributed.checkpoint import FileSystemReader, load
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from bionemo.scale.train.callbacks.metrics_file import SPEED


pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = REPOSITORY / "examples"
JOBS = Path(__file__).with_name("jobs.py")
ALL_JOBS_SECONDS = 900
STEPS = 10
LAYOUTS = {
    "tensor": (2, "--tensor-parallel", "2"),
    "data": (2, "--micro-batch-size", "4"),
    # Two micro-batches: the stages work at the same time.
    "pipeline": (2, "--pipeline-parallel", "2", "--micro-batch-size", "4", "--accumulate", "2"),
    "tensor and pipeline": (4, "--tensor-parallel", "2", "--pipeline-parallel", "2"),
}
TUNED = ("--lora", "4", "--freeze", "decoder")
MIXED = ("--sets", "mixed")
SHARED = ("--share-controls", "4")
DROPOUT = ("--set", "hidden_dropout=0.1", "--set", "attention_dropout=0.1")


def environment() -> dict[str, str]:
    inherited = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    kept = {name: value for name, value in os.environ.items() if name not in inherited}
    # gloo on the CPU, whatever the machine has.
    return {**kept, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONWARNINGS": "ignore"}


def job(command: str, *arguments: object, processes: int = 1, crash_at: int | None = None) -> dict:
    return dict(command=command, arguments=[*map(str, arguments)], processes=processes, crash_at=crash_at)


class Runs:
    """A folder of runs on one store."""

    def __init__(self, folder: Path):
        self.folder = folder

    def arguments(self, name: str, *more: object, processes: int = 1) -> list[object]:
        size = ("--size", "tiny", "--set-size", 16, "--max-steps", STEPS, "--val-interval", 5, "--log-interval", 1)
        # The average of the weights is a part of the network that no gradient reaches.
        model = ("--lr", 3e-4, "--set", "ema_decay=0.9")
        place = ("--store", self.folder / "store", "--out", self.folder / name, "--devices", processes)
        return [*place, *size, *model, *more]

    def train(self, name: str, *more: object, processes: int = 1, crash_at: int | None = None) -> dict:
        arguments = self.arguments(name, *more, processes=processes)
        return job("train", *arguments, processes=processes, crash_at=crash_at)

    def jobs(self) -> list[dict]:
        """What is run, in this order."""
        data = EXAMPLES / "data" / "kang2018_pbmc_ifnb.h5ad"
        split = ("--split", EXAMPLES / "splits" / "kang.toml")
        options = ("--dataset", "kang", "--library-size-key", "n_counts_full", "--hvg", 200)
        both = ("--tensor-parallel", 2, "--pipeline-parallel", 2)
        # What layouts do not pass through torchrun here goes through it in test_the_command_starts_its_processes.
        layouts = [self.train(name, *more, processes=count) for name, (count, *more) in LAYOUTS.items()]
        predict = [
            job(
                "infer", "--checkpoint", self.folder / name, "--store", self.folder / "store", "--out", self.pred(name)
            )
            for name in ("one", "tensor and pipeline", "bf16")
        ]
        return [
            job("prepare", data, "--out", self.folder / "store", *split, *options),
            self.train("one"),
            *layouts,
            self.train("grown", crash_at=7),
            self.train("grown", *both, processes=4),
            self.train("shrunk", *both, processes=4, crash_at=7),
            self.train("shrunk"),
            self.train("dropout", *DROPOUT),
            self.train("stopped", *DROPOUT, crash_at=7),
            self.train("stopped", *DROPOUT),
            self.train("mixed", *MIXED),
            self.train("mixed in layout", *MIXED, *both, processes=4, crash_at=7),
            self.train("mixed in layout", *MIXED, "--micro-batch-size", 4, processes=2),
            self.train("shared", *SHARED),
            self.train("shared in layout", *SHARED, *both, processes=4, crash_at=7),
            self.train("shared in layout", *SHARED, "--micro-batch-size", 4, processes=2),
            self.train("bf16", "--precision", "bf16"),
            self.train("tuned", *self.tuned(), crash_at=7),
            self.train("tuned", *self.tuned()),
            self.train("tuned in layout", *self.tuned(), *both, processes=4),
            job("export", self.folder / "one", "--out", self.folder / "export"),
            self.train("tuned from an export", *self.tuned("export"), *both, processes=4),
            *predict,
            dict(call="predict_once", processes=2, arguments=self.once("one", 2)),
            dict(call="predict_once", processes=1, arguments=self.once("tensor and pipeline", 1)),
        ]

    def tuned(self, start: str = "one") -> tuple[object, ...]:
        return ("--from-checkpoint", self.folder / start, *TUNED)

    def once(self, name: str, ranks: int) -> dict:
        out = self.folder / f"once-{ranks}"
        out.mkdir()
        return dict(checkpoint=str(self.folder / name), out=str(out), tensor_parallel=ranks)

    def pred(self, name: str) -> Path:
        return self.folder / f"{name}.h5ad"

    def metrics(self, name: str) -> list[dict[str, str]]:
        with (self.folder / name / "metrics.csv").open() as file:
            return list(csv.DictReader(file))

    def losses(self, name: str, kind: str = "loss") -> list[float]:
        return [float(row[kind]) for row in self.metrics(name) if row[kind]]

    def checkpoint(self, name: str) -> dict[str, torch.Tensor]:
        """Every tensor of a run's last checkpoint, whole: weights, and the optimizer's state."""
        (last,) = (self.folder / name / "checkpoints").glob("*-last")
        reader = FileSystemReader(last / "weights")
        stored = reader.read_metadata().state_dict_metadata
        tensors = {
            key: torch.empty(entry.size, dtype=entry.properties.dtype)
            for key, entry in stored.items()
            if isinstance(entry, TensorStorageMetadata)
        }
        load(tensors, storage_reader=reader, no_dist=True)
        return tensors


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Runs:
    folder = tmp_path_factory.mktemp("trainer")
    runs = Runs(folder)
    jobs = runs.jobs()
    (folder / "jobs.json").write_text(json.dumps(jobs))
    command = [sys.executable, str(JOBS), str(folder / "jobs.json"), str(folder / "results.json")]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=ALL_JOBS_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    for each, result in zip(jobs, json.loads((folder / "results.json").read_text()), strict=True):
        expected = 9 if each.get("crash_at") else 0
        assert set(result["codes"]) == {expected}, f"{each}\n{result['codes']}\n{result['screen'][-4000:]}"
    return runs


def assert_same_run(runs: Runs, name: str, reference: str = "one") -> None:
    """Losses to 1e-5, weights to 1e-4, and the same tensors in the checkpoint."""
    assert runs.losses(name) == pytest.approx(runs.losses(reference), rel=1e-5)
    assert runs.losses(name, "val_loss") == pytest.approx(runs.losses(reference, "val_loss"), rel=1e-5)
    expected, found = runs.checkpoint(reference), runs.checkpoint(name)
    assert set(found) == set(expected)
    for key in (key for key in expected if key.startswith("module.")):
        torch.testing.assert_close(found[key], expected[key], rtol=0, atol=1e-4, msg=key)


def test_one_process_learns(runs):
    losses = runs.losses("one")
    assert len(losses) == STEPS and losses[-1] < 0.8 * losses[0]
    assert len(runs.losses("one", "val_loss")) == 2


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_trains_as_one_process_does(layout, runs):
    assert_same_run(runs, layout)


def test_the_checkpoint_holds_whole_tensors(runs):
    """Of a network whose every part was split; the average of the weights beside them."""
    weights = runs.checkpoint("tensor and pipeline")
    assert weights["module.transport_blocks.blocks.layers.self_attention.linear_qkv.weight"].shape == (2, 96, 32)
    assert weights["module.expression_decoder.mlp.linear_fc2.weight"].shape == (200, 64)
    averages = {key for key in weights if key.startswith("module.average.")}
    assert averages == {key.replace("module.", "module.average.") for key in weights if _is_weight(key)}


def _is_weight(key: str) -> bool:
    return key.startswith("module.") and not key.startswith("module.average.")


@pytest.mark.parametrize("name", ["grown", "shrunk"])
def test_a_run_goes_on_under_another_layout(name, runs):
    """From one process to four, and from four to one, after a crash two steps beyond a checkpoint."""
    assert_same_run(runs, name)


def test_sets_of_several_batches_and_sizes_are_the_same_under_another_layout(runs):
    """Mixed sets, on four processes until a crash, and then on two copies of the network."""
    assert_same_run(runs, "mixed in layout", reference="mixed")
    assert runs.losses("mixed")[0] != runs.losses("one")[0]
    shares = [float(row["filler_share"]) for name in ("mixed", "one") for row in runs.metrics(name) if row["loss"]]
    assert sum(shares[:STEPS]) < sum(shares[STEPS:]) / 4, "mixed sets are seldom filled up"


def test_sets_that_share_controls_are_the_same_under_another_layout(runs):
    """On four processes until a crash, and then on two copies of the network, each with half of the sets."""
    assert_same_run(runs, "shared in layout", reference="shared")
    assert runs.losses("shared")[0] != runs.losses("one")[0]


def test_fine_tuning_is_the_same_under_another_layout(runs):
    """With adapters and a frozen decoder: in one process that crashed, and on four from a checkpoint of one."""
    assert_same_run(runs, "tuned in layout", reference="tuned")
    before, after = runs.checkpoint("one"), runs.checkpoint("tuned")
    name = "average.expression_decoder.mlp.linear_fc2.weight"
    assert torch.equal(before[f"module.{name}"], after[f"module.{name}"])
    name = "average.transport_blocks.blocks.layers.mlp.linear_fc1.weight"
    assert not torch.equal(before[f"module.{name}"], after[f"module.{name}"]), "adapters are merged"
    assert runs.losses("tuned")[0] < 0.8 * runs.losses("one")[0]


def test_fine_tuning_from_an_export_is_that_from_its_run_in_any_layout(runs):
    """Four processes each take their part of the one file of weights."""
    expected, found = runs.checkpoint("tuned in layout"), runs.checkpoint("tuned from an export")
    assert set(found) == set(expected)
    assert [name for name, value in expected.items() if not torch.equal(value, found[name])] == []
    assert runs.losses("tuned from an export") == runs.losses("tuned in layout")


def test_a_stopped_run_ends_with_the_bits_of_one_that_was_not(runs):
    """Weights, average, optimizer and every logged term, with dropout."""
    expected, found = runs.checkpoint("dropout"), runs.checkpoint("stopped")
    assert set(found) == set(expected)
    assert [key for key in expected if not torch.equal(found[key], expected[key])] == []
    rows = [[{**row, **dict.fromkeys(SPEED, "")} for row in runs.metrics(name)] for name in ("dropout", "stopped")]
    assert rows[0] == rows[1]
    assert runs.losses("dropout")[1:] != runs.losses("one")[1:], "dropout does nothing"


def test_predictions_are_those_of_one_process(runs):
    expected, found = (anndata.read_h5ad(runs.pred(name)) for name in ("one", "tensor and pipeline"))
    assert list(found.obs_names) == list(expected.obs_names) and found.n_obs > 0
    np.testing.assert_allclose(found.X, expected.X, rtol=0, atol=1e-3)


def test_a_checkpoint_predicts_on_any_number_of_ranks(runs):
    """That of one process on two tensor parallel ranks, that of four on one."""
    two = [np.load(path) for path in sorted((runs.folder / "once-2").iterdir())]
    one = [np.load(path) for path in (runs.folder / "once-1").iterdir()]
    assert len(two) == 2 and len(one) == 1
    for found in (two[1], one[0]):
        np.testing.assert_allclose(found, two[0], rtol=0, atol=1e-3)


class TestBfloat16:
    def test_losses_are_near_those_of_single_precision(self, runs):
        """The first is one forward pass; the others are of weights that Adam's first steps have taken apart."""
        expected, found = runs.losses("one"), runs.losses("bf16")
        assert found[0] == pytest.approx(expected[0], rel=0.01) and found[0] != expected[0]
        assert found == pytest.approx(expected, rel=0.1)
        assert found[-1] < 0.8 * found[0]

    def test_weights_are_bfloat16_and_the_average_is_not(self, runs):
        weights = runs.checkpoint("bf16")
        key = "head.linear.weight"
        assert weights[f"module.{key}"].dtype is torch.bfloat16
        assert weights[f"module.average.{key}"].dtype is torch.float32
        masters = [value for name, value in weights.items() if name.startswith("optimizer.") and key in name]
        assert masters and all(value.dtype is torch.float32 for value in masters)

    def test_it_predicts(self, runs):
        expected, found = (anndata.read_h5ad(runs.pred(name)).X for name in ("one", "bf16"))
        assert np.isfinite(found).all()
        # Of genes, not of cells: which of a cell's genes are zero is a matter of a threshold.
        assert np.abs(found.mean(axis=0) - expected.mean(axis=0)).mean() < 0.01

    def test_single_precision_cannot_continue_it(self, runs, tmp_path):
        shutil.copytree(runs.folder / "bf16", tmp_path / "run")
        done = self.refused(runs, tmp_path / "run")
        assert "expected --precision bf16, found fp32" in done

    def refused(self, runs: Runs, out: Path) -> str:
        arguments = runs.arguments("bf16")
        arguments[arguments.index("--out") + 1] = out
        return command("train", *arguments, code=2)


def command(name: str, *arguments: object, code: int = 0) -> str:
    """Run a command in a process of its own and return what it wrote to the screen."""
    done = subprocess.run(
        [sys.executable, "-m", f"bionemo.scale.run.{name}", *map(str, arguments)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == code, done.stdout + done.stderr[-4000:]
    return done.stdout + done.stderr


def test_the_command_starts_its_processes(runs):
    """As a user types it, for the layout whose stages have to wait for one another."""
    _, *more = LAYOUTS["pipeline"]
    screen = command("train", *runs.arguments("command", *more, processes=2))
    assert f"step {STEPS}/{STEPS}" in screen
    assert_same_run(runs, "command")


def test_what_all_processes_refuse_is_said_once(runs):
    more = ("--tensor-parallel", 2, "--set", "encoder_num_attention_heads=1")
    screen = command("train", *runs.arguments("refused", *more, processes=2), code=2)
    errors = [line for line in screen.splitlines() if "error" in line.lower()]
    expected = "encoder_num_attention_heads must be a multiple of the tensor parallel size 2, found 1"
    assert errors == [f"error: model configuration: {expected}"]
    assert "Traceback" not in screen and not (runs.folder / "refused").exists()


@pytest.mark.parametrize(
    "option, choices", [("--precision", "fp32, bf16, fp8, fp8-current, mxfp8"), ("--spec", "auto, local, te")]
)
def test_unknown_names_are_refused_at_once(option, choices):
    assert command("train", "--store", "s", "--out", "o", option, "x", code=2) == (
        f"error: {option} must be one of {choices}, found 'x'\n"
    )
