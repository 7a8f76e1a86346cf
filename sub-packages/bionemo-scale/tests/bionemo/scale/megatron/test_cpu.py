# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys

import pytest
import torch
from megatron.core.tensor_parallel import get_cuda_rng_tracker

from bionemo.scale.megatron import cpu


pytestmark = pytest.mark.usefixtures("process_groups")

WITH_CUDA = """
import torch
torch.cuda.is_available = lambda: True
before = {name: getattr(torch.cuda, name) for name in dir(torch.cuda)}
kept = torch.Tensor.type, torch.Tensor.cuda, torch.Tensor.to
from bionemo.scale.megatron import cpu
assert cpu.install() is False and cpu.install() is False
assert not cpu.is_installed()
assert [name for name in before if getattr(torch.cuda, name) is not before[name]] == []
import sys
assert not [name for name in ("transformer_engine", "apex") if name in sys.modules and sys.modules[name] is None]
assert kept == (torch.Tensor.type, torch.Tensor.cuda, torch.Tensor.to)
assert torch.zeros(1).type() == "torch.FloatTensor"
assert torch.overrides._get_current_function_mode() is None
"""

TWICE = """
import torch
from bionemo.scale.megatron import cpu
assert not cpu.is_installed()
assert cpu.install() is True
modes, calls = torch.overrides._get_current_function_mode_stack(), torch.cuda.current_device
assert cpu.install() is True and cpu.is_installed()
assert len(modes) == 1 and torch.overrides._get_current_function_mode_stack() == modes
assert torch.cuda.current_device is calls
"""

ASIDE = """
import pytest, threading, torch
from bionemo.scale.megatron import cpu

def is_answered():
    try:
        return torch.zeros(2, device="cuda:0").device.type == "cpu"
    except (AssertionError, RuntimeError):
        return False

with cpu.set_aside(), cpu.asked_again():
    assert not is_answered()
cpu.install()
assert is_answered()
with pytest.raises(KeyError), cpu.set_aside():
    assert not is_answered()
    with cpu.set_aside():
        assert not is_answered()
    with cpu.asked_again():
        assert is_answered()
    assert not is_answered()
    raise KeyError
assert is_answered()
with cpu.asked_again():
    assert is_answered()
assert is_answered()
# Another mode above is not taken for ours.
with torch.device("meta"), cpu.set_aside():
    assert torch.zeros(2).device.type == "meta"
assert is_answered() and torch.zeros(2).device.type == "cpu"
inside = []

def elsewhere():
    with cpu.set_aside():
        inside.append(float(torch.ones(2).sum()))

thread = threading.Thread(target=elsewhere)
thread.start()
thread.join()
assert inside == [2.0] and is_answered()
"""

TOOLKIT_WITHOUT_DEVICE = """
from torch.utils import cpp_extension

def build(*args, **kwargs):
    raise IndexError("list index out of range")

cpp_extension.load_inline = build
from bionemo.scale.megatron import cpu
assert cpu.install() is True
assert cpp_extension.load_inline is build
"""

KERNELS_WITHOUT_DEVICE = """
import importlib.util, sys, tempfile
from pathlib import Path

sys.path.insert(0, tempfile.mkdtemp())
for package in ("transformer_engine", "apex"):
    for path in (package, package + "/pytorch", package + "/multi_tensor_apply", package + "/optimizers"):
        folder = Path(sys.path[0], path)
        folder.mkdir(exist_ok=True)
        (folder / "__init__.py").write_text("raise AssertionError('imported')")
assert importlib.util.find_spec("transformer_engine")
from bionemo.scale.megatron import cpu
assert cpu.install() is True
from megatron.core import optimizer
assert optimizer.Adam is optimizer.torch.optim.AdamW
from megatron.core.optimizer.clip_grads import multi_tensor_scale_impl
assert multi_tensor_scale_impl.__module__.startswith("megatron.core")
"""

