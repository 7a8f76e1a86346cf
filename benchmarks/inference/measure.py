# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Cells predicted in a second: bionemo-scale-infer beside ``state tx infer``, on the same control cells.

    python benchmarks/inference/measure.py FOLDER --state-env ENV [--cells 8192] [--perturbations 1] [--rounds 3]

FOLDER is a data set's folder that ``quality/compare.py`` left, with both models trained (``run`` and ``state/run``);
ENV has arc-state. The test contexts' control cells, repeated, are carried to the data set's first perturbations by
each command, in turns: as many cells in all as are asked for, the same ones to each perturbation. STATE takes part
twice: as narrow as the comparison trained it, and as its own ``state_sm`` is shipped, trained for two steps, since
speed does not depend on what was learned. A second, smaller file tells start-up from prediction: what is said of a
cell is the difference of the two times. Times are of the processor. Medians over the rounds; prints a table.
"""

import argparse
import resource
import statistics
import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np


sys.path.insert(0, str(Path(__file__).parents[1] / "quality"))
from compare import state_data_settings


FEW = 512
"""Cells of the smaller file."""
SHIPPED = "shipped"
"""Name of the run of STATE as it is shipped."""


def train_shipped(folder: Path, env: Path, log: Path) -> None:
    """Make a checkpoint of STATE's own size."""
    data = folder / "state"
    if (data / SHIPPED / "config.yaml").exists():
        return
    chosen = [
        "model=state_sm",
        f"name={SHIPPED}",
        "training.max_steps=2",
        "training.val_freq=2",
        "training.batch_size=1",
    ]
    seconds([str(env / "bin" / "state"), "tx", "train", *state_data_settings(data), *chosen], log)


def write_cells(folder: Path, source: ad.AnnData, count: int, perturbations: list[str]) -> dict[str, Path]:
    """Write the controls, repeated until ``count`` cells are to be predicted, as each command wants them."""
    controls = np.flatnonzero(source.obs["perturbation"] == "control")
    cells = source[np.resize(controls, count // len(perturbations))].copy()
    cells.obs_names = [f"cell{row}" for row in range(cells.n_obs)]
    paths = {name: folder / f"{name}-{count}.h5ad" for name in ("SCALE", "STATE")}
    cells.write_h5ad(paths["SCALE"])
    # STATE predicts the cells that have a label, from the controls of the file.
    labelled = [cells.copy() for _ in perturbations]
    for part, name in zip(labelled, perturbations, strict=True):
        part.obs["perturbation"] = name
    both = ad.concat([*labelled, source[controls]], merge="same")
    both.obs_names_make_unique()
    both.obs = both.obs.astype("category")
    both.uns["log1p"] = {}
    both.write_h5ad(paths["STATE"])
    return paths


def commands(args: argparse.Namespace, cells: dict[str, Path], perturbations: list[str]) -> dict[str, list[str]]:
    """Return the command of each model."""
    state = [args.state_env / "bin" / "state", "tx", "infer", "--adata", cells["STATE"], "--embed-key", "X_hvg"]
    state += ["--pert-col", "perturbation", "--celltype-col", "cell_type", "--batch-col", "batch"]
    state += ["--control-pert", "control", "--output", _predicted(cells["STATE"])]
    scale = [sys.executable, "-m", "bionemo.scale.run.infer", "--checkpoint", args.folder / "run"]
    scale += [
        "--adata",
        cells["SCALE"],
        "--perturbations",
        ",".join(perturbations),
        "--overwrite",
        "--target-sum",
        "10000",
        "--out",
        _predicted(cells["SCALE"]),
    ]
    found = {
        "SCALE small": scale,
        "STATE, 128 wide": [*state, "--model-dir", args.folder / "state" / "run"],
        "STATE as shipped": [*state, "--model-dir", args.folder / "state" / SHIPPED],
    }
    return {name: [*map(str, words)] for name, words in found.items()}


def _predicted(path: Path) -> Path:
    return path.with_name(f"pred-{path.name}")


def seconds(command: list[str], log: Path) -> float:
    """Run a command, and return processor seconds of all its threads; its output goes to a log."""
    begin = _used()
    with log.open("a") as file:
        done = subprocess.run(command, stdout=file, stderr=file)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}, see {log}")
    return _used() - begin


def _used() -> float:
    """Return processor seconds of the commands that have ended, so that other work on the machine matters little."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Time both and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--state-env", type=Path, required=True)
    parser.add_argument("--work", type=Path, help="where files are written (default: FOLDER/inference)")
    parser.add_argument("--cells", type=int, default=8192)
    parser.add_argument("--perturbations", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    work = args.work or args.folder / "inference"
    work.mkdir(parents=True, exist_ok=True)
    source = ad.read_h5ad(args.folder / "state" / "test.h5ad")
    train_shipped(args.folder, args.state_env, work / "log.txt")
    chosen = sorted(set(source.obs["perturbation"]) - {"control"})[: args.perturbations]
    if len(chosen) < args.perturbations:
        sys.exit(f"--perturbations must be at most {len(chosen)} for {args.folder}, found {args.perturbations}")
    sizes = (FEW, args.cells)
    runs = {count: commands(args, write_cells(work, source, count, chosen), chosen) for count in sizes}
    taken = {(name, count): [] for count in sizes for name in runs[count]}
    for _ in range(args.rounds):
        for name, count in taken:
            taken[name, count].append(seconds(runs[count][name], work / "log.txt"))
    middle = {key: statistics.median(values) for key, values in taken.items()}
    titles = "".join(
        f"{title:>14}" for title in (f"{args.cells} cells", f"{FEW} cells", "cells/s", "in all", "a cell")
    )
    print(f"{'':<18}{titles}   (medians of {args.rounds}, processor seconds; the last two: times as long as SCALE)")
    ours: tuple[float, float] | None = None
    for name in runs[args.cells]:
        total, few = middle[name, args.cells], middle[name, FEW]
        a_cell = max(total - few, 1e-9) / (args.cells - FEW)
        ours = ours or (total, a_cell)
        print(
            f"{name:<18}{total:>14.1f}{few:>14.1f}{1 / a_cell:>14.0f}{total / ours[0]:>14.2f}{a_cell / ours[1]:>14.2f}"
        )


if __name__ == "__main__":
    main()
