# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import gc
import json
import os
import subprocess
import sys
import weakref
from types import SimpleNamespace

import pytest
import torch
from megatron.core import parallel_state
from megatron.core.models.common.embeddings.rotary_pos_embedding import RotaryEmbedding

from bionemo.scale.megatron import layout
from bionemo.scale.megatron.layout import model_parallel


SCRIPT = """
import json, os, torch
from bionemo.scale.megatron import cpu
cpu.install()
from megatron.core import parallel_state
from bionemo.scale.megatron import layout
from bionemo.scale.megatron.layout import model_parallel

def state():
    ranks = {name: os.environ.get(name) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")}
    groups = torch.distributed.is_initialized(), parallel_state.model_parallel_is_initialized()
    return {"groups": groups, "environment": {name: value for name, value in ranks.items() if value is not None}}

seen = {"before": state()}
with model_parallel():
    seen["inside"] = state()
    total = torch.ones(3)
    torch.distributed.all_reduce(total, group=parallel_state.get_data_parallel_group())
    seen["reduced"] = total.tolist()
seen["after"] = state()
try:
    with model_parallel():
        raise KeyError
except KeyError:
    seen["after an error inside"] = state()
try:
    with model_parallel(tensor_parallel=2):
        seen["two ranks of one"] = True
except RuntimeError:
    seen["after a refused layout"] = state()
print(json.dumps(seen))
"""


@pytest.fixture(scope="module")
def seen() -> dict:
    """States of a process of its own, before, inside and after."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RANK", "MASTER_"))}
    for name in ("WORLD_SIZE", "LOCAL_RANK"):
        environment.pop(name, None)
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_groups_are_there_inside(seen):
    assert seen["before"] == {"groups": [False, False], "environment": {}}
    assert seen["inside"]["groups"] == [True, True]
    assert seen["inside"]["environment"] == {}
    assert seen["reduced"] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("when", ["after", "after an error inside", "after a refused layout"])
def test_groups_are_taken_down(when, seen):
    assert seen[when]["groups"] == [False, False]


def test_a_layout_that_does_not_fit_is_refused(seen):
    assert "two ranks of one" not in seen


def test_the_environment_is_left_as_it_was(seen):
    """A rank that stays behind makes the next command believe it was started by torchrun."""
    assert seen["after"]["environment"] == {}


@pytest.mark.usefixtures("process_groups")
def test_groups_of_others_are_used_and_left():
    group = parallel_state.get_tensor_model_parallel_group()
    with model_parallel():
        assert parallel_state.get_tensor_model_parallel_group() is group
    assert torch.distributed.is_initialized() and parallel_state.model_parallel_is_initialized()


def test_nothing_keeps_the_groups_that_were_taken_down(monkeypatch):
    """Megatron forgets some of its groups, and its cache of angles keeps modules, and they theirs."""
    groups = SimpleNamespace(destroy_model_parallel=lambda: None, forgotten=torch.distributed.ProcessGroup(0, 1))
    monkeypatch.setattr(layout, "parallel_state", groups)
    RotaryEmbedding(8, rotary_percent=1.0, use_cpu_initialization=True, cp_group=groups.forgotten).forward(4)
    kept = weakref.ref(groups.forgotten)
    layout._forget_groups()
    gc.collect()
    assert groups.forgotten is None and kept() is None


TOGETHER = """
import sys, torch
from bionemo.scale.megatron import cpu
cpu.install()
from bionemo.scale.megatron.layout import first_alone
from bionemo.scale.types import InputError

rank = int(sys.argv[1])
torch.distributed.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)

def refuse():
    raise OSError(28, "No space left on device")

print(first_alone(lambda: f"made by {rank}"))
try:
    first_alone(refuse)
except (InputError, OSError) as error:
    print(type(error).__name__, error)
"""


def test_what_the_first_process_makes_or_refuses_is_told_to_all(tmp_path):
    command = [sys.executable, "-W", "ignore", "-c", TOGETHER]
    started = [
        subprocess.Popen([*command, str(rank), tmp_path / "rendezvous"], stdout=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    said = [process.communicate(timeout=100)[0].splitlines() for process in started]
    reason = "[Errno 28] No space left on device"
    assert said == [["made by 0", f"OSError {reason}"], ["made by 0", f"InputError {reason}"]]
