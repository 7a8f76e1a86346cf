# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""SCALE and STATE on the same store, split and CPU time, scored by one evaluator beside every baseline.

    python benchmarks/quality/compare.py OUT [--datasets kang papalexi] [--seconds 600] [--models SCALE STATE]

For each data set: bionemo-scale-prepare; each model is timed for a few steps, then trained for as many steps as fit
into ``--seconds`` of CPU time on one thread (start-up, which is not training, comes on top for both); both predict the
test split; bionemo-scale-evaluate and bionemo-scale-report. STATE (arc-state of PyPI) lives in ``OUT/state-env``, made
once, and is driven by its own command line. Takes about 2 x seconds + 6 minutes a data set. Writes OUT/<data
set>/scores, OUT/<data set>/report.html and prints the table.
"""

import argparse
import os
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch


HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parents[1] / "examples"
DATASETS = {
    "kang": ("kang2018_pbmc_ifnb.h5ad", ["--library-size-key", "n_counts_full"]),
    "papalexi": ("papalexi2021_thp1_eccite.h5ad", ["--cell-type-key", "batch", "--batch-key", "batch"]),
}
# As wide, as deep and with as many cells a set as SCALE small, and its learning rate: with its own 1e-4 STATE learns
# less in
# such a budget.
STATE_SETTINGS = [
    "model=state_sm",
    "model.kwargs.cell_set_len=32",
    "model.kwargs.hidden_dim=128",
    "model.kwargs.transformer_backbone_kwargs.intermediate_size=512",
    "model.kwargs.transformer_backbone_kwargs.head_dim=16",
    "training.batch_size=8",
    "training.lr=1e-3",
]
SHORT, LONG = 10, 60
"""Steps of the two trial runs; their difference gives the time of a step without the start-up."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Steps that fit, and how that was found."""

    steps: int
    seconds_per_step: float
    startup: float


def run(log: Path, *command: str | Path) -> float:
    """Run a command with its output in a log; returns CPU seconds, which other work on the machine does not add to."""
    foreign = Path(command[0]).name in ("state", "pip")
    environment = {name: value for name, value in os.environ.items() if not (foreign and name == "PYTHONPATH")}
    environment["OMP_NUM_THREADS"] = "1"
    begin = cpu_seconds_of_children()
    with log.open("a") as file:
        done = subprocess.run([str(part) for part in command], stdout=file, stderr=file, env=environment)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: exit code {done.returncode}, see {log}")
    return cpu_seconds_of_children() - begin


