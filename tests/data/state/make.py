# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Makes the files beside it: small h5ads, and what cell-load assigns every cell of them to.

Run in an environment with cell-load 0.10.4 and anndata, in this folder: ``python make.py``.
"""

import json
from importlib.metadata import version
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from cell_load.data_modules import PerturbationDataModule
from scipy.sparse import csr_matrix


FILES = {
    "atlas/first.h5ad": ("A", "B v1.2", "D"),
    "atlas/second.h5": ("A", "B v1.2"),
    "lines/one_a.h5ad": ("K",),
    "lines/two_b.h5ad": ("L",),
    "lines/three.h5ad": ("M",),
    "spare/only.h5ad": ("C", "E"),
}


def make_file(path: Path, cell_types: tuple[str, ...], seed: int) -> None:
    """Two to six cells a group; labels are categories, as cell-load needs them."""
    rng = np.random.default_rng(seed)
    rows = [
        (perturbation, cell_type, f"{path.stem}-{batch}")
        for cell_type in cell_types
        for perturbation in ("non-targeting", "p0", "p1", "p2", "p3")
        for batch in ("x", "y")
        for _ in range(rng.integers(2, 7))
    ]
    obs = pd.DataFrame(rows, columns=["gene", "cell_type", "gem_group"]).iloc[rng.permutation(len(rows))]
    obs = obs.astype("category")
    obs.index = [f"{path.stem}_{number}" for number in range(len(obs))]
    counts = rng.poisson(1.5, size=(len(obs), 8)).astype(np.float32)
    var = pd.DataFrame({"gene_name": [f"g{number}" for number in range(8)]}, index=[f"ENSG{n}" for n in range(8)])
    path.parent.mkdir(exist_ok=True)
    ad.AnnData(csr_matrix(counts), obs=obs, var=var).write_h5ad(path, compression="gzip")


def assignment() -> dict[str, list[str]]:
    """Splits of every perturbed cell by name; none where no split has it."""
    module = PerturbationDataModule(
        "experiment.toml", pert_col="gene", batch_col="gem_group", cell_type_key="cell_type"
    )
    module.setup()
    found: dict[str, list[str]] = {}
    for path in FILES:
        for name, label in ad.read_h5ad(path).obs["gene"].items():
            if label != "non-targeting":
                found[str(name)] = []
    for split in ("train", "val", "test"):
        for subset in getattr(module, f"{split}_datasets"):
            obs = ad.read_h5ad(subset.dataset.h5_path).obs.iloc[list(subset.indices)]
            for name in obs.index[obs["gene"] != "non-targeting"]:
                found[str(name)].append(split)
    return found


if __name__ == "__main__":
    for number, (name, cell_types) in enumerate(FILES.items()):
        make_file(Path(name), cell_types, number)
    golden = {"cell-load": version("cell-load"), "splits": assignment()}
    Path("assignment.json").write_text(json.dumps(golden, indent=0) + "\n")
