# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Fillers, and useful cells a second of the processor, with sets of one batch and with mixed sets.

    python benchmarks/sets/measure.py

Two stores: the demo's (Kang, N = 32), and made-up counts with the groups of a genome-wide screen (48 batches, 3 cells
of each perturbation in each, N = 128). Fillers are counted over three epochs, of perturbed sets and of controls. A
useful cell is a perturbed one that is no filler; the loader gathers and packs micro-batches, a step also runs the
small network forwards and backwards and updates its weights. Both ways take turns in one process, one thread.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


ROOT = Path(__file__).parents[2]
BATCHES, CELLS, CONTROLS, GENES = 48, 3, 20, 500
MICRO_BATCH = 8
WAYS = ("batch", "mixed")


def demo(out: Path) -> None:
    """Prepare the store of `make demo`."""
    from bionemo.scale.data.prepare.preprocess import prepare
    from bionemo.scale.data.prepare.settings import PrepareSettings

    data, split = (ROOT / "examples" / name for name in ("data/kang2018_pbmc_ifnb.h5ad", "splits/kang.toml"))
    prepare(
        PrepareSettings(inputs=(data,), datasets=("kang",), out=out, split=split, library_size_key="n_counts_full")
    )


def many_batches(out: Path, perturbations: int) -> None:
    """Prepare made-up counts of one cell line in many batches with few cells of each perturbation."""
    import anndata as ad
    import pandas as pd
    from scipy.sparse import csr_matrix

    from bionemo.scale.data.prepare.preprocess import prepare
    from bionemo.scale.data.prepare.settings import PrepareSettings

    rng = np.random.default_rng(0)
    labels = [
        ("K562", f"gem{batch:02d}", f"p{number}" if number else "control")
        for batch in range(BATCHES)
        for number in range(perturbations + 1)
        for _ in range(CELLS if number else CONTROLS)
    ]
    counts = rng.poisson(rng.gamma(0.25, 1.0, size=GENES), size=(len(labels), GENES)).astype(np.float32)
    counts[:, 0] += 1
    obs = pd.DataFrame(labels, columns=["cell_type", "batch", "perturbation"]).astype("category")
    obs.index = [f"cell{row}" for row in range(len(obs))]
    var = pd.DataFrame(index=[f"gene{column}" for column in range(GENES)])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cells.h5ad"
        ad.AnnData(csr_matrix(counts), obs=obs, var=var).write_h5ad(path)
        prepare(PrepareSettings(inputs=(path,), datasets=("screen",), out=out, num_hvg=0))


def sets_of(store: Any, *, sets: str, set_size: int, weighting: str) -> Any:
    """Return the data set of training."""
    from bionemo.scale.data.sets.dataset import CellSetDataset
    from bionemo.scale.data.sets.sampler import Sampling
    from bionemo.scale.types import Split

    sampling = Sampling(sets=sets, weighting=weighting, control_share=0.4)
    return CellSetDataset(store, Split.TRAIN, set_size, seed=0, sampling=sampling, num_samples=1 << 30)


def count(data: Any, store: Any) -> dict[str, float]:
    """Count three epochs."""
    own = {True: 0, False: 0}
    rows = {True: 0, False: 0}
    for place in range(3 * data.sampler.num_places):
        for plan in data.sampler.place(place):
            is_control = bool(store.groups.is_control[plan.group])
            own[is_control] += plan.num_cells
            rows[is_control] += len(plan.perturbed_rows)
    fillers = {kind: 1 - own[kind] / rows[kind] for kind in own}
    return {
        "places": data.sampler.num_places,
        "sets": data.sampler.num_sets,
        "fillers": fillers[False],
        "fillers_with_controls": 1 - sum(own.values()) / sum(rows.values()),
    }


def useful(data: Any, store: Any, first: int) -> int:
    """Return the perturbed cells of a micro-batch that are no fillers."""
    plans = [plan for place in range(first, first + MICRO_BATCH) for plan in data.sampler.place(place)]
    return sum(plan.num_cells for plan in plans if not store.groups.is_control[plan.group])


def loader(data: Any, store: Any) -> Callable[[int], None]:
    """Return what reads a micro-batch."""
    import torch

    from bionemo.scale.data.sets.collate import pack, unpack

    return lambda first: unpack(pack(data.__getitems__(range(first, first + MICRO_BATCH))), torch.device("cpu"))


def step(data: Any, store: Any) -> Callable[[int], None]:
    """Return what trains on a micro-batch."""
    import torch

    from bionemo.scale.model.config import ScaleModelConfig
    from bionemo.scale.model.size.sizes import SIZES
    from bionemo.scale.model.weights import init_weights
    from bionemo.scale.train.averaged import AveragedModel
    from bionemo.scale.train.step import forward_step

    card, sampler = store.card, data.sampler
    labels = {f"num_{name}": len(getattr(card, name)) for name in ("genes", "cell_types", "perturbations", "batches")}
    config = ScaleModelConfig(
        **SIZES["small"], **labels, set_size=sampler.set_size, sets="mixed" if sampler.is_mixed else "batch"
    )
    model, read = AveragedModel(config), loader(data, store)
    init_weights(model, seed=0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def train(first: int) -> None:
        optimizer.zero_grad()
        forward_step(model.train(), read(first))["loss"].backward()
        optimizer.step()

    return train


def measure(make: Callable, store: Any, *, set_size: int, rounds: int, batches: int) -> dict[str, list[float]]:
    """Return useful cells a second of the processor, a round each, the two ways in turns."""
    data = {sets: sets_of(store, sets=sets, set_size=set_size, weighting="tempered") for sets in WAYS}
    run = {sets: make(data[sets], store) for sets in WAYS}
    rates: dict[str, list[float]] = {sets: [] for sets in WAYS}
    for each in range(rounds + 1):
        for sets in WAYS:
            places = range(each * batches * MICRO_BATCH, (each + 1) * batches * MICRO_BATCH, MICRO_BATCH)
            cells = sum(useful(data[sets], store, first) for first in places)
            begin = time.process_time()
            for first in places:
                run[sets](first)
            if each:
                rates[sets].append(cells / (time.process_time() - begin))
    return rates


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--perturbations", type=int, default=60, help="of the made-up screen")
    args = parser.parse_args()
    from bionemo.scale.data.store.reader import Store
    from bionemo.scale.megatron import cpu

    # Before Megatron is imported.
    cpu.install()
    import torch

    from bionemo.scale.megatron.layout import model_parallel

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, model_parallel():
        demo(Path(folder) / "demo")
        many_batches(Path(folder) / "many", args.perturbations)
        for name, set_size in (("demo", 32), ("many", 128)):
            with Store.open(Path(folder) / name) as store:
                report(name, store, set_size=set_size, rounds=args.rounds)


def report(name: str, store: Any, *, set_size: int, rounds: int) -> None:
    """Print what was counted and measured of a store."""
    for weighting in ("proportional", "tempered"):
        for sets in WAYS:
            found = count(sets_of(store, sets=sets, set_size=set_size, weighting=weighting), store)
            print(name, weighting, sets, {key: round(value, 4) for key, value in found.items()}, flush=True)
    for what, make, batches in (("loader", loader, 10), ("step", step, 2)):
        rates = measure(make, store, set_size=set_size, rounds=rounds, batches=batches)
        ratios = [new / old for old, new in zip(rates["batch"], rates["mixed"], strict=True)]
        medians = {sets: round(statistics.median(each)) for sets, each in rates.items()}
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(name, what, "useful cells/CPU s", medians, "ratio", spread, flush=True)


if __name__ == "__main__":
    main()
