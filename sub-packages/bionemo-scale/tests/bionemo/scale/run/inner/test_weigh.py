# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The weight of a network that no group can measure; what is measured is tests/end_to_end/test_estimate.py."""

import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bionemo.scale import api
from bionemo.scale.data.store.blind import A_THIRD, Fold, held_out_groups, identity_of
from bionemo.scale.data.store.reader import Store
from bionemo.scale.files.earlier_groups import write_earlier
from bionemo.scale.files.labels.grammar import Grammar
from bionemo.scale.files.network_weight import WEIGHT_NAME, measured_weight
from bionemo.scale.run.inner import weigh
from bionemo.scale.run.inner.weigh import _folds, _run, weigh_network
from bionemo.scale.train.callbacks.stopping import TrainingInterrupted
from bionemo.scale.train.settings import TrainSettings
from bionemo.scale.types import Split


@pytest.mark.parametrize("blind_share", [0.5, 0.0])
def test_a_network_that_nothing_can_measure_leaves_the_means_to_the_estimate(screen, tmp_path, blind_share, capsys):
    """One cell type: none can be left out, and no perturbation is shown elsewhere."""
    screen.obs["cell_type"] = "T"
    screen.write_h5ad(tmp_path / "screen.h5ad")
    store = api.prepare(tmp_path / "screen.h5ad", tmp_path / "store").out
    (tmp_path / "estimate.npz").write_bytes(b"")
    settings = TrainSettings(store=store, out=tmp_path, max_steps=100, blind_share=blind_share)
    weigh_network(settings, [], is_launched=False)
    if blind_share:
        assert measured_weight(tmp_path).network_weight == 0
        assert "predicted means are the classical estimate's (weight 0)" in capsys.readouterr().out
    else:
        assert not (tmp_path / WEIGHT_NAME).exists()


def test_a_short_run_says_that_nothing_is_measured(tmp_path, capsys):
    (tmp_path / "estimate.npz").write_bytes(b"")
    weigh_network(TrainSettings(store=tmp_path, out=tmp_path, max_steps=99), [], is_launched=False)
    assert "fewer than 100 steps" in capsys.readouterr().out
    assert not (tmp_path / WEIGHT_NAME).exists()


@pytest.fixture
def store_of_pairs(write_pairs, tmp_path) -> Path:
    write_pairs(tmp_path)
    folder, split = tmp_path / "store", tmp_path / "split.toml"
    return api.prepare(tmp_path / "screen.h5ad", folder, split=split, datasets=["screen"]).out


@pytest.mark.parametrize("separator", ["", "+"])
def test_parts_of_a_run_are_those_of_its_own_reading_of_labels(separator, store_of_pairs, tmp_path):
    """The store was not told how labels are read; the run was, or the checkpoint that it starts from."""
    (tmp_path / "config.yaml").write_text(f"model: {{combination_separator: '{separator}'}}\n")
    settings = TrainSettings(store=store_of_pairs, out=tmp_path, folds=3)
    with Store.open(store_of_pairs) as opened:
        found = _folds(settings, opened, has_validation=False)
    expected = {}
    for fold in found:
        with Store.open(store_of_pairs, blind=fold.read_by(Grammar(combination=separator))) as blind:
            rows = blind.groups.perturbed_in(Split.VAL)
            expected[fold] = f"{fold.number}-of-3-{identity_of(rows)}"
            left_out = {blind.groups.label(row).perturbation for row in rows}
            # As agents: what has a, for with d it would be three of five labels. As whole labels: every third of them.
            assert fold.number or left_out == ({"a", "a+b"} if separator else {"a", "c"})
    assert found == expected and len(found) == 3


def test_a_blind_run_is_kept_from_the_groups_of_its_own_reading(store_of_pairs, tmp_path, process_groups):
    from bionemo.scale.train.setup.resolve import resolve

    store, overrides = store_of_pairs, {"combination_separator": "+"}
    settings = TrainSettings(
        store=store, out=tmp_path / "run", size="tiny", blind=True, fold=0, folds=3, overrides=overrides
    )
    run = resolve(settings)
    assert {group.perturbation for group in run.training.groups} == {"control", "b", "c", "d"}
    with Store.open(store) as opened:
        assert run.described["held_out"] == opened.hold_out(Fold(0, 3, Grammar(combination="+")))


