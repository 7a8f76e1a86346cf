# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Table 2 of the SCALE paper on this machine: how fast bionemo-scale-train is, beside ``state tx train``.

    python benchmarks/throughput/measure.py WORK [--size 184m] [--store STORE] [--steps 200] [--state-env ENV]

Both train on the same cells by their real commands, loader and trainer included, and stop after ``--warmup`` and
``--steps`` more optimizer steps. Without ``--store`` the cells are those of ``examples/kang.sh``. SCALE's numbers are
those that a run writes to metrics.csv. STATE writes none, so that its speed is taken from two runs of different
length: their difference is free of start-up. It takes part where ``--state-env`` names an environment with arc-state.

An epoch is what each framework calls so: SCALE's sampler and STATE's say how many steps it has. Prints a table in
markdown with command, commit and versions; WORK keeps runs and logs. Options after ``--`` go to bionemo-scale-train,
and ``--state-options`` are added to STATE's.

Rates by the processor count the seconds of all processes and threads, so that other work on the machine matters
little. For both frameworks they are the difference between two runs.
"""

import argparse
import csv
import math
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bionemo.scale.data.sets.sampler import Sampling, SetSampler
from bionemo.scale.data.store.reader import Store
from bionemo.scale.files.provenance import version_of
from bionemo.scale.files.text import read_yaml
from bionemo.scale.types import Split


sys.path.insert(0, str(Path(__file__).parents[1] / "quality"))
from compare import DATASETS, EXAMPLES, cpu_seconds_of_children, ours, state_data_settings
from state_data import LABELS, write


ROOT = EXAMPLES.parent


@dataclass(frozen=True, kw_only=True)
class Speed:
    """A row of the table."""

    model: str
    steps_per_epoch: int
    steps_per_second: float
    cells_per_step: float
    """Perturbed cells that a step learns from, fillers left out."""
    filler_share: float
    wait_share: float | None
    """Of the time; ``None`` where the framework does not tell."""
    cpu_seconds_per_step: float
    """Of all processes and threads."""

    @property
    def epoch_seconds(self) -> float:
        """Time of a native epoch."""
        return self.steps_per_epoch / self.steps_per_second

    @property
    def cells_per_second(self) -> float:
        """Useful perturbed cells."""
        return self.cells_per_step * self.steps_per_second

    @property
    def steps_per_cpu_second(self) -> float:
        """Steps in a second of the processor."""
        return 1 / self.cpu_seconds_per_step

    @property
    def cells_per_cpu_second(self) -> float:
        """Useful perturbed cells in a second of the processor."""
        return self.cells_per_step / self.cpu_seconds_per_step


@dataclass(frozen=True, kw_only=True)
class Spent:
    """Seconds that a command took."""

    clock: float
    cpu: float
    """Of all its processes and threads."""


def main() -> None:
    """Measure and print."""
    args = _arguments()
    args.work.mkdir(parents=True, exist_ok=True)
    store = args.store or prepared(args.work)
    rows = [scale_speed(args, store)]
    if args.state_env is not None:
        rows.append(state_speed(args, store))
    text = f"{table(rows)}\n\n{conditions(args, store)}\n"
    (args.work / "table.md").write_text(text)
    print(text)


def _arguments() -> argparse.Namespace:
    own, _, more = " ".join(map(shlex.quote, sys.argv[1:])).partition(" -- ")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder for runs and logs, new or empty")
    parser.add_argument("--store", type=Path, help="a store of your own (default: Kang's cells)")
    parser.add_argument("--size", default="small", help="of SCALE's network (default: small)")
    parser.add_argument("--steps", type=int, default=200, help="optimizer steps that are timed (default: 200)")
    parser.add_argument("--warmup", type=int, default=20, help="steps before them (default: 20)")
    parser.add_argument("--state-env", type=Path, help="environment with arc-state")
    parser.add_argument("--state-model", default="state_lg", help="STATE's configuration (default: state_lg, 280M)")
    parser.add_argument("--state-options", default="", help="more settings of state tx train")
    args = parser.parse_args(shlex.split(own))
    args.options = shlex.split(more)
    if args.work.is_dir() and any(args.work.iterdir()):
        sys.exit(f"{args.work}: expected a new or empty folder, found files")
    return args


def prepared(work: Path) -> Path:
    """Prepare Kang's cells as examples/kang.sh does."""
    file, keys = DATASETS["kang"]
    split = ["--split", EXAMPLES / "splits" / "kang.toml", "--dataset", "kang", *keys]
    timed([*ours("prepare"), EXAMPLES / "data" / file, "--out", work / "store", *split], work / "prepare.log")
    return work / "store"


