# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Process groups of one run, for code that has no Lightning trainer around it."""

import contextlib
import os
import socket
from collections.abc import Iterator

import torch
from megatron.core import parallel_state
from megatron.core.tensor_parallel import model_parallel_cuda_manual_seed

from bionemo.scale.megatron import cpu


@contextlib.contextmanager
def model_parallel(*, tensor_parallel: int = 1, pipeline_parallel: int = 1, seed: int = 0) -> Iterator[None]:
    """Set up torch.distributed and Megatron's process groups, and take them down again.

    Started as it is, the process is alone; under torchrun it takes rank and world from the environment. Groups that
    someone else has set up are used and left.
    """
    on_cpu = cpu.install()
    with contextlib.ExitStack() as stack:
        if not torch.distributed.is_initialized():
            stack.enter_context(_world("gloo" if on_cpu else "nccl"))
        if not parallel_state.model_parallel_is_initialized():
            stack.callback(parallel_state.destroy_model_parallel)
            parallel_state.initialize_model_parallel(tensor_parallel, pipeline_parallel)
            model_parallel_cuda_manual_seed(seed)
        yield


@contextlib.contextmanager
def _world(backend: str) -> Iterator[None]:
    alone = {} if "RANK" in os.environ else _environment_of_one()
    os.environ.update(alone)
    try:
        if backend == "nccl":
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        torch.distributed.init_process_group(backend)
        yield
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        # Left behind, they would make the next command believe that torchrun had started it.
        for name in alone:
            os.environ.pop(name, None)


def _environment_of_one() -> dict[str, str]:
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    return {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", **address}


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
