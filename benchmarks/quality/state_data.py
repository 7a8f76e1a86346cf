# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Hands a store to STATE and takes its prediction back, so that both models see the same cells, genes and split.

    python state_data.py export STORE SPLIT.toml REAL.h5ad OUT     writes OUT/data/<dataset>.h5ad, OUT/split.toml,
    OUT/test.h5ad python state_data.py collect SIMULATED.h5ad REAL.h5ad PRED.h5ad

STATE reads ``obsm["X_hvg"]`` by position, wants categorical labels, and writes its prediction into the same place. The
values are ours, log1p of counts scaled to the store's target, so no preprocessing of STATE's own comes in.
"""

import argparse
import tomllib
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from bionemo.scale.data.store.reader import Store


LABELS = ["perturbation", "cell_type", "batch"]


def export(store_path: Path, split: Path, real: Path, out: Path) -> None:
    """Write every cell of a store, one h5ad a dataset, and the cells to predict, as STATE wants them."""
    (out / "data").mkdir(parents=True, exist_ok=True)
    with Store.open(store_path) as store:
        obs = store.obs(np.arange(store.num_cells))
        for dataset, rows in obs.groupby("dataset", observed=True).indices.items():
            write(out / "data" / f"{dataset}.h5ad", store.read(rows), obs.iloc[rows], store.card.genes)
        datasets = sorted(set(obs["dataset"]))
        write_test(store, real, out / "test.h5ad")
    sections = split.read_text()
    paths = "".join(f'{name} = "{(out / "data" / f"{name}.h5ad").resolve()}"\n' for name in datasets)
    assert "datasets" not in tomllib.loads(sections), f"{split}: names its own files"
    (out / "split.toml").write_text(f"[datasets]\n{paths}\n{sections}")


def write_test(store: Store, real: Path, path: Path) -> None:
    """Write the measured cells of a split with the labels that STATE knows them by."""
    test, keys, genes = ad.read_h5ad(real), store.card.keys, store.card.genes
    assert tuple(test.var_names) == genes, f"{real}: genes are not those of {store.path}"
    # One column may be two labels: where replicates are the contexts, the batch is the cell type.
    labels = {name: test.obs[getattr(keys, name)].astype(str).to_numpy() for name in LABELS}
    write(path, sparse.csr_matrix(test.X), pd.DataFrame(labels), genes)


def write(path: Path, cells: sparse.csr_matrix, obs: pd.DataFrame, genes: tuple[str, ...]) -> None:
    """Write cells with X, obsm["X_hvg"] and categorical labels."""
    labels = obs[LABELS].astype(str).astype("category").reset_index(drop=True)
    labels.index = [f"cell_{row}" for row in range(len(labels))]
    var = pd.DataFrame({"highly_variable": True, "gene_name": list(genes)}, index=pd.Index(genes, name="gene"))
    adata = ad.AnnData(X=cells, obs=labels, var=var, uns={"log1p": {}})
    adata.obsm["X_hvg"] = cells.toarray()
    adata.write_h5ad(path)


def collect(simulated: Path, real: Path, out: Path) -> None:
    """Put STATE's expression under the labels, genes and card of the real file; its controls are left out."""
    truth, found = ad.read_h5ad(real), ad.read_h5ad(simulated)
    assert len(truth) == len(found), f"{simulated}: {len(found)} cells, expected the {len(truth)} of {real}"
    keep = (found.obs["perturbation"].astype(str) != "control").to_numpy()
    expression = np.clip(np.asarray(found.obsm["X_hvg"], dtype=np.float32)[keep], 0, 14)
    card = truth.uns["bionemo_scale"]["card"]
    pred = ad.AnnData(X=expression, obs=truth.obs[keep], var=pd.DataFrame(index=truth.var_names))
    pred.uns["bionemo_scale"] = {"card": card, "checkpoint": "STATE"}
    pred.write_h5ad(out)


def main() -> None:
    """Run one of the two commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for function, names in (
        (export, ("store_path", "split", "real", "out")),
        (collect, ("simulated", "real", "out")),
    ):
        command = commands.add_parser(function.__name__)
        for name in names:
            command.add_argument(name, type=Path)
        command.set_defaults(function=function)
    args = vars(parser.parse_args())
    args.pop("function")(**args)


if __name__ == "__main__":
    main()
