# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Cells a second that loaders deliver on the same cells, in one run, beside what the machine allows.

Ours are ready (B, N, G) pairs of perturbed cells and matched controls, normalised and dense; "packed" are the same
before they become dense, as they go to a GPU. Every loader gets a process in each round, rounds go through all of
them, and the table has the median of the rounds. Three limits:

    copied   the LMDB values that our batches touch, copied once, in the order of our batches
    dense    an array of the size of our batches, written once, the same one every time
    both     one after the other: the bytes come in and the dense batch goes out, and nothing is computed

    python benchmarks/loader.py --out benchmarks/loader
"""

import argparse
import itertools
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path

from loader_clock import count_cells, peak_mb


HERE = Path(__file__).parent
SETS = {64: 16, 512: 4}
"""Sets of a batch by cells of a set."""
PERTURBATIONS = 8
"""With 4 cell types and 4 batches: groups of some hundred cells, as in the atlases, so that sets are seldom filled
up."""
OURS = ("none", "zstd")
PEERS = {"cell-load": "cell-load==0.10.4", "scDataset": "scDataset==0.3.0", "AnnData backed": None}
NEWER = {"annbatch": "annbatch[torch,zarrs]==0.3.1"}
"""These need Python 3.12, and so an environment of their own."""


def measure_ours(
    folder: Path, codec: str, num_cells: int, workers: int, seconds: float, *, packed: bool = False
) -> dict:
    """Our loader as training uses it, but for Megatron's sampler."""
    import torch
    from torch.utils.data import DataLoader

    from bionemo.scale.data.sets.collate import pack, unpack
    from bionemo.scale.data.sets.dataset import CellSetDataset
    from bionemo.scale.data.store.compiled import PAYS_AFTER, loops_for
    from bionemo.scale.data.store.reader import Store
    from bionemo.scale.types import Split

    # As it is after the first million cells; workers inherit what is compiled.
    loops_for("read", PAYS_AFTER + 1)
    dataset = CellSetDataset(Store.open(folder / codec), Split.TRAIN, num_cells, seed=0, num_samples=1 << 30)
    options = dict(batch_size=SETS[num_cells], num_workers=workers, collate_fn=pack)
    batches = iter(DataLoader(dataset, sampler=range(1 << 30), **options))
    if not packed:
        batches = (unpack(batch, torch.device("cpu"))[0] for batch in batches)
    measured = count_cells(batches, lambda batch: 2 * num_cells * len(batch["seed"]), seconds)
    return {**measured, "peak_mb": peak_mb()}


