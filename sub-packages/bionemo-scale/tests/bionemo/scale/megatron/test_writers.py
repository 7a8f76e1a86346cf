# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from megatron.core.dist_checkpointing.strategies import filesystem_async

from bionemo.scale.megatron import writers


TRAINER = """
import os, time
from bionemo.scale.megatron.writers import results_queue
if __name__ == "__main__":
    results_queue().put(1)
    assert results_queue().get() == 1
    children = open(f"/proc/self/task/{os.getpid()}/children").read().split()
    holder = [child for child in children if "spawn_main" in open(f"/proc/{child}/cmdline").read()]
    print(*holder, flush=True)
    time.sleep(100)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_holder_of_reports_ends_with_what_trains(how, tmp_path):
    script = tmp_path / "trainer.py"
    script.write_text(TRAINER)
    trainer = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    holders = [int(word) for word in trainer.stdout.readline().split()]
    assert holders and all(Path("/proc", str(holder)).exists() for holder in holders)
    os.kill(trainer.pid, how)
    trainer.communicate()
    deadline = time.monotonic() + 20
    while alive := [holder for holder in holders if is_alive(holder)]:
        assert time.monotonic() < deadline, alive
        time.sleep(0.05)


def is_alive(process: int) -> bool:
    try:
        return Path("/proc", str(process), "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_megatron_uses_it(monkeypatch):
    monkeypatch.setattr(filesystem_async, "_get_write_results_queue", None)
    writers.install()
    assert filesystem_async._get_write_results_queue is writers.results_queue
