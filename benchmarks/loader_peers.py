# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Other loaders on the benchmark's files; runs in an environment of its own and prints one JSON line.

``cell-load`` is built as ``state tx train`` builds it. The others give cells, not matched sets, and their
values are not normalised: they are faster for it. Each is measured for ``--seconds`` after one batch.
"""

import argparse
import json
import warnings
from collections.abc import Iterator
from pathlib import Path

import anndata as ad
import numpy as np
import torch
from loader_clock import count_cells


def cell_load(folder: Path, num_cells: int, num_sets: int, workers: int, seconds: float) -> dict:
    """Pairs: a perturbed cell and a control, each with its expression, one-hots and names."""
    from cell_load.data_modules import PerturbationDataModule

    module = PerturbationDataModule(
        str(folder / "experiment.toml"),
        batch_size=num_sets,
        num_workers=workers,
        pert_col="perturbation",
        batch_col="batch",
        cell_type_key="cell_type",
        control_pert="control",
        embed_key="X_hvg",
        output_space="gene",
        basal_mapping_strategy="batch",
        cell_sentence_len=num_cells,
    )
    module.setup()
    batches = iter(module.train_dataloader())
    return count_cells(batches, lambda batch: 2 * len(batch["pert_cell_emb"]), seconds)


def sc_dataset(folder: Path, num_cells: int, num_sets: int, workers: int, seconds: float, block: int = 16) -> dict:
    """Runs of 16 cells that are neighbours in the file, shuffled in a buffer of 16 batches."""
    from scdataset import BlockShuffling, scDataset
    from torch.utils.data import DataLoader

    adata = ad.read_h5ad(folder / "cells.h5ad", backed="r")
    data = scDataset(
        adata,
        BlockShuffling(block_size=block),
        batch_size=2 * num_cells * num_sets,
        fetch_factor=4 if num_cells * num_sets > 512 else 16,
        fetch_callback=lambda data, rows: data[np.sort(rows)].X.tocsr(),
        batch_transform=lambda rows: torch.from_numpy(rows.toarray()),
    )
    loader = DataLoader(data, batch_size=None, num_workers=workers)

    def epochs() -> Iterator:
        while True:
            yield from loader

    return count_cells(epochs(), len, seconds)


def anndata_backed(folder: Path, num_cells: int, num_sets: int, workers: int, seconds: float) -> dict:
    """Random cells by their numbers, in this process."""
    adata = ad.read_h5ad(folder / "cells.h5ad", backed="r")
    rng = np.random.default_rng(0)

    def batches() -> Iterator:
        while True:
            rows = np.sort(rng.choice(adata.n_obs, size=2 * num_cells * num_sets, replace=False))
            yield torch.from_numpy(adata[rows].X.toarray())

    return count_cells(batches(), len, seconds)


def annbatch(folder: Path, num_cells: int, num_sets: int, workers: int, seconds: float) -> dict:
    """Chunks of 32 cells of a file that annbatch shuffled and wrote; chunks of two batches are read at once."""
    import zarr
    from annbatch import DatasetCollection, Loader

    zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})
    collection = DatasetCollection(folder / "annbatch.zarr")
    if collection.is_empty:
        collection.add_adatas([folder / "cells.h5ad"], shuffle=True)
    size = 2 * num_cells * num_sets
    options = dict(batch_size=size, chunk_size=32, preload_nchunks=2 * size // 32, to="torch", shuffle=True)
    loader = Loader(**options).use_collection(collection, load_adata=_expression_alone)

    def epochs() -> Iterator:
        while True:
            yield from loader

    return count_cells((batch["X"].to_dense() for batch in epochs()), len, seconds)


def _expression_alone(group) -> ad.AnnData:
    return ad.AnnData(X=ad.io.sparse_dataset(group["X"]))


SETS = {64: 16, 512: 4}
"""Sets of a batch by cells of a set."""
LOADERS = {"cell-load": cell_load, "scDataset": sc_dataset, "AnnData backed": anndata_backed, "annbatch": annbatch}
WITHOUT_WORKERS = ("AnnData backed", "annbatch")
"""Measured in their own process alone; annbatch reads with threads of its own."""


def main() -> None:
    """Measure one loader."""
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("loader", choices=LOADERS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    measure = LOADERS[options.loader]
    rates = {
        f"{options.loader}|{num_cells}|{workers}": measure(
            options.folder, num_cells, num_sets, workers, options.seconds
        )
        for num_cells, num_sets in SETS.items()
        for workers in ((0,) if options.loader in WITHOUT_WORKERS else options.workers)
    }
    print(json.dumps(rates))


if __name__ == "__main__":
    main()