def cpu_seconds_of_children() -> float:
    """Return the processor time of the processes that this one started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def ours(verb: str) -> list[str]:
    """Return how to start one of our commands with this interpreter."""
    return [sys.executable, "-m", f"bionemo.scale.run.{verb}"]


def fit_budget(train, seconds: float) -> Budget:
    """Time two short runs of ``train(steps)`` and count the steps that fit into the budget."""
    short, long = train(SHORT), train(LONG)
    per_step = max((long - short) / (LONG - SHORT), 1e-3)
    startup = max(short - SHORT * per_step, 0.0)
    return Budget(steps=max(int(seconds / per_step), 1), seconds_per_step=per_step, startup=startup)


def train_scale(folder: Path, seconds: float) -> list[str]:
    """Train, predict, and return the lines that say how long it took."""

    def train(steps: int, name: str | None = None) -> float:
        out = folder / (name or f"trial-scale-{steps}")
        interval = ["--val-interval", str(max(steps // 4, 1))]
        options = ["--size", "small", "--max-steps", str(steps), *interval]
        return run(folder / "log.txt", *ours("train"), "--store", folder / "store", "--out", out, *options)

    budget = fit_budget(train, seconds)
    took = train(budget.steps, "run")
    return [f"SCALE: {budget.steps} steps in {took:.0f} CPU s (start-up {budget.startup:.0f} s)"]


def state_data_settings(data: Path) -> list[str]:
    """Return what STATE must be told of the cells that ``state_data.py`` exported, and where its runs go."""
    labels = {
        "pert_col": "perturbation",
        "cell_type_key": "cell_type",
        "batch_col": "batch",
        "control_pert": "control",
    }
    settings = [f"data.kwargs.{name}={value}" for name, value in labels.items()]
    settings += [f"data.kwargs.toml_config_path={(data / 'split.toml').resolve()}", "data.kwargs.embed_key=X_hvg"]
    settings += ["data.kwargs.output_space=gene", "data.kwargs.num_workers=0", "data.kwargs.pin_memory=false"]
    return [*settings, "use_wandb=false", "overwrite=true", f"output_dir={data.resolve()}"]


def train_state(folder: Path, seconds: float, env: Path) -> list[str]:
    """Hand the store over, train STATE, predict, and take the prediction back."""
    log, data = folder / "log.txt", folder / "state"
    real = folder / "predicted" / "adata_real.h5ad"
    split = EXAMPLES / "splits" / f"{folder.name}.toml"
    run(log, sys.executable, HERE / "state_data.py", "export", folder / "store", split, real, data)
    settings = [*state_data_settings(data), *STATE_SETTINGS]

    def train(steps: int, name: str | None = None) -> float:
        chosen = [f"name={name or f'trial-{steps}'}", f"training.max_steps={steps}", f"training.val_freq={steps}"]
        return run(log, env / "bin" / "state", "tx", "train", *settings, *chosen)

    budget = fit_budget(train, seconds)
    took = train(budget.steps, "run")
    options = [
        "--model-dir",
        data / "run",
        "--adata",
        data / "test.h5ad",
        "--embed-key",
        "X_hvg",
        "--control-pert",
        "control",
    ]
    options += ["--pert-col", "perturbation", "--celltype-col", "cell_type", "--batch-col", "batch"]
    run(log, env / "bin" / "state", "tx", "infer", *options, "--output", data / "simulated.h5ad")
    run(log, sys.executable, HERE / "state_data.py", "collect", data / "simulated.h5ad", real, data / "pred.h5ad")
    return [f"STATE: {budget.steps} steps in {took:.0f} CPU s (start-up {budget.startup:.0f} s)"]


def make_state_env(env: Path, log: Path) -> None:
    """Install arc-state, torch first and of the version that SCALE uses."""
    if (env / "bin" / "state").exists():
        return
    run(log, sys.executable, "-m", "venv", env)
    torch_pin = f"torch=={torch.__version__.partition('+')[0]}"
    run(log, env / "bin" / "pip", "install", "-q", torch_pin)
    run(log, env / "bin" / "pip", "install", "-q", torch_pin, "arc-state")


def compare(name: str, folder: Path, models: list[str], seconds: float, env: Path) -> str:
    """Do one data set and return its table."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log.txt"
    file, keys = DATASETS[name]
    source = ["--dataset", name, "--split", EXAMPLES / "splits" / f"{name}.toml", *keys]
    run(log, *ours("prepare"), EXAMPLES / "data" / file, "--out", folder / "store", "--overwrite", *source)
    # A run folder that is there would be continued, and its steps would come on top of the budget.
    for old in folder.glob("*run*"):
        sys.exit(f"{old}: holds an earlier comparison; choose another OUT")
    lines = train_scale(folder, seconds)
    run(log, *ours("infer"), "--checkpoint", folder / "run", "--store", folder / "store", "--split", "test",
        "--out", folder / "predicted")  # fmt: skip
    files = {"SCALE": folder / "predicted" / "adata_pred.h5ad", "STATE": folder / "state" / "pred.h5ad"}
    if "STATE" in models:
        lines += train_state(folder, seconds, env)
    chosen = [part for model in models for part in ("--pred", files[model], "--name", model)]
    real = ["--real", folder / "predicted" / "adata_real.h5ad", "--store", folder / "store"]
    command = [*ours("evaluate"), *chosen, *real, "--out", folder / "scores", "--plot"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    run(log, *ours("report"), folder, "--out", folder / "report.html")
    return "\n".join([f"{name}, {seconds:.0f} CPU s", *lines, done.stdout])


def main() -> None:
    """Compare on every data set and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--datasets", nargs="+", choices=list(DATASETS), default=list(DATASETS))
    parser.add_argument("--models", nargs="+", choices=["SCALE", "STATE"], default=["SCALE", "STATE"])
    parser.add_argument("--seconds", type=float, default=600, help="CPU time of each training (default: 600)")
    parser.add_argument("--state-env", type=Path, help="environment with arc-state (default: OUT/state-env)")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    env = args.state_env or args.out / "state-env"
    if "STATE" in args.models:
        make_state_env(env, args.out / "log.txt")
    for name in args.datasets:
        text = compare(name, args.out / name, args.models, args.seconds, env)
        (args.out / name / "table.txt").write_text(text)
        print(text, flush=True)


if __name__ == "__main__":
    main()
