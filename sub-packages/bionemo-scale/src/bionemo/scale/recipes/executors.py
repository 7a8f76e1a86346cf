# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Where the steps of a pipeline run: this machine, a Docker container, a Slurm cluster."""

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import nemo_run as run
from nemo_run.config import set_nemorun_home
from nemo_run.core.execution.slurm import SlurmBatchRequest

from bionemo.scale.recipes.arrays import ShellWord
from bionemo.scale.recipes.pipeline import ScheduledStep, StepFailed
from bionemo.scale.recipes.site import Site, check_docker, check_gpus, check_slurm, check_visible
from bionemo.scale.recipes.steps import Step
from bionemo.scale.types import InputError


# Only what was stopped is worth another try: training that saved itself (75), and what a signal ended (128 and more).
# The variable is the one that the batch script compares with the number of restarts.
_STOPPED = 'stopped() { if [ "$1" -ne 75 ] && [ "$1" -lt 128 ]; then TORCHX_MAX_RETRIES=0; fi; return "$1"; }'


Holder = Literal["process", "bash", "docker"]


def script(scheduled: ScheduledStep, *, held_by: Holder = "process") -> run.Script:
    """Return the command of a step for NeMo-Run.

    Args:
        scheduled: The step.
        held_by: Who reads the words: a process takes them as they are; Slurm's executor joins them by blanks in a
            batch script; Docker's puts them between the double quotes of ``bash -c "..."``.
    """
    words = list(scheduled.step.arguments)
    if held_by != "process":
        # NeMo-Run keeps plain strings alone.
        words = [str(word) if isinstance(word, ShellWord) else shlex.quote(word) for word in words]
    if held_by == "docker":
        words = [word.replace("\\", "\\\\").replace('"', '\\"') for word in words]
    if held_by == "bash":
        words += ["||", "stopped", "$?"]
    return run.Script(path=scheduled.step.module, args=words, entrypoint="python", m=True)


def check_words(step: Step) -> None:
    """Refuse what TorchX would replace (``$NAME``), and what a line of a script cannot hold.

    Raises:
        InputError: A value would not reach the command as it is.
    """
    for word in (*step.arguments, *(value for values in step.each.values() for value in values)):
        if not isinstance(word, ShellWord) and ("$" in word or not word.isprintable()):
            raise InputError(f"a launched command takes no '$' and no control character, found {word!r}")


def local(scheduled: ScheduledStep) -> run.LocalExecutor:
    """Return the executor of this machine; training starts its own processes, prediction is started by torchrun.

    Raises:
        InputError: A value would not reach the command as it is.
    """
    check_words(scheduled.step)
    # `python` and `torchrun` are those of this environment, also where nobody activated it.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    executor = run.LocalExecutor(packager=run.Packager(), env_vars={"PATH": path})
    if scheduled.step.kind == "infer" and scheduled.tasks > 1:
        executor.ntasks_per_node, executor.launcher = scheduled.tasks, "torchrun"
    return executor


def docker(scheduled: ScheduledStep, site: Site) -> run.DockerExecutor:
    """Return the executor of a container on this machine.

    Raises:
        InputError: The site lacks something, or the step needs more than there is.
    """
    check_docker(site)
    _check_step(scheduled, site)
    return run.DockerExecutor(
        container_image=site.image,
        num_gpus=-1 if scheduled.uses_gpus and site.gpus_per_node else None,
        runtime="nvidia" if scheduled.uses_gpus and site.gpus_per_node else None,
        shm_size=site.shm_size,
        ipc_mode="host",
        volumes=list(site.mounts),
        env_vars={"PYTHONUNBUFFERED": "1", **site.env},
        packager=run.Packager(),
    )


_NO_LIMIT = "--wait=0"
"""After NeMo-Run's ``--wait=60``, by which srun kills the other tasks of a step a minute after the first has ended.

One task merges a prediction, or measures the network's weight, when the others have nothing more to do. A task that
fails still ends all of them at once (``--kill-on-bad-exit=1``).
"""


