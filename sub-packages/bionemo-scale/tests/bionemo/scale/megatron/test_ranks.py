# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import pytest

from bionemo.scale.megatron.ranks import take_ranks_of_slurm


STEP = {
    "SLURM_JOB_ID": "70123",
    "SLURM_STEP_ID": "0",
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.7",
}


def test_a_task_of_a_step_knows_its_rank():
    environment = dict(STEP)
    assert take_ranks_of_slurm(environment)
    ranks = {name: environment[name] for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")}
    assert ranks == {
        "RANK": "3",
        "LOCAL_RANK": "1",
        "WORLD_SIZE": "4",
        "MASTER_ADDR": "10.0.0.7",
        "MASTER_PORT": "30123",
    }


@pytest.mark.parametrize(
    "changes",
    [{"RANK": "0"}, {"SLURM_NTASKS": "1"}, {"SLURM_STEP_ID": None}],
    ids=["under torchrun", "one task", "in the batch script"],
)
def test_other_launches_are_left_alone(changes):
    environment = {name: value for name, value in {**STEP, **changes}.items() if value is not None}
    before = dict(environment)
    assert not take_ranks_of_slurm(environment)
    assert environment == before


def test_an_address_that_the_user_gives_is_kept():
    environment = {**STEP, "MASTER_ADDR": "ib0", "MASTER_PORT": "5"}
    take_ranks_of_slurm(environment)
    assert (environment["MASTER_ADDR"], environment["MASTER_PORT"]) == ("ib0", "5")
