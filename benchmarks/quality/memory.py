# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Peak memory of bionemo-scale-evaluate on a large file pair.

    python benchmarks/quality/memory.py FOLDER [--cells 400000 --genes 2000 --contexts 4 --perturbations 25]

Writes FOLDER/real.h5ad (CSR, ``--cells`` cells of which a tenth are controls) and FOLDER/pred.h5ad (dense, as a model
writes it), runs the command without baselines that learn, and prints its largest resident size and its time.
"""

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from bionemo.scale.files.writing.h5ad_writer import H5adWriter
from bionemo.scale.types import DataCard, ExpressionScale, ObsKeys


_ROWS = 10_000


def make_files(folder: Path, num_cells: int, num_genes: int, num_contexts: int, num_perturbations: int) -> None:
    """Write both files in blocks."""
    rng = np.random.default_rng(0)
    labels = np.array(["control", *(f"P{index:03d}" for index in range(num_perturbations))])
    share = np.array([0.1, *np.full(num_perturbations, 0.9 / num_perturbations)])
    obs = pd.DataFrame(
        {
            "perturbation": rng.choice(labels, size=num_cells, p=share),
            "cell_type": np.sort(rng.choice([f"T{index}" for index in range(num_contexts)], size=num_cells)),
            "batch": rng.choice(["a", "b", "c", "d"], size=num_cells),
        },
        index=[f"c{row}" for row in range(num_cells)],
    ).astype("category")
    genes = tuple(f"G{index}" for index in range(num_genes))
    card = DataCard(
        genes=genes,
        cell_types=tuple(sorted(set(obs["cell_type"]))),
        perturbations=tuple(labels[1:]),
        batches=("a", "b", "c", "d"),
        control="control",
        scale=ExpressionScale(),
        keys=ObsKeys(),
    )
    uns = {"bionemo_scale": {"card": card.to_json()}}
    perturbed = (obs["perturbation"] != "control").to_numpy()
    pool = _pool(rng, num_genes)
    writers = (("real", obs, False), ("pred", obs[perturbed], True))
    for name, table, dense in writers:
        with H5adWriter(folder / f"{name}.h5ad", obs=table, genes=genes, uns=uns, dense=dense) as writer:
            for start in range(0, len(table), _ROWS):
                writer.append(_block(pool, table.iloc[start : start + _ROWS], dense=dense))


def _pool(rng: np.random.Generator, num_genes: int) -> np.ndarray:
    """Draw the values of every block once: 15 % nonzero, as log1p data are."""
    values = np.minimum(rng.standard_exponential((_ROWS, num_genes), dtype=np.float32) + 0.1, 8)
    return np.where(rng.random(values.shape, dtype=np.float32) < 0.15, values, 0)


def _block(pool: np.ndarray, obs: pd.DataFrame, *, dense: bool) -> np.ndarray | sparse.csr_matrix:
    """Give each perturbation other genes that respond; a dense block has no zeros, as a model's."""
    codes = obs["perturbation"].cat.codes.to_numpy()
    values = pool[: len(obs)].copy()
    for code in np.unique(codes):
        values[codes == code, code :: len(obs["perturbation"].cat.categories)] *= 1.1
    return values + np.float32(0.05) if dense else sparse.csr_matrix(values)


def main() -> None:
    """Make the files where they are not there, run the command, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    for name, value in (("cells", 400_000), ("genes", 2000), ("contexts", 4), ("perturbations", 25)):
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    if not (args.folder / "pred.h5ad").exists():
        make_files(args.folder, args.cells, args.genes, args.contexts, args.perturbations)
    files = [args.folder / f"{name}.h5ad" for name in ("pred", "real")]
    sizes = []
    for path in files:
        with h5py.File(path, "r") as file:
            sizes.append(f"{len(ad.io.read_elem(file['obs']))} cells, {path.stat().st_size / 1e9:.1f} GB")
    print(f"pred: {sizes[0]}; real: {sizes[1]}", flush=True)
    command = ["--pred", files[0], "--real", files[1], "--name", "model", "--out", args.folder / "scores"]
    begin = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "bionemo.scale.run.evaluate", *map(str, command)], check=True, stdout=subprocess.DEVNULL
    )
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024**2
    print(f"largest resident size {peak:.2f} GiB, {time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main()
