# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of a training run as a file: written, read again, changed by options, refused in one line."""

import logging
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from bionemo.scale import api
from bionemo.scale.data.store.reader import Store
from bionemo.scale.infer.plans.split_plan import SplitPlan
from bionemo.scale.model.size.sizes import SIZES
from bionemo.scale.run import train as command
from bionemo.scale.run.train import _next_source, main, settings_from
from bionemo.scale.train.presets import PRESETS
from bionemo.scale.train.settings import TrainSettings
from bionemo.scale.types import InputError, Split


PLACES = ("--store", "store", "--out", "run")


def written(path: Path, *words: str) -> str:
    assert main(["--write-config", str(path), *words]) == 0
    return str(path)


@pytest.mark.parametrize("size", sorted(SIZES))
@pytest.mark.parametrize("preset", PRESETS)
def test_a_file_has_every_setting_of_a_size_and_a_preset(size: str, preset: str, tmp_path: Path):
    words = ("--size", size, "--preset", preset, "--set", "num_layers=3", "--set", "latent_norm=true", "--freeze", "")
    file = written(tmp_path / "run.yaml", *words)
    assert settings_from(["--config", file, *PLACES]) == settings_from([*words, *PLACES])
    assert not {"store", "out"} & yaml.safe_load(Path(file).read_text()).keys()


def test_a_file_with_places_is_a_whole_command(tmp_path: Path):
    words = (
        *PLACES,
        "--from-checkpoint",
        "before",
        "--freeze",
        "encoder,decoder",
        "--set-size",
        "8",
        "--size",
        "tiny",
    )
    file = written(tmp_path / "run.yaml", *words)
    assert settings_from(["--config", file]) == settings_from(words)


def test_options_go_before_a_file(tmp_path: Path):
    file = written(tmp_path / "run.yaml", "--size", "tiny", "--set", "num_layers=3", "--set", "prior=control")
    found = settings_from(["--config", file, *PLACES, "--lr", "0.5", "--set", "num_layers=4"])
    assert (found.lr, found.overrides) == (0.5, {"num_layers": "4", "prior": "control"})
    assert found.max_steps == settings_from(["--size", "tiny", *PLACES]).max_steps


def test_a_file_may_be_short_and_have_numbers_for_fields(tmp_path: Path):
    file = tmp_path / "run.yaml"
    file.write_text("size: tiny\noverrides: {num_layers: 3, latent_norm: false}\n")
    expected = settings_from(["--size", "tiny", "--set", "num_layers=3", "--set", "latent_norm=False", *PLACES])
    assert settings_from(["--config", str(file), *PLACES]) == expected


@pytest.mark.parametrize(
    ("text", "words", "found"),
    [
        ("max_step: 3", (), "run.yaml: TrainSettings: unknown setting 'max_step'; did you mean 'max_steps'"),
        ("max_steps: many", (), "run.yaml: --max-steps must be a whole number, found 'many'"),
        ("max_steps: 0", (), "run.yaml: --max-steps must be at least 1, found 0"),
        ("overrides: 3", (), "run.yaml: --set must be names and values, found 3"),
        ("- 3", (), "run.yaml: expected keys and values, found a list"),
        ("preset: paper", ("--preset", "default"), "--preset: expected paper as .*run.yaml has it, found default"),
        ("size: base", ("--size", "tiny"), "--size: expected base as .*run.yaml has it, found tiny"),
        ("size: tiny", ("--out", "run"), "--store is required"),
    ],
)
def test_what_cannot_be_used_is_refused(text: str, words: tuple[str, ...], found: str, tmp_path: Path):
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(InputError, match=found):
        settings_from(["--config", str(tmp_path / "run.yaml"), *words])


@pytest.mark.skipif(not Path("/dev/stdin").exists(), reason="needs a standard input with a path")
def test_a_file_may_be_a_pipe(tmp_path: Path):
    """It is read once."""
    words = [sys.executable, "-m", "bionemo.scale.run.train", "--config", "/dev/stdin"]
    text = "size: tiny\nseed: 7\nstore: here\n"
    dest = tmp_path / "written.yaml"
    done = subprocess.run([*words, "--write-config", dest], input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = yaml.safe_load(dest.read_text())
    assert (found["size"], found["seed"], Path(found["store"]).name) == ("tiny", 7, "here")


def test_processes_that_training_starts_get_what_the_file_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file, started = tmp_path / "run.yaml", []
    file.write_text("size: tiny\ndevices: 2\nseed: 7\noverrides: {num_layers: 3}\n")
    monkeypatch.chdir(tmp_path)
    expected = settings_from(["--config", str(file), *PLACES])
    monkeypatch.setattr(command, "_run_processes", lambda devices, arguments: started.append(arguments) or 2)
    with pytest.raises(SystemExit):
        main(["--config", str(file), *PLACES])
    file.unlink()
    assert settings_from(started[0]) == expected and expected.seed == 7


@pytest.fixture
def launched():
    """torchrun's handlers of signals, and the silence of its log, are for a process that does nothing else."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
    handlers, level = [signal.getsignal(number) for number in numbers], logging.root.manager.disable
    yield
    logging.disable(level)
    for number, handler in zip(numbers, handlers, strict=True):
        signal.signal(number, handler)


@pytest.mark.usefixtures("launched")
@pytest.mark.parametrize(
    ("first", "second", "code", "told"),
    [
        ("mkdir -p RUN/logs; exec sleep 60", "kill -KILL $$", 137, "training process 1 was ended by SIGKILL, which"),
        ("exit 75", "kill -ABRT $$", 75, ""),
        ("exit 2", "exec sleep 60", 2, ""),
    ],
)
def test_how_processes_end_is_told_by_the_one_that_matters(first, second, code, told, tmp_path, monkeypatch, capsys):
    """A killed one, as where memory runs out; but one that has saved or refused says so itself."""
    program, run = tmp_path / "program", tmp_path / "run"
    begin = first.replace("RUN", str(run))
    program.write_text(f'#!/bin/sh\nif [ "$RANK" = 0 ]; then {begin}; fi\nsleep 0.5\n{second}\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    arguments = ["--store", str(tmp_path / "store"), "--out", str(run), "--size", "tiny", "--devices", "2"]
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == code and told in capsys.readouterr().err
    assert (run / "logs").is_dir() == (code == 137), "what a killed training has written stays, with its logs"


def test_a_file_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = written(tmp_path / "run.yaml", "--size", "tiny")
    before = Path(file).read_text()
    assert main(["--write-config", file, "--size", "base"]) == 2
    assert "run.yaml: exists already" in capsys.readouterr().err
    assert Path(file).read_text() == before


def test_the_next_command_is_one_that_the_store_allows(screen, tmp_path: Path):
    screen.write_h5ad(tmp_path / "screen.h5ad")
    split = tmp_path / "split.toml"
    split.write_text('[training]\nscreen = "train"\n[fewshot."screen.A"]\nval = ["p1"]\n')
    whole = api.prepare(tmp_path / "screen.h5ad", tmp_path / "whole").out
    held_out = api.prepare(tmp_path / "screen.h5ad", tmp_path / "held_out", split=split).out
    assert _next_source(TrainSettings(store=whole, out=tmp_path)) == {
        "adata": "CONTROLS.h5ad",
        "out": "PREDICTED.h5ad",
    }
    assert _next_source(TrainSettings(store=held_out, out=tmp_path))["split"] == "val"
    with Store.open(whole) as store, pytest.raises(InputError, match="cells in the split test, found none"):
        SplitPlan(store, Split.TEST, set_size=8, seed=0)
