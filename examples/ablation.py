# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""The paper's ablation (section 4.2, Figure 3) on the two bundled screens, one component changed at a time.

    python examples/ablation.py --store kang=runs/kang/store --store papalexi=runs/papalexi/store --out runs/ablation
    python examples/ablation.py ... --out runs/ablation-paper --preset paper --steps 300

The first changes one component of this package's defaults at a time, the second one of the paper's setting, from the
paper's baseline: v-pred with v-loss, token pooling and the control prior.
Every run trains the same network for the same number of steps in a plain PyTorch loop around the package's model and
objective, predicts the held-out populations and scores them with ``bionemo-scale-evaluate``. A run is one row of
results.csv; runs that are there already are not made again.
"""

import argparse
import contextlib
import csv
import io
import json
import math
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd


matplotlib.use("Agg")
import matplotlib.pyplot as plt


Axes = dict[str, dict[str, dict[str, Any]]]
"""Axis to variant to the fields in which it differs from the baseline."""
PRIORS = {
    "gaussian + control": {"prior": "gaussian_mix"},
    "masked gaussian + control": {"prior": "gaussian_mix_masked"},
    "masked control": {"prior": "control_masked"},
}
AXES: Axes = {
    "pooling": {
        "mean pooling": {"condition_pooling": "mean"},
        "token pooling": {"condition_pooling": "token"},
        "attention pooling": {"condition_pooling": "attention"},
    },
    "JiT variant": {
        "x-pred/v-loss": {"loss_space": "v"},
        "v-pred/x-loss": {"parameterization": "v"},
        "v-pred/v-loss": {"parameterization": "v", "loss_space": "v"},
    },
    "prior": PRIORS,
    "beyond the paper": {
        "stop-gradient": {"stop_gradient_target": True},
        "OT pairs": {"coupling": "ot"},
        "additive anchor": {"anchor": "additive"},
        "endpoint MMD": {"endpoint_mmd_weight": 10.0},
    },
    "without": {
        "weight average": {"ema_decay": 0.0},
        "bounded token weights": {"condition_qk_norm": False},
        "condition on cells": {"condition_injection": "token"},
        "endpoint loss": {"endpoint_weight": 0.0},
        "training at t = 0": {"start_share": 0.0},
        "any of these": {
            "ema_decay": 0.0,
            "condition_qk_norm": False,
            "condition_injection": "token",
            "endpoint_weight": 0.0,
            "start_share": 0.0,
        },
    },
}
PAPER_AXES: Axes = {
    "pooling": {
        "mean pooling": {"condition_pooling": "mean"},
        "attention pooling": {"condition_pooling": "attention"},
        "seed pooling": {"condition_pooling": "seed"},
    },
    "JiT variant": {
        "v-pred/x-loss": {"loss_space": "x"},
        "x-pred/v-loss": {"parameterization": "x"},
        "x-pred/x-loss": {"parameterization": "x", "loss_space": "x"},
    },
    "prior": PRIORS,
}
NETWORK_ALONE = {"additive_share": 0.0}
"""Nothing of a prediction is the mean effect of training, which no variant changes."""
GENERATION = {
    "decode": {"generation": "decode"},
    "displace": {"generation": "displace"},
    "contrast, no counted zeros": {"counted_zeros": False},
    "contrast, additive share 0.2": {"additive_share": 0.2},
    "contrast, additive share 0.4": {"additive_share": 0.4},
    "mean effect alone": {"additive_share": 1.0},
}
"""Other ways to predict from the baseline's network."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """A baseline, and what is changed in it."""

    baseline: str
    fields: dict[str, Any]
    """Of the network's configuration, in the baseline and every variant."""
    axes: Axes
    generation: dict[str, dict[str, Any]]
    """Other ways to predict from the baseline's network."""


