# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The weight of a network that no group can measure; what is measured is tests/end_to_end/test_estimate.py."""

import os
import signal
import threading
import time

import pytest

from bionemo.scale import api
from bionemo.scale.files.network_weight import WEIGHT_NAME, measured_weight
from bionemo.scale.run.inner.weigh import _run, weigh_network
from bionemo.scale.train.callbacks.stopping import TrainingInterrupted
from bionemo.scale.train.settings import TrainSettings


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
