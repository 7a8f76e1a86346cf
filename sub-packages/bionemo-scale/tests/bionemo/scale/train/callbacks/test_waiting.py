# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import time

import pytest

from bionemo.scale.train import step
from bionemo.scale.train.callbacks import waiting


def slow():
    time.sleep(0.05)
    yield {"perturbation": 3}


def test_the_step_that_reads_data_counts_how_long_it_waits(monkeypatch):
    monkeypatch.setattr(waiting, "FOR_DATA", waiting.Waiting())
    step.data_step(slow())
    first = waiting.FOR_DATA.seconds
    assert first >= 0.05
    time.sleep(0.05)
    with pytest.raises(StopIteration):
        step.data_step(iter([]))
    # What is done between two steps is no waiting; a wait in vain is one.
    assert first < waiting.FOR_DATA.seconds < first + 0.05
