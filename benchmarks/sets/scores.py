# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Errors of networks that were trained on sets of several kinds, on groups that may be chosen by.

    python benchmarks/sets/scores.py --data DATA --out scores.csv --steps 300 --seeds 3 --ways batch,mixed

A way is "batch" or "mixed", or "shared-K" for sets of one batch of which runs of K start from the same controls. It is
also "command-PRECISION" for a training by bionemo-scale-train itself in that precision.

DATA is the folder of the suite's screens. Of the suite's tasks to choose by (benchmarks/quality/suite/tasks.toml)
those that leave whole cell types out are taken, all their folds left out together. A network of the size small is
trained with the defaults of bionemo-scale-train in a plain loop, and its own means are compared with the measured
ones: no classical estimate, no additive share. Means are predicted in float32. The same command continues.
"""

import argparse
import csv
import math
import os
import resource
import subprocess
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


ROOT = Path(__file__).parents[2]
TASKS = ROOT / "benchmarks" / "quality" / "suite" / "tasks.toml"
COLUMNS = ("task", "sets", "seed", "steps", "mse", "pearson_delta", "pairs", "fillers", "cpu_seconds")


def prepare_task(task: dict[str, Any], data: Path, out: Path) -> None:
    """Write the store of a task, what its folds leave out as validation groups."""
    import anndata

    from bionemo.scale.data.prepare.preprocess import prepare
    from bionemo.scale.data.prepare.settings import PrepareSettings
    from bionemo.scale.types import ObsKeys

    cells = anndata.read_h5ad(data / f"{task['file']}.h5ad")
    if "keep" in task:
        cells = cells[cells.obs["cell_type"].isin(task["keep"])].copy()
    left_out = [name for fold in task["folds"] for name in fold]
    lines = ["[training]", 'screen = "train"', "[zeroshot]", *(f'"screen.{name}" = "val"' for name in left_out)]
    with tempfile.TemporaryDirectory() as folder:
        path, split = Path(folder) / "cells.h5ad", Path(folder) / "split.toml"
        cells.write_h5ad(path)
        split.write_text("\n".join(lines) + "\n")
        key = "n_counts_full" if "n_counts_full" in cells.obs else None
        keys = ObsKeys(cell_type=task.get("context", "cell_type"))
        options = {} if "genes" not in task else {"num_hvg": task["genes"]}
        prepare(
            PrepareSettings(
                inputs=(path,), datasets=("screen",), out=out, split=split, library_size_key=key, keys=keys, **options
            )
        )


def train(store: Any, *, way: str, seed: int, steps: int) -> tuple[Any, float]:
    """Train in a plain loop; return the network, and the share of fillers among the perturbed cells that it saw."""
    import torch

    from bionemo.scale.data.labels.agents import Grammar
    from bionemo.scale.data.sets.collate import pack, unpack
    from bionemo.scale.data.sets.dataset import CellSetDataset
    from bionemo.scale.data.sets.sampler import Sampling
    from bionemo.scale.model.weights import init_weights
    from bionemo.scale.train.averaged import AveragedModel
    from bionemo.scale.train.settings import TrainSettings
    from bionemo.scale.train.step import forward_step
    from bionemo.scale.train.tables import TABLES_NAME, load_tables, read_perturbations, set_decoder_bias, write_tables
    from bionemo.scale.types import Split

    kind, _, shared = way.replace("shared-", "batch-").partition("-")
    settings = TrainSettings(store=store.path, out=Path(), sets=kind)
    model = AveragedModel(_config(store, settings, seed))
    init_weights(model, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        tables = Path(folder) / TABLES_NAME
        perturbations = read_perturbations(store.card.perturbations, Grammar(), None)
        write_tables(tables, store.card, store.group_means(Split.TRAIN), perturbations=perturbations)
        set_decoder_bias(model, str(tables))
        load_tables(model, str(tables))
    model.update_average(step=0)
    sampling = Sampling(
        sets=kind,
        weighting=settings.weighting,
        control_share=settings.control_share,
        share_controls=int(shared or 1),
    )
    size = settings.micro_batch_size
    options = {"seed": seed, "sampling": sampling, "num_samples": steps * size}
    data = CellSetDataset(store, Split.TRAIN, settings.set_size, **options)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.lr, betas=(0.9, 0.98), weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for step in range(steps):
        gathered = data.__getitems__(range(step * size, (step + 1) * size))
        terms = forward_step(model.train(), unpack(pack(gathered), torch.device("cpu")))
        optimizer.zero_grad()
        terms["loss"].backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        model.update_average(step + 1)
    return model.predictor.eval(), data.sampler.padding_share()


def train_by_command(store: Any, *, way: str, seed: int, steps: int) -> tuple[Any, float]:
    """Train by bionemo-scale-train; return what :func:`train` does."""
    from bionemo.scale.infer.trained_model import load_model

    options = ["--size", "small", "--max-steps", steps, "--seed", seed, "--blind-share", 0, "--val-interval", steps]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        precision = ["--precision", way.removeprefix("command-")]
        command = ["bionemo-scale-train", "--store", store.path, "--out", out, *options, *precision]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run([*map(str, command)], check=True, stdout=subprocess.DEVNULL, env=environment)
        metrics = pd.read_csv(out / "metrics.csv")
        return load_model(out, additive_share=0.0).model, float(metrics["filler_share"].mean())


def _config(store: Any, settings: Any, seed: int) -> Any:
    from bionemo.scale.model.config import ScaleModelConfig
    from bionemo.scale.model.size.sizes import SIZES

    card = store.card
    return ScaleModelConfig(
        **SIZES["small"],
        num_genes=len(card.genes),
        num_cell_types=len(card.cell_types),
        num_perturbations=len(card.perturbations),
        num_batches=len(card.batches),
        set_size=settings.set_size,
        sets=settings.sets,
        additive_share=0.0,
        seed=seed,
    )


def _rate(step: int, total: int) -> float:
    """Warm up over a tenth of the run, then follow a cosine down to a tenth of the rate."""
    warmup = total / 10
    done = max(0.0, (step - warmup) / (total - warmup))
    return min((step + 1) / warmup, 0.1 + 0.45 * (1 + math.cos(math.pi * done)))


def score(store: Any, model: Any) -> dict[str, float]:
    """Compare the network's mean of each held-out (cell type, perturbation) with the measured one."""
    from bionemo.scale.data.labels.agents import Grammar
    from bionemo.scale.infer.plans.split_plan import SplitPlan
    from bionemo.scale.infer.predict import predict_all
    from bionemo.scale.infer.trained_model import LoadedModel
    from bionemo.scale.train.tables import card_of_training
    from bionemo.scale.types import Split

    config = model.config
    card = card_of_training(store.card, store.group_means(Split.TRAIN), Grammar())
    plan = SplitPlan(store, Split.VAL, set_size=config.set_size, seed=0, sets=config.sets)
    predicted = predict_all(LoadedModel(model=model, card=card, path=store.path), plan)
    measured, controls = store.read(plan.rows).toarray(), store.obs(plan.control_rows())
    of_controls = store.read(plan.control_rows()).toarray()
    context, errors, agreements = card.keys.cell_type, [], []
    for (cell_type, _), rows in plan.obs.groupby([context, "perturbation"], observed=True).indices.items():
        control = of_controls[(controls[context] == cell_type).to_numpy()].mean(0)
        found, truth = predicted[rows].mean(0), measured[rows].mean(0)
        errors.append(float(((found - truth) ** 2).mean()))
        agreements.append(float(np.corrcoef(found - control, truth - control)[0, 1]))
    return {"mse": np.mean(errors), "pearson_delta": np.mean(agreements), "pairs": len(errors)}


