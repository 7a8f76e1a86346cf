# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Which process of a launch this is, where srun rather than torchrun started it."""

from collections.abc import MutableMapping


_FIRST_PORT, _PORTS = 20000, 20000


def take_ranks_of_slurm(environment: MutableMapping[str, str]) -> bool:
    """Set the variables that torch.distributed reads from those of a Slurm job step of several tasks.

    Args:
        environment: ``os.environ``; changed in place. Variables that torchrun set are left alone.

    Returns:
        Whether anything was set: not under torchrun, outside a step, or in a step of one task.
    """
    if "RANK" in environment or "SLURM_STEP_ID" not in environment or environment.get("SLURM_NTASKS", "1") == "1":
        return False
    # srun tells every task the node that it was called from; the batch script runs on the job's first node.
    address = environment.get("SLURM_LAUNCH_NODE_IPADDR", "127.0.0.1")
    job = int(environment["SLURM_JOB_ID"])
    values = {
        "RANK": environment["SLURM_PROCID"],
        "LOCAL_RANK": environment["SLURM_LOCALID"],
        "WORLD_SIZE": environment["SLURM_NTASKS"],
        "MASTER_ADDR": address,
        "MASTER_PORT": str(_FIRST_PORT + job % _PORTS),
    }
    for name, value in values.items():
        environment.setdefault(name, value)
    return True