STUDIES = {
    "default": Study(
        baseline="seed pooling, x-pred/x-loss, control prior", fields=NETWORK_ALONE, axes=AXES, generation=GENERATION
    ),
    "paper": Study(
        baseline="token pooling, v-pred/v-loss, control prior",
        fields={"condition_pooling": "token", "parameterization": "v", "loss_space": "v"},
        axes=PAPER_AXES,
        generation={},
    ),
}
"""By the preset of the training; the fields of the preset come first."""
METRICS = {
    "pearson_delta": "PDCorr",
    "mse": "MSE",
    "de_spearman_lfc_sig": "LFCspear",
    "overlap_at_N": "DEOver",
    "discrimination_score_l1": "PDS",
    "sd_ratio": "sd_ratio",
}
COLUMNS = ("dataset", "axis", "variant", "seed", "steps", *METRICS.values(), "latent_variance", "cpu_seconds")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training run."""

    dataset: str
    store: Path
    axis: str
    variant: str
    fields: dict[str, Any]
    seed: int
    steps: int
    preset: str

    @property
    def is_baseline(self) -> bool:
        """Whether nothing is changed."""
        return self.axis == "baseline"


def main() -> None:
    """Make the missing runs, then the table and the figure."""
    options = _options()
    options.out.mkdir(parents=True, exist_ok=True)
    results = options.out / "results.csv"
    missing = [run for run in _runs(options) if not _is_done(results, run)]
    # One thread a process: several OpenMP pools on the same cores wait for one another.
    os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(max_workers=options.jobs) as pool:
        started = time.time()
        futures = [pool.submit(execute, run) for run in missing]
        for number, future in enumerate(as_completed(futures), start=1):
            if future.exception() is not None:
                # Leaving the block would wait for every run first.
                pool.shutdown(wait=False, cancel_futures=True)
            rows = future.result()
            _append(results, rows)
            first = rows[0]
            left = (time.time() - started) / number * (len(missing) - number)
            print(
                f"{number}/{len(missing)} {first['dataset']} {first['variant']} seed {first['seed']}: "
                f"PDCorr {first['PDCorr']:.3f}, {left / 60:.0f} min left",
                flush=True,
            )
    table = summarise(pd.read_csv(results))
    (options.out / "table.md").write_text(table)
    draw(pd.read_csv(results), STUDIES[options.preset], options.out / "figure.png")
    print(table)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", action="append", required=True, metavar="NAME=STORE", help="may be repeated")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--preset", choices=list(STUDIES), default="default", help="whose baseline is changed")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="runs at once")
    parser.add_argument("--only", help="variants, separated by semicolons")
    return parser.parse_args()


def _runs(options: argparse.Namespace) -> Iterator[Run]:
    study = STUDIES[options.preset]
    variants = [("baseline", study.baseline, {})]
    variants += [(axis, name, fields) for axis, members in study.axes.items() for name, fields in members.items()]
    chosen = options.only.split(";") if options.only else [name for _, name, _ in variants]
    for seed in range(options.seeds):
        for axis, name, fields in variants:
            for text in options.store:
                dataset, _, store = text.partition("=")
                if name in chosen:
                    yield Run(
                        dataset=dataset,
                        store=Path(store),
                        axis=axis,
                        variant=name,
                        fields=fields,
                        seed=seed,
                        steps=options.steps,
                        preset=options.preset,
                    )


def _is_done(results: Path, run: Run) -> bool:
    if not results.exists():
        return False
    rows = pd.read_csv(results)
    same = (rows[["dataset", "variant"]] == [run.dataset, run.variant]).all(axis=1)
    return bool((same & (rows["seed"] == run.seed) & (rows["steps"] == run.steps)).any())


def _append(results: Path, rows: list[dict[str, Any]]) -> None:
    is_new = not results.exists()
    with results.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if is_new:
            writer.writeheader()
        writer.writerows(rows)


def execute(run: Run) -> list[dict[str, Any]]:
    """Train, predict and score; return a row, and for the baseline one more for each way to predict."""
    from bionemo.scale.data.store.reader import Store
    from bionemo.scale.megatron import cpu

    # Before Megatron is imported.
    cpu.install()
    from bionemo.scale.megatron.layout import model_parallel

    begin = time.process_time()
    with contextlib.redirect_stderr(io.StringIO()), model_parallel(), Store.open(run.store) as store:
        model, latent_variance = train(run, store)
        rows = [{**_row(run), **score(run, store, model)}]
        if run.is_baseline:
            for name, fields in STUDIES[run.preset].generation.items():
                other = replace(run, axis="generation", variant=name)
                rows.append({**_row(other), **score(other, store, model, **fields)})
    seconds = time.process_time() - begin
    return [{**row, "latent_variance": latent_variance, "cpu_seconds": round(seconds)} for row in rows]


def _row(run: Run) -> dict[str, Any]:
    return {name: getattr(run, name) for name in ("dataset", "axis", "variant", "seed", "steps")}


def train(run: Run, store: Any) -> tuple[Any, float]:
    """Train in a plain loop; return the network and the latent variance of the last steps."""
    import torch

    from bionemo.scale.data.sets.collate import pack, unpack
    from bionemo.scale.data.sets.dataset import CellSetDataset
    from bionemo.scale.data.sets.sampler import Sampling
    from bionemo.scale.model.weights import init_weights
    from bionemo.scale.train.averaged import AveragedModel
    from bionemo.scale.train.presets import PRESETS
    from bionemo.scale.train.settings import TrainSettings
    from bionemo.scale.train.step import forward_step
    from bionemo.scale.types import Split

    settings = replace(TrainSettings(store=run.store, out=Path()), **PRESETS[run.preset].settings)
    config = _config(run, store, settings.set_size)
    model = AveragedModel(config)
    init_weights(model, seed=run.seed)
    _read_training_means(model, store)
    model.update_average(step=0)
    sampling = Sampling(weighting=settings.weighting, control_share=settings.control_share, sets=settings.sets)
    size, total = settings.micro_batch_size, run.steps
    sets = CellSetDataset(
        store, Split.TRAIN, settings.set_size, seed=run.seed, sampling=sampling, num_samples=total * size
    )
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=settings.lr, betas=(0.9, 0.98), weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, total))
    spread = []
    for step in range(total):
        places = sets.__getitems__(range(step * size, (step + 1) * size))
        terms = forward_step(model.train(), unpack(pack(places), torch.device("cpu")))
        optimizer.zero_grad()
        terms["loss"].backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        model.update_average(step + 1)
        spread.append(float(terms["latent_variance"]))
    return model.predictor.eval(), float(np.mean(spread[-20:]))


def _read_training_means(model: Any, store: Any) -> None:
    """Set what a network takes from the training data before its first step."""
    from bionemo.scale.data.labels.agents import Grammar
    from bionemo.scale.train.tables import TABLES_NAME, load_tables, read_perturbations, set_decoder_bias, write_tables
    from bionemo.scale.types import Split

    with tempfile.TemporaryDirectory() as folder:
        tables = Path(folder) / TABLES_NAME
        perturbations = read_perturbations(store.card.perturbations, Grammar(), None)
        write_tables(tables, store.card, store.group_means(Split.TRAIN), perturbations=perturbations)
        if model.config.decoder_bias == "mean":
            set_decoder_bias(model, str(tables))
        load_tables(model, str(tables))


def _config(run: Run, store: Any, set_size: int) -> Any:
    from bionemo.scale.model.config import ScaleModelConfig
    from bionemo.scale.model.size.sizes import SIZES
    from bionemo.scale.train.presets import PRESETS

    card, preset = store.card, PRESETS[run.preset]
    chosen = {**preset.fields, **STUDIES[run.preset].fields, **run.fields}
    return ScaleModelConfig(
        **SIZES["small"],
        sets=preset.settings.get("sets", "batch"),
        num_genes=len(card.genes),
        num_cell_types=len(card.cell_types),
        num_perturbations=len(card.perturbations),
        num_batches=len(card.batches),
        set_size=set_size,
        seed=run.seed,
        **chosen,
    )


def _rate(step: int, total: int) -> float:
    """Warm up over a tenth of the run, then follow a cosine down to a tenth of the rate."""
    warmup = total / 10
    done = max(0.0, (step - warmup) / (total - warmup))
    return min((step + 1) / warmup, 0.1 + 0.45 * (1 + math.cos(math.pi * done)))


def score(run: Run, store: Any, model: Any, **fields: Any) -> dict[str, float]:
    """Predict the held-out populations and score them with the package's commands' own functions."""
    import anndata

    from bionemo.scale.files.labels.grammar import Grammar
    from bionemo.scale.infer.output.cells_file import write_real
    from bionemo.scale.infer.output.origin import describe
    from bionemo.scale.infer.plans.split_plan import SplitPlan
    from bionemo.scale.infer.predict import predict_all
    from bionemo.scale.infer.trained_model import LoadedModel
    from bionemo.scale.run import evaluate
    from bionemo.scale.train.tables import card_of_training
    from bionemo.scale.types import Split

    before = {name: getattr(model.config, name) for name in fields}
    card = card_of_training(store.card, store.group_means(Split.TRAIN), Grammar())
    plan = SplitPlan(store, Split.TEST, set_size=model.config.set_size, seed=run.seed, sets=model.config.sets)
    with tempfile.TemporaryDirectory() as folder:
        pred, real, out = (Path(folder) / name for name in ("pred.h5ad", "real.h5ad", "scores"))
        vars(model.config).update(fields)
        cells = anndata.AnnData(
            X=predict_all(LoadedModel(model=model, card=card, path=run.store), plan),
            obs=plan.obs,
            var=pd.DataFrame(index=list(card.genes)),
            uns={"bionemo_scale": describe(card, {})},
        )
        cells.write_h5ad(pred)
        vars(model.config).update(before)
        write_real(plan, real, provenance={})
        arguments = ["--pred", str(pred), "--real", str(real), "--name", "model", "--out", str(out), "--no-baselines"]
        said = io.StringIO()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
            failed = evaluate.main(arguments)
        if failed:
            raise RuntimeError(f"{run.variant} on {run.dataset}: the evaluation failed: {said.getvalue()}")
        scores = json.loads((out / "summary.json").read_text())["models"]["model"]
    return {paper: scores[name]["mean"] if name in scores else None for name, paper in METRICS.items()}


def summarise(rows: pd.DataFrame) -> str:
    """Return a table, mean and standard deviation over seeds, a row for each variant."""
    shown = [name for name in METRICS.values() if rows[name].notna().any()]
    lines = []
    for dataset, of_dataset in rows.groupby("dataset", sort=False):
        lines += [f"## {dataset}", "", f"| axis | variant | {' | '.join(shown)} |", "| --- " * (len(shown) + 2) + "|"]
        for (axis, variant), of_variant in of_dataset.groupby(["axis", "variant"], sort=False):
            cells = [_mean_and_spread(of_variant[name]) for name in shown]
            lines.append(f"| {axis} | {variant} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def _mean_and_spread(values: pd.Series) -> str:
    values = values.dropna()
    if values.empty:
        return "-"
    digits = 4 if values.abs().max() < 0.1 else 3
    return f"{values.mean():.{digits}f} ± {values.std(ddof=1) if len(values) > 1 else 0:.{digits}f}"


def draw(rows: pd.DataFrame, study: Study, path: Path) -> None:
    """Draw PDCorr of every axis, a dot a seed and a bar at the mean, the baseline first."""
    datasets, axes = list(dict.fromkeys(rows["dataset"])), [*(["generation"] if study.generation else []), *study.axes]
    figure, panels = plt.subplots(
        len(datasets), len(axes), figsize=(3.2 * len(axes), 3.4 * len(datasets)), sharey="row", squeeze=False
    )
    for dataset, line in zip(datasets, panels, strict=True):
        for axis, panel in zip(axes, line, strict=True):
            of_axis = rows[(rows["dataset"] == dataset) & rows["axis"].isin(["baseline", axis])]
            names = list(dict.fromkeys(of_axis["variant"]))
            for place, name in enumerate(names):
                values = of_axis.loc[of_axis["variant"] == name, "PDCorr"]
                colour = "#0072B2" if name == study.baseline else "#999999"
                panel.bar(place, values.mean(), color=colour, width=0.7)
                panel.plot([place] * len(values), values, "o", color="black", markersize=3)
            panel.set_xticks(
                range(len(names)), [n.replace(study.baseline, "baseline") for n in names], rotation=40, ha="right"
            )
            panel.set_title(axis)
        line[0].set_ylabel(f"{dataset}: PDCorr")
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


if __name__ == "__main__":
    main()