def main() -> None:
    """Train and score what is missing in the table, and print the means over seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tasks", default="glioblastoma_choose,kang_types_choose")
    parser.add_argument("--ways", default="batch,mixed")
    args = parser.parse_args()
    from bionemo.scale.megatron import cpu

    # Before Megatron is imported.
    cpu.install()
    import torch

    torch.set_num_threads(1)
    tasks = tomllib.loads(TASKS.read_text())
    with tempfile.TemporaryDirectory() as folder:
        stores = {name: Path(folder) / name for name in args.tasks.split(",")}
        for name, store in stores.items():
            assert tasks[name]["role"] == "choose" and tasks[name]["leave_out"] == "cell-type", name
            prepare_task(tasks[name], args.data, store)
        for seed in range(args.seeds):
            for name, store in stores.items():
                for way in args.ways.split(","):
                    measure(args, name, store, way=way, seed=seed)
    table = pd.read_csv(args.out).groupby(["task", "steps", "sets"])[["mse", "pearson_delta", "fillers"]]
    print(table.agg(["mean", "std", "count"]).to_string())


def measure(args: argparse.Namespace, name: str, path: Path, *, way: str, seed: int) -> None:
    """Add a row to the table, unless it is there."""
    from bionemo.scale.data.store.reader import Store
    from bionemo.scale.megatron.layout import model_parallel

    if args.out.exists():
        rows = pd.read_csv(args.out)
        if (rows[["task", "sets", "seed", "steps"]] == [name, way, seed, args.steps]).all(axis=1).any():
            return
    begin = _processor_seconds()
    with model_parallel(), Store.open(path) as store:
        how = train_by_command if way.startswith("command-") else train
        model, fillers = how(store, way=way, seed=seed, steps=args.steps)
        scores = score(store, model)
    row = {"task": name, "sets": way, "seed": seed, "steps": args.steps, **scores, "fillers": fillers}
    is_new = not args.out.exists()
    with args.out.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if is_new:
            writer.writeheader()
        writer.writerow({**row, "cpu_seconds": round(_processor_seconds() - begin)})
    print(row, flush=True)


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