def test_what_an_earlier_version_measured_of_other_groups_is_measured_anew(store_of_pairs, tmp_path, monkeypatch):
    """It named a part by its number alone."""
    steps = []
    monkeypatch.setattr(weigh, "_run", lambda module, *words: steps.append((module.rpartition(".")[2], *words)))
    monkeypatch.setattr(weigh.shutil, "rmtree", lambda *_, **__: None)
    store, work = store_of_pairs, tmp_path / "weighing"
    work.mkdir()
    (work / "0-of-3.json").write_text("[]")
    (tmp_path / "estimate.npz").write_bytes(b"")
    settings = TrainSettings(store=store, out=tmp_path, max_steps=100, folds=3)
    with Store.open(store) as opened:
        names = list(_folds(settings, opened, has_validation=False).values())
    (work / f"{names[1]}.json").write_text("[]")
    weigh_network(settings, [], is_launched=False)
    trained = [words[words.index("--out") + 1] for module, *words in steps if module == "train"]
    assert trained == [str(work / name) for name in (names[0], names[2])]
    assert steps[-1][2:] == (str(tmp_path / WEIGHT_NAME), *(str(work / f"{name}.json") for name in names))


def test_what_the_first_weights_have_seen_measures_nothing(store_of_pairs, tmp_path, capsys, monkeypatch):
    """Of a network that is fine-tuned on the groups that it was first trained on, or on some of them."""
    steps = []
    monkeypatch.setattr(weigh, "_run", lambda module, *words: steps.append(words))
    monkeypatch.setattr(weigh.shutil, "rmtree", lambda *_, **__: None)
    (tmp_path / "estimate.npz").write_bytes(b"")
    settings = TrainSettings(store=store_of_pairs, out=tmp_path, max_steps=100, folds=3)
    with Store.open(store_of_pairs) as opened:
        training = [opened.groups.label(row) for row in opened.groups.perturbed_in(Split.TRAIN)]
        folds = _folds(settings, opened, has_validation=False)
        (new,) = held_out_groups(opened.groups, Fold(2, 3))
        seen = frozenset(training) - {opened.groups.label(new)}
        assert _folds(settings, opened, has_validation=False, seen=seen) == {Fold(2, 3): folds[Fold(2, 3)]}
        default = replace(settings, folds=None)
        assert list(_folds(default, opened, has_validation=False)) == [A_THIRD]
        assert list(_folds(default, opened, has_validation=False, seen=seen)) == [Fold(2, 3)]
    write_earlier(tmp_path, training)
    weigh_network(settings, [], is_launched=False)
    assert steps == [] and measured_weight(tmp_path).network_weight == 0
    assert (
        "no training group that the checkpoint it starts from has not seen can be left out" in capsys.readouterr().out
    )


STEP = """
import signal, sys, time
from pathlib import Path
folder, code = Path(sys.argv[1]), sys.argv[2]

def save(number, frame):
    # Longer than Python waits for a process when it is interrupted.
    time.sleep(0.5)
    (folder / "saved").write_text(signal.Signals(number).name)
    sys.exit(int(code))

if code:
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, save)
(folder / "begun").touch()
time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize(
    ("code", "raised"), [("75", SystemExit), ("0", TrainingInterrupted), ("", TrainingInterrupted)]
)
def test_a_signal_reaches_the_step_which_saves(number, code, raised, tmp_path, monkeypatch):
    """A training that has begun saves and ends with 75; one about to end does that; others have nothing to save."""
    (tmp_path / "a_step.py").write_text(STEP)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def stop() -> None:
        while not (tmp_path / "begun").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    # As a command has it.
    before = signal.signal(number, signal.default_int_handler)
    thread = threading.Thread(target=stop, daemon=True)
    try:
        thread.start()
        with pytest.raises(raised) as ended:
            _run("a_step", str(tmp_path), code)
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        thread.join()
        signal.signal(number, before)
    assert (tmp_path / "saved").exists() == bool(code)
    assert not code or (tmp_path / "saved").read_text() == number.name
    assert raised is TrainingInterrupted or ended.value.code == 75


def test_a_step_that_is_killed_is_told(tmp_path, monkeypatch, capsys):
    (tmp_path / "a_step.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        _run("a_step")
    assert ended.value.code == 137
    assert "error: the process that measures the network's weight was ended by SIGKILL" in capsys.readouterr().err