def timed(command: list[str | Path], log: Path) -> Spent:
    """Run a command with its output in a log."""
    begin, begin_cpu = time.perf_counter(), cpu_seconds_of_children()
    with log.open("w") as file:
        done = subprocess.run([str(word) for word in command], stdout=file, stderr=file, env=_environment(command))
    if done.returncode:
        sys.exit(f"{shlex.join(map(str, command))}: exit code {done.returncode}, see {log}")
    return Spent(clock=time.perf_counter() - begin, cpu=cpu_seconds_of_children() - begin_cpu)


def _environment(command: list[str | Path]) -> dict[str, str]:
    """STATE has packages of its own."""
    foreign = Path(command[0]).name == "state"
    return {name: value for name, value in os.environ.items() if not (foreign and name == "PYTHONPATH")}


def scale_speed(args: argparse.Namespace, store: Path) -> Speed:
    """Train SCALE for two lengths and read what the longer run says of its speed."""

    def train(steps: int, out: Path) -> Spent:
        options = ["--size", args.size, "--max-steps", steps, "--val-interval", steps, "--log-interval", args.warmup]
        # A network that measures the weight is another training.
        command = [*ours("train"), "--store", store, "--out", out, "--blind-share", 0, *options, *args.options]
        return timed([str(word) for word in command], args.work / f"{out.name}.log")

    out = args.work / "scale"
    few, many = train(args.warmup, args.work / "scale-short"), train(args.warmup + args.steps, out)
    with (out / "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["steps_per_second"] and int(row["step"]) > args.warmup]
    done = np.diff([args.warmup, *(int(row["step"]) for row in rows)])
    seconds = done / np.array([float(row["steps_per_second"]) for row in rows])
    mean = {
        name: float(np.average([float(row[name]) for row in rows], weights=seconds))
        for name in ("steps_per_second", "cells_per_second", "filler_share", "wait_share")
    }
    return Speed(
        model=f"SCALE {args.size}",
        steps_per_epoch=scale_epoch(out, store),
        steps_per_second=mean["steps_per_second"],
        cells_per_step=mean["cells_per_second"] / mean["steps_per_second"],
        filler_share=mean["filler_share"],
        wait_share=mean["wait_share"],
        cpu_seconds_per_step=(many.cpu - few.cpu) / args.steps,
    )


def scale_epoch(run: Path, store: Path) -> int:
    """Return the optimizer steps of an epoch of a run."""
    settings = read_yaml(run / "config.yaml")["run"]
    sampling = Sampling(**{name: settings[name] for name in ("sets", "weighting", "control_share")})
    processes = settings["devices"] * settings["num_nodes"]
    copies = processes // (settings["tensor_parallel"] * settings["pipeline_parallel"])
    with Store.open(store) as opened:
        sampler = SetSampler(
            opened.groups, Split.TRAIN, settings["set_size"], seed=settings["seed"], sampling=sampling
        )
    return math.ceil(sampler.num_places / (settings["micro_batch_size"] * settings["accumulate"] * copies))


def state_speed(args: argparse.Namespace, store: Path) -> Speed:
    """Hand the training cells to STATE, train it for two lengths and tell its speed by the difference."""
    data = args.work / "state"
    groups = state_files(store, data)
    command = [args.state_env / "bin" / "state", "tx", "train", *state_data_settings(data)]
    command += [f"model={args.state_model}", *shlex.split(args.state_options)]

    def train(steps: int) -> Spent:
        chosen = [f"name=run-{steps}", f"training.max_steps={steps}", f"training.val_freq={steps + 1}"]
        spent = timed([*command, *chosen], args.work / f"state-{steps}.log")
        # Those of state_lg would fill a disk: several times 3 GB a run.
        for path in (data / f"run-{steps}").rglob("*.ckpt"):
            path.unlink()
        return spent

    # Once before, so that neither of the two pays for files that are read for the first time.
    train(1)
    steps = args.warmup + args.steps
    few, many = train(args.warmup), train(steps)
    if many.clock <= few.clock:
        sys.exit(f"STATE: {steps} steps took no longer than {args.warmup} ({many}, {few}); give more --steps")
    settings = read_yaml(data / f"run-{steps}" / "config.yaml")
    set_size, sets = settings["model"]["kwargs"]["cell_set_len"], settings["training"]["batch_size"]
    # Its sampler cuts the cells of each group into sets and fills the last one up.
    num_sets = sum(math.ceil(cells / set_size) for cells in groups)
    useful = sum(groups) / (num_sets * set_size)
    return Speed(
        model=f"STATE {args.state_model}",
        steps_per_epoch=math.ceil(num_sets / sets),
        steps_per_second=args.steps / (many.clock - few.clock),
        cells_per_step=sets * set_size * useful,
        filler_share=1 - useful,
        wait_share=None,
        cpu_seconds_per_step=(many.cpu - few.cpu) / args.steps,
    )


def state_files(store: Path, data: Path) -> list[int]:
    """Write the training cells of a store as STATE reads them; return how many each of its groups has.

    The values are the store's, log1p at 10,000. STATE groups cells by cell type and perturbation, controls among them.
    Its validation needs cells, and gets none.
    """
    (data / "data").mkdir(parents=True)
    with Store.open(store) as opened:
        trained = np.flatnonzero(opened.groups.split == Split.TRAIN)
        rows = np.concatenate([opened.groups.rows(index) for index in trained.tolist()])
        obs, genes = opened.obs(rows), opened.card.genes
        obs["perturbation"] = obs["perturbation"].astype(str).replace(opened.card.control, "control")
        paths = {}
        for dataset, chosen in obs.groupby("dataset", observed=True).indices.items():
            paths[dataset] = (data / "data" / f"{dataset}.h5ad").resolve()
            write(paths[dataset], opened.read(rows[chosen]), obs.iloc[chosen], genes)
    lines = ["[datasets]", *(f'"{name}" = "{path}"' for name, path in paths.items())]
    lines += ["[training]", *(f'"{name}" = "train"' for name in paths), "[zeroshot]", "[fewshot]"]
    (data / "split.toml").write_text("\n".join(lines) + "\n")
    return obs.groupby(["dataset", *LABELS[:2]], observed=True).size().tolist()


def table(rows: list[Speed]) -> str:
    """Return the table in markdown."""
    titles = (
        *("model", "steps an epoch", "native epoch, s", "it/s", "cells/s", "steps/CPU s", "cells/CPU s", "filler"),
        "waiting for data",
    )
    lines = [f"| {' | '.join(titles)} |", "| --- " * len(titles) + "|"]
    for row in rows:
        waiting = "not told" if row.wait_share is None else f"{row.wait_share:.1%}"
        cells = (f"{row.steps_per_epoch:,}", f"{row.epoch_seconds:.1f}", f"{row.steps_per_second:.3g}")
        by_processor = (f"{row.steps_per_cpu_second:.3g}", f"{row.cells_per_cpu_second:,.0f}")
        more = (f"{row.cells_per_second:,.0f}", *by_processor, f"{row.filler_share:.1%}", waiting)
        lines.append(f"| {' | '.join((row.model, *cells, *more))} |")
    if len(rows) > 1:
        first, second = rows
        steps, cells, cpu_steps, cpu_cells = (
            getattr(first, name) / getattr(second, name)
            for name in ("steps_per_second", "cells_per_second", "steps_per_cpu_second", "cells_per_cpu_second")
        )
        lines += [
            "",
            f"{first.model} takes {steps:.2f} times the steps and {cells:.2f} times the cells of {second.model}. In "
            f"the same processor time it takes {cpu_steps:.2f} and {cpu_cells:.2f} times as many.",
        ]
    return "\n".join(lines)


def conditions(args: argparse.Namespace, store: Path) -> str:
    """Return a line on what was measured with what."""
    import torch

    commit = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} CPU cores"
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    with Store.open(store) as opened:
        cells, genes = opened.num_cells, opened.num_genes
    # Folders of this machine say nothing elsewhere.
    words = [re.sub(r"^.*/(?=[^/]+$)", "", word) if "/" in word else word for word in sys.argv]
    packages = ("bionemo-scale", "torch", "megatron-core", "nemo-toolkit")
    named = ", ".join(f"{name} {version_of(name)}" for name in packages)
    return (
        f"`python benchmarks/throughput/{shlex.join(words)}`: {cells:,} cells, {genes:,} genes, commit "
        f"{commit.stdout.strip()}, {device}, OMP_NUM_THREADS {threads}, Python {platform.python_version()}, {named}"
    )


if __name__ == "__main__":
    main()
