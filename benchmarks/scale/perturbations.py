# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""How time grows with the number of perturbations while the number of cells stays.

Made-up counts: three training contexts and one context to score. Reported is processor time of this process, so that
other work on the machine does not count: the table of effects that training needs, the ridge baseline, and scoring.
"""

import argparse
import json
import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("POLARS_MAX_THREADS", "1")

import numpy as np

from bionemo.scale.eval.baselines.training_means import fit, mean_changes
from bionemo.scale.eval.cells.population_file import PopulationFile
from bionemo.scale.eval.cells.populations import Population
from bionemo.scale.eval.evaluate import TrainingData, evaluate
from bionemo.scale.eval.settings import ScoringSettings
from bionemo.scale.types import DataCard, ExpressionScale, FileLabels, Group, GroupMeans, ObsKeys


CONTEXTS = ("A", "B", "C", "D")
"""The last one is scored."""


def main() -> None:
    """Measure, print a table and write it."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--perturbations", type=int, nargs="+", default=[100, 1000, 5000])
    options.add_argument("--cells", type=int, default=5000, help="perturbed cells of the scored context")
    options.add_argument("--controls", type=int, default=1000)
    options.add_argument("--genes", type=int, default=100)
    options.add_argument("--baselines", nargs="+", default=["control", "additive", "ridge"])
    options.add_argument("--ceiling", action="store_true", help="score one half of the cells against the other, too")
    options.add_argument("--out", type=Path, help="JSON file")
    args = options.parse_args()
    rows = []
    for num in args.perturbations:
        rows.append(measure(num, args))
        print(json.dumps(rows[-1]), flush=True)
    if args.out is not None:
        shape = {name: getattr(args, name) for name in ("cells", "controls", "genes")}
        machine = {"python": platform.python_version(), "cores": os.cpu_count()}
        args.out.write_text(json.dumps({"machine": machine, "shape": shape, "rows": rows}, indent=2) + "\n")


def measure(num: int, args: argparse.Namespace) -> dict[str, Any]:
    """Return seconds of each part for ``num`` perturbations."""
    rng = np.random.default_rng(0)
    names = [f"p{index}" for index in range(num)]
    effects = rng.normal(scale=0.3, size=(num, args.genes)) * (rng.random((num, args.genes)) < 0.05)
    groups = training_groups(names, effects, rng)
    seconds: dict[str, Any] = {"perturbations": num}
    _, seconds["table of effects"] = timed(lambda: mean_changes(groups, control="control"))
    learnt, _ = timed(lambda: fit(groups, control="control"))
    _, seconds["ridge"] = timed(lambda: learnt.ridge)
    real, pred = (cells_of(names, effects, args, rng) for _ in range(2))
    card = real.card
    training = TrainingData(path=Path("store"), card=card, means=groups)
    with tempfile.TemporaryDirectory() as folder:
        options = ScoringSettings(baselines=tuple(args.baselines), ceiling=args.ceiling)
        _, seconds["scoring"] = timed(
            lambda: evaluate(
                real=real, predictions={"m": pred}, out=Path(folder) / "out", training=training, options=options
            )
        )
    seconds["MB"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
    return seconds


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """Call, and return the result with the processor time that it took."""
    begin = time.process_time()
    result = function()
    return result, round(time.process_time() - begin, 2)


def training_groups(names: list[str], effects: np.ndarray, rng: np.random.Generator) -> GroupMeans:
    """Return pseudobulks of three contexts with all perturbations."""
    groups, means = [], []
    for context in CONTEXTS[:-1]:
        base = rng.gamma(2.0, 0.3, size=effects.shape[1])
        groups += [Group("d", context, "control", "b"), *(Group("d", context, name, "b") for name in names)]
        means += [base[None], np.clip(base + effects + rng.normal(scale=0.05, size=effects.shape), 0, None)]
    return GroupMeans(groups=tuple(groups), means=np.concatenate(means), counts=np.full(len(groups), 50))


def cells_of(
    names: list[str], effects: np.ndarray, args: argparse.Namespace, rng: np.random.Generator
) -> PopulationFile:
    """Return cells of the scored context, controls last."""
    num_genes = effects.shape[1]
    perturbation = np.resize(np.arange(len(names)), args.cells)
    base = np.random.default_rng(1).gamma(2.0, 0.3, size=num_genes)
    mean = np.concatenate([base + effects[perturbation], np.tile(base, (args.controls, 1))])
    values = np.log1p(rng.poisson(np.expm1(np.clip(mean, 0.01, None)))).astype(np.float32)
    values += np.where(values > 0, rng.normal(scale=0.01, size=values.shape), 0).astype(np.float32)
    labels = np.concatenate([np.array(names, dtype=object)[perturbation], ["control"] * args.controls]).astype(object)
    genes = tuple(f"g{index}" for index in range(num_genes))
    population = Population(
        expression=np.clip(values, 0, None),
        genes=genes,
        perturbation=labels,
        cell_type=np.full(len(labels), CONTEXTS[-1], dtype=object),
        batch=np.full(len(labels), "b", dtype=object),
    )
    card = DataCard(
        genes=genes,
        cell_types=CONTEXTS,
        perturbations=tuple(names),
        batches=("b",),
        control="control",
        scale=ExpressionScale(),
        keys=ObsKeys(),
    )
    return PopulationFile(
        path=Path(f"{rng.integers(1 << 30)}.h5ad"),
        population=population,
        labels=FileLabels(),
        card=card,
        store=None,
        sha256=str(rng.integers(1 << 30)),
        row_sums=values.sum(axis=1, dtype=np.float64),
    )


if __name__ == "__main__":
    main()
