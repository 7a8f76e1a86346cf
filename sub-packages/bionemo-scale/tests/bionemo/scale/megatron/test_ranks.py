# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
import pytest

from bionemo.scale.megatron.ranks import Ranks, take_ranks
from bionemo.scale.types import InputError


# What sbatch and salloc set for a job of four tasks: in the batch script, or in the shell.
JOB = {"SLURM_JOB_ID": "70123", "SLURM_NTASKS": "4", "SLURM_NPROCS": "4", "SLURM_NNODES": "2"}
BATCH_SCRIPT = {**JOB, "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
# Where salloc starts its shell as a step of one task.
INTERACTIVE = {**BATCH_SCRIPT, "SLURM_STEP_ID": "4294967290", "SLURM_STEP_NUM_TASKS": "1"}
STEP = {
    **JOB,
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.7",
}
TORCHRUN = {
    "RANK": "1",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "2",
    "MASTER_ADDR": "localhost",
    "MASTER_PORT": "5",
    "TORCHELASTIC_RUN_ID": "x",
}


def test_a_task_of_a_step_knows_its_rank():
    environment = dict(STEP)
    ranks = take_ranks(environment)
    assert (ranks.rank, ranks.local_rank, ranks.world_size, ranks.is_first) == (3, 1, 4, False)
    names = ("RANK", "LOCAL_RANK", "GROUP_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    assert [environment[name] for name in names] == ["3", "1", "1", "4", "10.0.0.7", "30123"]


def test_a_step_of_fewer_tasks_than_its_job():
    assert take_ranks({**STEP, "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"}).world_size == 2


@pytest.mark.parametrize(
    "environment",
    [{}, JOB, BATCH_SCRIPT, INTERACTIVE, {**STEP, "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}],
    ids=["no Slurm", "a shell of salloc", "a batch script", "an interactive step", "a step of one task"],
)
def test_a_process_alone_is_alone(environment):
    environment = dict(environment)
    assert take_ranks(environment) == Ranks()
    assert "RANK" not in environment
    assert "SLURM_NTASKS" not in environment, "Lightning would take it for the number of processes"


@pytest.mark.parametrize("around", [{}, JOB, BATCH_SCRIPT, INTERACTIVE, STEP])
def test_torchrun_counts_first(around):
    environment = {**around, **TORCHRUN}
    assert take_ranks(environment).world_size == 2
    assert {name: environment[name] for name in TORCHRUN} == TORCHRUN


def test_an_address_that_the_user_gives_is_kept():
    environment = {**STEP, "MASTER_ADDR": "ib0", "MASTER_PORT": "5"}
    take_ranks(environment)
    assert (environment["MASTER_ADDR"], environment["MASTER_PORT"]) == ("ib0", "5")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"WORLD_SIZE": None}, "RANK is set: expected WORLD_SIZE beside it, as torchrun sets them, found none"),
        ({"RANK": "one"}, "RANK: expected a number in this variable of the environment, found 'one'"),
    ],
)
def test_half_of_the_variables_of_torchrun_are_refused(changes, said):
    environment = {name: value for name, value in {**TORCHRUN, **changes}.items() if value is not None}
    with pytest.raises(InputError, match=said):
        take_ranks(environment)


class TestLaunch:
    def test_is_the_same_in_all_processes_of_a_launch(self):
        assert take_ranks(dict(STEP)).launch == take_ranks({**STEP, "SLURM_PROCID": "0"}).launch

    @pytest.mark.parametrize(
        "changes", [{"SLURM_STEP_ID": "1"}, {"SLURM_RESTART_COUNT": "1"}], ids=["step", "requeue"]
    )
    def test_differs_between_launches(self, changes):
        assert take_ranks(dict(STEP)).launch != take_ranks({**STEP, **changes}).launch


@pytest.mark.parametrize("environment", [BATCH_SCRIPT, STEP], ids=["alone", "a step of four"])
def test_lightning_agrees(environment, monkeypatch):
    from lightning.fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment

    environment = dict(environment)
    ranks = take_ranks(environment)
    for name in ("RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
        if name in environment:
            monkeypatch.setenv(name, environment[name])
    if ranks.world_size == 1:
        assert not TorchElasticEnvironment.detect() and not SLURMEnvironment.detect()
    else:
        assert TorchElasticEnvironment.detect() and TorchElasticEnvironment().global_rank() == ranks.rank
