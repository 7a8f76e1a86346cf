# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""How many processes share the work of a command, and which of them this one is."""

from collections.abc import MutableMapping
from dataclasses import dataclass

from bionemo.scale.types import InputError


RANK_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What torch.distributed reads of a process that torchrun started."""
_FIRST_PORT, _PORTS = 20000, 20000
# What Lightning decides by whether other processes were started: torchrun sets the first and Slurm the second.
_STARTED_BY_TORCHRUN, _TASKS_OF_JOB = "TORCHELASTIC_RUN_ID", "SLURM_NTASKS"


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """The place of this process among those that share a command's work."""

    rank: int = 0
    local_rank: int = 0
    """Rank among the processes of this machine."""
    world_size: int = 1
    launch: str = ""
    """The same text in all processes that were started together, and in no others; empty for one alone."""

    @property
    def is_first(self) -> bool:
        """Whether this process does what is done once for all."""
        return self.rank == 0


def take_ranks(environment: MutableMapping[str, str]) -> Ranks:
    """Decide how many processes share this command's work: the one answer for every command.

    torchrun's variables count first. Without them the tasks of a Slurm job *step* of several tasks share the work,
    since srun has started each of them. A batch script or a shell of salloc is one process, however many tasks its job
    may start; so is a step of one task.

    Args:
        environment: ``os.environ``, changed in place: a task of a step gets the variables that torch.distributed
            reads, and a process alone loses those by which Lightning would count on others.

    Raises:
        InputError: The variables of torchrun are there in part, or one is no number.
    """
    if "RANK" not in environment and _tasks_of_step(environment) > 1:
        _set_ranks(environment)
    if "RANK" not in environment:
        for name in (_STARTED_BY_TORCHRUN, _TASKS_OF_JOB):
            environment.pop(name, None)
        return Ranks()
    missing = [name for name in RANK_VARIABLES if name not in environment]
    if missing:
        raise InputError(f"RANK is set: expected {', '.join(missing)} beside it, as torchrun sets them, found none")
    # A process that something else than torchrun or srun started would still be taken for a Slurm task of its own.
    environment.setdefault(_STARTED_BY_TORCHRUN, "environment")
    names = (*RANK_VARIABLES[3:], _STARTED_BY_TORCHRUN, "SLURM_RESTART_COUNT")
    return Ranks(
        rank=_number(environment, "RANK"),
        local_rank=_number(environment, "LOCAL_RANK"),
        world_size=_number(environment, "WORLD_SIZE"),
        launch=" ".join(environment.get(name, "0") for name in names),
    )


def _tasks_of_step(environment: MutableMapping[str, str]) -> int:
    """Return how many processes srun started beside this one, itself included; 1 outside a step."""
    if "SLURM_STEP_ID" not in environment or "SLURM_PROCID" not in environment:
        return 1
    # Not SLURM_NTASKS, which is the job's in a shell of salloc and in a batch script.
    return _number(environment, "SLURM_STEP_NUM_TASKS", default="1")


def _set_ranks(environment: MutableMapping[str, str]) -> None:
    job, step = environment.get("SLURM_JOB_ID", "0"), environment["SLURM_STEP_ID"]
    # srun tells every task the node that it was called from; the batch script runs on the job's first node.
    address = environment.get("SLURM_LAUNCH_NODE_IPADDR", "127.0.0.1")
    values = {
        "RANK": environment["SLURM_PROCID"],
        "LOCAL_RANK": environment.get("SLURM_LOCALID", "0"),
        "GROUP_RANK": environment.get("SLURM_NODEID", "0"),
        "WORLD_SIZE": environment["SLURM_STEP_NUM_TASKS"],
        "MASTER_ADDR": address,
        "MASTER_PORT": str(_FIRST_PORT + (int(job) if job.isdecimal() else 0) % _PORTS),
        _STARTED_BY_TORCHRUN: f"slurm-{job}.{step}",
    }
    for name, value in values.items():
        environment.setdefault(name, value)


def _number(environment: MutableMapping[str, str], name: str, default: str | None = None) -> int:
    text = environment.get(name, default or "")
    if not text.isdecimal():
        raise InputError(f"{name}: expected a number in this variable of the environment, found {text!r}")
    return int(text)


def check_processes(ranks: Ranks, *, devices: int, num_nodes: int) -> None:
    """Refuse another number of processes than a training asks for.

    Raises:
        InputError: Naming both numbers.
    """
    if devices * num_nodes == ranks.world_size:
        return
    started = f"{ranks.world_size} by torchrun or srun" if ranks.launch else "one; start it by torchrun or srun"
    raise InputError(
        f"--devices {devices} --num-nodes {num_nodes}: expected {devices * num_nodes} processes, found {started}"
    )