def measure_limits(folder: Path, num_cells: int, seconds: float) -> dict:
    """The three limits; see above."""
    import numpy as np

    from bionemo.scale.data.sets.dataset import CellSetDataset
    from bionemo.scale.data.store.format import CHUNK_ROWS
    from bionemo.scale.data.store.reader import Store
    from bionemo.scale.types import Split

    store = Store.open(folder / "none")
    dataset = CellSetDataset(store, Split.TRAIN, num_cells, seed=0, num_samples=1 << 30)
    groups, sets = store.groups, SETS[num_cells]
    batches = []
    for first in range(0, 40 * sets, sets):
        keys = set()
        for index in range(first, first + sets):
            (plan,) = dataset.sampler.place(index)
            controls = dataset.controls.match(plan.group, num_cells, dataset.sampler.control_rng(index)).rows
            rows = np.concatenate([plan.perturbed_rows, controls])
            group = np.searchsorted(groups.first_row, rows, side="right") - 1
            keys |= set(zip(group.tolist(), ((rows - groups.first_row[group]) // CHUNK_ROWS).tolist(), strict=True))
        batches.append(sorted(keys))
    shards = store._open_shards()
    cells = 2 * num_cells * sets
    dense = np.empty((cells, store.num_genes), dtype=np.float32)

    def copy(number: int) -> None:
        for key in batches[number % len(batches)]:
            bytes(shards._value(*key))

    def fill(number: int) -> None:
        dense.fill(1.0)

    def both(number: int) -> None:
        copy(number)
        fill(number)

    work = {"copied": copy, "dense": fill, "both": both}
    return {name: _rate(each, cells, seconds) for name, each in work.items()}


def _rate(work: Callable[[int], None], cells: int, seconds: float) -> dict[str, float]:
    work(0)
    done, start, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - start < seconds:
        work(done)
        done += 1
    spent = {"rate": time.perf_counter() - start, "cpu_rate": time.process_time() - cpu}
    return {name: done * cells / seconds for name, seconds in spent.items()}


def prepare_files(folder: Path, num_cells: int) -> dict[str, int]:
    """The screen as h5ad, the same with ``obsm/X_hvg`` for cell-load, and two stores; sizes in bytes."""
    import anndata as ad
    import numpy as np
    from loader_screen import write_screen

    from bionemo.scale.data.prepare.preprocess import prepare
    from bionemo.scale.data.prepare.settings import PrepareSettings

    cells = folder / "cells.h5ad"
    write_screen(cells, num_cells=num_cells, num_perturbations=PERTURBATIONS)
    for codec in OURS:
        prepare(PrepareSettings(inputs=(cells,), out=folder / codec, num_hvg=0, codec=codec))
    adata = ad.read_h5ad(cells)
    values = adata.X.toarray()
    values *= 1e4 / np.maximum(values.sum(axis=1, keepdims=True), 1)
    adata.obsm["X_hvg"] = np.log1p(values)
    adata.var["highly_variable"] = True
    (folder / "state").mkdir()
    adata.write_h5ad(folder / "state" / "cells.h5ad")
    (folder / "experiment.toml").write_text(
        f'[datasets]\nscreen = "{folder / "state"}"\n[training]\nscreen = "train"\n'
    )
    sizes = {codec: sum(file.stat().st_size for file in (folder / codec).iterdir()) for codec in OURS}
    return {"h5ad": cells.stat().st_size, **sizes}


def make_environment(folder: Path, interpreter: str, packages: list[str]) -> Path:
    """A virtual environment with other loaders."""
    python = folder / "bin" / "python"
    subprocess.run([interpreter, "-m", "venv", folder], check=True)
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "torch==2.13.0"], check=True)
    subprocess.run([*pip, *packages], check=True)
    return python


def make_environments(folder: Path, options: argparse.Namespace) -> dict[str, Path]:
    """The interpreter of each loader; without a Python 3.12, those that need it are left out."""
    python = options.python or make_environment(
        folder / "venv", sys.executable, [name for name in PEERS.values() if name]
    )
    newer = options.newer_python
    if newer is None and shutil.which("python3.12"):
        newer = make_environment(folder / "newer", "python3.12", list(NEWER.values()))
    return dict.fromkeys(PEERS, python) | ({} if newer is None else dict.fromkeys(NEWER, newer))


def run_json(command: list, environment: dict | None = None) -> dict:
    """The JSON of a process's last line, or what it said instead."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, env=environment)
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["no message"])[-1]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def measure_all(folder: Path, pythons: dict[str, Path], options: argparse.Namespace) -> dict[str, list[dict]]:
    """Every measurement of every round, by a line of the table."""
    peers_environment = {**os.environ, "PYTHONPATH": ""}
    found: dict[str, list[dict]] = {}
    common = ["--seconds", options.seconds, "--workers", *options.workers]
    for number in range(options.rounds):
        own = run_json([sys.executable, __file__, "--folder", folder, *common])
        parts = [own] + [
            run_json([python, HERE / "loader_peers.py", name, folder, *common], peers_environment)
            for name, python in pythons.items()
        ]
        for name, part in zip(("ours", *pythons), parts, strict=True):
            rows = {f"{name}|-|-": part} if "failed" in part else part
            for key, measured in rows.items():
                found.setdefault(key, []).append(measured)
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
    return found


def table(found: dict[str, list[dict]]) -> list[str]:
    """Markdown lines: medians, and ratios to ours uncompressed."""

    def median(key: str, field: str) -> float | None:
        values = [each[field] for each in found.get(key, []) if field in each]
        return statistics.median(values) if values else None

    lines = [
        "| loader | N | workers | cells/CPU s | ours (none) / it | cells/s | ours (none) / it |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for key, measured in sorted(found.items(), key=lambda item: item[0].split("|")[1:]):
        name, num_cells, workers = key.split("|")
        texts = []
        for field in ("cpu_rate", "rate"):
            rate, ours = median(key, field), median(f"none|{num_cells}|{workers}", field)
            texts += [f"{rate:,.0f}", f"{ours / rate:.2f}" if ours else ""] if rate is not None else ["", ""]
        label = {"packed": "ours, codec none, packed"}.get(name, f"ours, codec {name}" if name in OURS else name)
        failed = f" (failed: {measured[0]['failed']})" if "failed" in measured[0] else ""
        lines.append(f"| {label}{failed} | {num_cells} | {workers} | {' | '.join(texts)} |")
    return lines


def report(options: argparse.Namespace, sizes: dict[str, int], found: dict[str, list[dict]]) -> str:
    """The page that is committed."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=HERE).stdout
    peak = max(
        each.get("peak_mb", 0) for key, part in found.items() if key.startswith((*OURS, "packed")) for each in part
    )
    lines = [
        "# Loader",
        "",
        f"`python benchmarks/loader.py --cells {options.cells} --rounds {options.rounds} --seconds "
        f"{options.seconds:g} "
        f"--workers {' '.join(map(str, options.workers))}`, "
        f"commit {commit.strip()}, {date.today()}, two CPU cores shared with other work, Python "
        f"{platform.python_version()}, {_versions()}; "
        f"{', '.join(name for name in (*PEERS.values(), *NEWER.values()) if name)}.",
        "",
        f"{options.cells} cells x 2000 genes, one file. On disk: "
        + ", ".join(f"{name} {size / 2**20:.1f} MiB" for name, size in sizes.items())
        + f". Largest process of ours: {peak:.0f} MB.",
        "",
        "Cells per second of CPU time, that of worker processes included, tell more than those of the clock where "
        "other work "
        "takes the cores. A batch is 16 sets of 64 or 4 sets of 512 cells, each with as many controls.",
        "",
        *table(found),
        "",
    ]
    return "\n".join(lines)


def _versions() -> str:
    names = ("torch", "numpy", "scipy", "lmdb", "pyarrow", "anndata")
    return ", ".join(f"{name} {version(name)}" for name in names)


def main() -> None:
    """Measure everything, or, as a child, one thing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--out", type=Path, help="folder for results.json and README.md")
    add("--cells", type=int, default=100_000)
    add("--rounds", type=int, default=5)
    add("--seconds", type=float, default=2.0)
    add("--workers", type=int, nargs="+", default=[0, 1, 2])
    add("--python", type=Path, help="interpreter that has the other loaders; default: a new environment")
    add("--newer-python", type=Path, help="interpreter of Python 3.12 that has annbatch; default: a new environment")
    add("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder:
        rows = {}
        for num_cells in SETS:
            for name, measured in measure_limits(options.folder, num_cells, options.seconds).items():
                rows[f"limit: {name}|{num_cells}|0"] = measured
        # Without workers first: what is measured after a fork is slower.
        for workers, num_cells in itertools.product(options.workers, SETS):
            for codec in OURS:
                measured = measure_ours(options.folder, codec, num_cells, workers, options.seconds)
                rows[f"{codec}|{num_cells}|{workers}"] = measured
            measured = measure_ours(options.folder, "none", num_cells, workers, options.seconds, packed=True)
            rows[f"packed|{num_cells}|{workers}"] = measured
        print(json.dumps(rows))
        return
    with tempfile.TemporaryDirectory(prefix="loader-") as name:
        folder = Path(name)
        pythons = make_environments(folder, options)
        sizes = prepare_files(folder, options.cells)
        found = measure_all(folder, pythons, options)
        text = report(options, sizes, found)
    print(text)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "results.json").write_text(json.dumps({"sizes": sizes, "measured": found}, indent=1) + "\n")
        (options.out / "README.md").write_text(text)


if __name__ == "__main__":
    main()
