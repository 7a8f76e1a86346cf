# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Process groups of one run, for code that has no Lightning trainer around it."""

import contextlib
import os
from collections.abc import Callable, Iterator

import torch
from megatron.core import parallel_state
from megatron.core.tensor_parallel import model_parallel_cuda_manual_seed

from bionemo.scale.megatron import cpu
from bionemo.scale.types import InputError


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
            stack.callback(_forget_groups)
            parallel_state.initialize_model_parallel(tensor_parallel, pipeline_parallel)
            model_parallel_cuda_manual_seed(seed)
        yield


def first_alone(make: Callable[[], str]) -> str:
    """Let the first process make something, for which the others wait, and return to all what it returned.

    Raises:
        InputError: The first process failed, which raises its own error; the others raise this, and do not wait on.
    """
    told: list[tuple[str, str]] = [("", "")]
    error: Exception | None = None
    if torch.distributed.get_rank() == 0:
        try:
            told = [(make(), "")]
        except Exception as caught:
            error, told = caught, [("", str(caught) or type(caught).__name__)]
    torch.distributed.broadcast_object_list(told, src=0)
    if error is not None:
        raise error
    done, refusal = told[0]
    if refusal:
        raise InputError(refusal)
    return done


def _forget_groups() -> None:
    """Take down Megatron's groups, those too that it forgets: the sockets of each stay open while something has it."""
    # Late, for the CPU's kernels must be there before it is imported.
    from megatron.core.models.common.embeddings.rotary_pos_embedding import RotaryEmbedding

    parallel_state.destroy_model_parallel()
    # Its cache of angles keeps the modules that asked, and they their group.
    RotaryEmbedding.forward.cache_clear()
    for name, value in vars(parallel_state).items():
        if isinstance(value, torch.distributed.ProcessGroup):
            setattr(parallel_state, name, None)


@contextlib.contextmanager
def _world(backend: str) -> Iterator[None]:
    try:
        if "RANK" in os.environ:
            if backend == "nccl":
                torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
            torch.distributed.init_process_group(backend)
        else:
            # A store within the process: no port that another could take, no rank in the environment that a command
            # started from here would believe to be its own.
            torch.distributed.init_process_group(backend, store=torch.distributed.HashStore(), rank=0, world_size=1)
        yield
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