OPTIONAL_PACKAGES_LATER = """
import importlib.util, sys
from bionemo.scale.megatron import cpu
assert cpu.install() is True
import megatron.core.timers
assert not {"wandb", "torch.utils.tensorboard", "multistorageclient"} & sys.modules.keys()
from torch.utils.tensorboard import SummaryWriter
assert importlib.util.find_spec("multistorageclient")
"""

OPTIONAL_PACKAGES_BEFORE = """
import sys, torch.utils.tensorboard
from bionemo.scale.megatron import cpu
assert cpu.install() is True
assert sys.modules["torch.utils.tensorboard"] is torch.utils.tensorboard
"""


@pytest.mark.parametrize(
    "script",
    [
        WITH_CUDA,
        TWICE,
        ASIDE,
        TOOLKIT_WITHOUT_DEVICE,
        KERNELS_WITHOUT_DEVICE,
        OPTIONAL_PACKAGES_LATER,
        OPTIONAL_PACKAGES_BEFORE,
    ],
    ids=[
        "nothing where CUDA is",
        "once where it is not",
        "set aside for a while",
        "a CUDA toolkit and no device",
        "CUDA kernels and no device",
        "optional packages can be imported later",
        "and stay where they were before",
    ],
)
def test_install(script):
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(autouse=True)
def without_cuda():
    if torch.cuda.is_available():
        pytest.skip("a CUDA device is present: nothing is replaced")


def test_cuda_names_the_cpu():
    assert cpu.is_installed()
    device = torch.cuda.current_device()
    made = [
        torch.zeros(2, device=device),
        torch.zeros(2, device="cuda"),
        torch.empty(2, device="cuda:0"),
        torch.ones(2, device=torch.device("cuda", 0), pin_memory=True),
        torch.tensor([1.0, 2.0], device="cuda"),
        torch.zeros(2).cuda(),
        torch.zeros(2).cuda(non_blocking=True),
        torch.zeros(2).to("cuda"),
        torch.zeros(2).to(device),
        torch.zeros(2).to(device="cuda", dtype=torch.float64),
    ]
    assert {tensor.device.type for tensor in made} == {"cpu"}
    assert made[-1].dtype == torch.float64


def test_other_conversions_are_untouched():
    x = torch.arange(3)
    assert x.to(torch.float32).dtype == torch.float32
    assert x.to("cpu", torch.float64).dtype == torch.float64
    assert x.to(torch.zeros(1, dtype=torch.float16)).dtype == torch.float16
    assert torch.zeros(2, device="cpu").device.type == "cpu"


def test_type_answers_what_megatrons_optimizer_compares_with():
    assert torch.zeros(1).type() == "torch.cuda.FloatTensor"
    assert torch.zeros(1, dtype=torch.bfloat16).type() == "torch.cuda.BFloat16Tensor"
    # With an argument it still converts.
    assert torch.zeros(1).type(torch.float64).dtype == torch.float64


def test_streams_and_memory_answer():
    with torch.cuda.stream(torch.cuda.Stream()):
        torch.cuda.current_stream().wait_stream(torch.cuda.default_stream())
        torch.cuda.Stream().synchronize()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.set_device(0)
    assert torch.cuda.max_memory_allocated() == torch.cuda.max_memory_reserved() == 0
    assert torch.cuda.is_initialized()


def test_cuda_random_state_is_the_cpus():
    torch.cuda.manual_seed(5)
    first = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), first)
    state = torch.cuda.get_rng_state()
    first = torch.rand(3)
    torch.cuda.set_rng_state(state)
    assert torch.equal(torch.rand(3), first)


def test_megatrons_tracker_forks_and_returns_the_random_state():
    tracker = get_cuda_rng_tracker()
    torch.manual_seed(11)
    outside = torch.rand(4)
    torch.manual_seed(11)
    before = torch.get_rng_state()
    with tracker.fork():
        inside = torch.rand(4)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(torch.rand(4), outside)
    with tracker.fork():
        later = torch.rand(4)
    # A state of its own, that moves on from fork to fork.
    assert not torch.equal(inside, outside) and not torch.equal(inside, later)