def slurm(scheduled: ScheduledStep, site: Site) -> run.SlurmExecutor:
    """Return the executor of a step on a cluster: one task a process, without torchrun in between.

    Slurm's signal before the time limit then reaches every process; training saves, leaves with an exit code other
    than 0, and the batch script queues the job again.

    Raises:
        InputError: The site lacks something, or the step needs more than there is.
    """
    check_slurm(site)
    _check_step(scheduled, site)
    on_gpus, jobs = bool(scheduled.uses_gpus and site.gpus_per_node), _jobs(site)
    site = site.of_step(scheduled.step.kind, on_gpus=on_gpus)
    return run.SlurmExecutor(
        account=site.account,
        partition=site.partition,
        qos=site.qos,
        constraint=site.constraint,
        job_name_prefix="scale-",
        time=site.time,
        nodes=scheduled.nodes,
        ntasks_per_node=scheduled.tasks,
        gpus_per_node=scheduled.tasks if on_gpus else None,
        cpus_per_task=site.cpus_per_task,
        mem=site.memory,
        signal=f"USR1@{site.signal_seconds}",
        retries=site.requeues,
        # What waits for a job that failed is taken out of the queue.
        additional_parameters={"kill_on_invalid_dep": "yes"},
        container_image=site.image,
        container_mounts=list(site.mounts),
        srun_args=[_NO_LIMIT, *(shlex.quote(word) for entry in site.srun_args for word in shlex.split(entry))],
        array=array_tasks(scheduled.step),
        setup_lines="\n".join([*site.setup, _STOPPED, *shell_arrays(scheduled.step)]),
        # NeMo-Run writes "export NAME=" and the value as it is.
        env_vars={"PYTHONUNBUFFERED": "1", **{name: shlex.quote(value) for name, value in site.env.items()}},
        # Where NeMo-Run writes an experiment; a local tunnel copies nothing to any other place.
        tunnel=run.LocalTunnel(job_dir=str(jobs / "experiments")),
        packager=run.Packager(),
        poll_estimated_start_time=False,
    )


def array_tasks(step: Step) -> str | None:
    """Return the numbers of the tasks of a job array."""
    counts = {len(values) for values in step.each.values()}
    return f"0-{counts.pop() - 1}" if counts else None


def shell_arrays(step: Step) -> list[str]:
    """Return the lines of a batch script from which each task takes its own."""
    return [f"{name}=( {shlex.join(values)} )" for name, values in step.each.items()]


def _check_step(scheduled: ScheduledStep, site: Site) -> None:
    check_words(scheduled.step)
    if scheduled.uses_gpus:
        check_gpus(site, scheduled.tasks)
    words = [word.partition("=")[2] if word.startswith("--") else word for word in scheduled.step.arguments]
    words += [value for values in scheduled.step.each.values() for value in values]
    for word in words:
        if word.startswith("/"):
            check_visible(site, Path(word))


def sbatch_text(scheduled: ScheduledStep, site: Site) -> str:
    """Return the batch script that submitting a step would write.

    Raises:
        InputError: As :func:`slurm`.
    """
    executor = slurm(scheduled, site)
    name = scheduled.step.name
    executor.assign("scale_ID", str(_jobs(site) / "experiments" / "scale" / "scale_ID"), name, name)
    command = " ".join(["python", *script(scheduled, held_by="bash").to_command()])
    return SlurmBatchRequest(
        launch_cmd=["sbatch", "--requeue", "--parsable"],
        jobs=[name],
        command_groups=[[command]],
        executor=executor,
        max_retries=site.requeues,
        extra_env={},
    ).materialize()


def submit_slurm(steps: Sequence[ScheduledStep], site: Site) -> None:
    """Submit a pipeline; each job waits for the success of those that it needs. Returns at once.

    Raises:
        InputError: As :func:`slurm`; nothing has been submitted then.
    """
    executors = [slurm(scheduled, site) for scheduled in steps]
    set_nemorun_home(str(site.job_dir))
    with run.Experiment("scale", enable_goodbye_message=False, skip_status_at_exit=True) as experiment:
        jobs: dict[str, str] = {}
        for scheduled, executor in zip(steps, executors, strict=True):
            needed = list(jobs)[-1:] if scheduled.after is None else scheduled.after
            jobs[scheduled.step.name] = experiment.add(
                script(scheduled, held_by="bash"),
                executor=executor,
                name=scheduled.step.name,
                dependencies=[jobs[name] for name in needed],
            )
        experiment.run(detach=True)


def run_here(steps: Sequence[ScheduledStep], site: Site | None = None) -> None:
    """Run a pipeline on this machine, in containers where a site is given, one step after the other.

    Raises:
        InputError: As :func:`docker`; nothing has been started then.
        StepFailed: A step ended without success.
    """
    executors = [local(scheduled) if site is None else docker(scheduled, site) for scheduled in steps]
    for scheduled, executor in zip(steps, executors, strict=True):
        name = scheduled.step.name
        with run.Experiment(f"scale-{name}", enable_goodbye_message=False, skip_status_at_exit=True) as experiment:
            holder: Holder = "process" if site is None else "docker"
            experiment.add(script(scheduled, held_by=holder), executor=executor, name=name, tail_logs=True)
            experiment.run(detach=False)
        # Not experiment.status(): it may not have heard of the end yet.
        (job,) = experiment.jobs
        if job.state.name != "SUCCEEDED":
            raise StepFailed(f"{name} ended as {job.state.name}; the steps after it were not started")


def _jobs(site: Site) -> Path:
    assert site.job_dir is not None, "checked by check_slurm"
    return site.job_dir
