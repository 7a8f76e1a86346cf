# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""A real Slurm of one node: the launch script's jobs are accepted, saved at their time limit, requeued and finished.

Installs Debian's packages, needs root and about ten minutes, so it runs only where BIONEMO_SCALE_SLURM_TEST=1 asks for
it (`make test-slurm`).
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import anndata
import pytest
import yaml


REPOSITORY = Path(__file__).parents[2]
SOURCE = REPOSITORY / "sub-packages" / "bionemo-scale" / "src"
KANG = REPOSITORY / "examples" / "data" / "kang2018_pbmc_ifnb.h5ad"
STEPS = 600
CLUSTER = Path(__file__).with_name("cluster.sh")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        os.environ.get("BIONEMO_SCALE_SLURM_TEST") != "1",
        reason="BIONEMO_SCALE_SLURM_TEST=1 installs and tests a Slurm",
    ),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Environment that reaches the cluster."""
    folder = tmp_path_factory.mktemp("slurm")
    subprocess.run([CLUSTER, "start", folder], check=True, timeout=600)
    bin_folder = str(Path(sys.executable).parent)
    yield {
        **os.environ,
        "SLURM_CONF": str(folder / "slurm.conf"),
        "NEMORUN_HOME": str(folder / "nemorun"),
        "PYTHONPATH": str(SOURCE),
        "PATH": os.pathsep.join([bin_folder, os.environ["PATH"]]),
        "OMP_NUM_THREADS": "1",
    }
    subprocess.run([CLUSTER, "stop", folder], check=True)


def jobs(environment: dict[str, str]) -> dict[str, dict[str, str]]:
    """Return what Slurm knows of each job, by the name of its step."""
    done = subprocess.run(["scontrol", "show", "job", "--oneliner"], env=environment, capture_output=True, text=True)
    found = {}
    for line in done.stdout.splitlines():
        fields = dict(word.split("=", 1) for word in line.split() if "=" in word)
        name = fields.get("JobName", "").removeprefix("scale-")
        # Of the tasks of an array, the one that is furthest from its end.
        if name and found.get(name, {}).get("JobState", "COMPLETED") == "COMPLETED":
            found[name] = fields
    return found


def wait_for(environment: dict[str, str], run: Path, seconds: float) -> dict[str, dict[str, str]]:
    """Wait until every job has ended; bring the limit of the first training forward."""
    deadline = time.monotonic() + seconds
    while True:
        found = jobs(environment)
        if found and all(job["JobState"] in ("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED") for job in found.values()):
            return found
        assert time.monotonic() < deadline, found
        # A job that was requeued waits two minutes before it may start; a test need not. And it gets its time back.
        for job in found.values():
            if job["JobState"] == "PENDING" and job["Reason"] == "BeginTime":
                update(environment, job, "StartTime=now", "TimeLimit=30")
        train = found.get("train", {})
        if train.get("JobState") == "RUNNING" and train["Restarts"] == "0" and steps_of(run) > 10:
            # However fast this machine is, the limit comes while it trains: Slurm's signal is now due.
            update(environment, train, f"TimeLimit={minutes(train['RunTime']) + 3}")
        time.sleep(2)


def update(environment: dict[str, str], job: dict[str, str], *changes: str) -> None:
    subprocess.run(["scontrol", "update", f"JobId={job['JobId']}", *changes], env=environment, check=True)


def minutes(clock: str) -> int:
    hours, minutes, _ = map(int, clock.split(":"))
    return 60 * hours + minutes


def steps_of(run: Path) -> int:
    """Return the last step that was logged."""
    rows = (run / "metrics.csv").read_text().splitlines()[1:] if (run / "metrics.csv").is_file() else []
    return int(rows[-1].split(",")[0]) if rows else 0


def test_a_pipeline_is_saved_at_its_limit_requeued_and_finished(cluster: dict[str, str], tmp_path: Path):
    site = tmp_path / "site.yaml"
    site.write_text(
        yaml.safe_dump(
            {
                "account": "lab",
                "partition": "cpu",
                "job_dir": str(tmp_path / "jobs"),
                "gpus_per_node": 0,
                "time": "00:30:00",
                "signal_seconds": 300,
                "requeues": 10,
                "env": {"PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"},
            }
        )
    )
    cells, halves = anndata.read_h5ad(KANG), [tmp_path / "one.h5ad", tmp_path / "two.h5ad"]
    donors = sorted(set(cells.obs["batch"]))
    # No donor in both: a group of cells is never spread over the parts of a store.
    for path, some in zip(halves, (donors[::2], donors[1::2]), strict=True):
        cells[cells.obs["batch"].isin(some)].copy().write_h5ad(path)
    words = [
        "--array",
        "--inputs",
        *halves,
        "--split",
        REPOSITORY / "examples" / "splits" / "kang.toml",
        "--dataset",
        "kang",
        "--library-size-key",
        "n_counts_full",
        "--devices",
        "2",
        "--site",
        site,
        "--size",
        "tiny",
        "--max-steps",
        str(STEPS),
        "--out",
        tmp_path / "out",
    ]
    script = REPOSITORY / "recipes" / "slurm.py"
    done = subprocess.run([sys.executable, script, *words], env=cluster, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    found = wait_for(cluster, tmp_path / "out" / "run", seconds=1500)
    logs = "\n".join(path.read_text() for path in sorted((tmp_path / "jobs").rglob("*.out")))
    assert {name: job["JobState"] for name, job in found.items()} == dict.fromkeys(
        ("scan", "convert", "merge", "train", "infer", "evaluate"), "COMPLETED"
    ), logs
    assert int(found["train"]["Restarts"]) >= 1
    assert "saved at step" in logs and "stopped by SIGUSR1" in logs
    assert (tmp_path / "out" / "scores" / "summary.json").is_file()
    assert (tmp_path / "out" / "run" / "logs" / "output-rank1.log").is_file(), "two tasks trained"
