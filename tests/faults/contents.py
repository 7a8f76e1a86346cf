# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Whether a result that differs follows from a file that says something else, as AnnData reads it."""

import warnings
from pathlib import Path

import anndata as ad
import forked
import numpy as np
import zarr
from commands import Command
from scipy.sparse import issparse

from bionemo.scale.data.store.reader import Store


LABELS = ("cell_type", "perturbation", "batch")


def read(path: Path) -> ad.AnnData:
    """Return a file as AnnData reads it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if path.suffix == ".zip":
            return ad.read_zarr(zarr.ZipStore(str(path), mode="r"))
        return ad.read_zarr(path) if path.is_dir() else ad.read_h5ad(path)


def judge(command: Command, folder: Path, inputs: Path) -> tuple[str, str]:
    """Say whether a command that gave another result had to: in a process of its own, for libraries may crash."""
    names = [
        word
        for word in command.words
        if word.endswith((".h5ad", ".zarr", ".zip")) and (folder / word).exists() and word != command.out
    ]

    def look(arguments: object) -> int:
        changed = [name for name in names if _differs(read(folder / name), read(inputs / name))]
        assert changed, "the file says what it said before"
        for name in changed:
            _check_sane(read(folder / name))
        if (folder / "out" / "manifest.json").exists():
            _check_store(read(folder / changed[0]), folder / "out")
        return 0

    done = forked.run(look, (), folder=folder)
    return ("other", "") if done.code == 0 else ("fault", f"another result: {' | '.join(done.lines[-1:])[-300:]}")


def _dense(data: ad.AnnData) -> np.ndarray:
    return np.asarray(data.X.toarray() if issparse(data.X) else data.X, dtype=np.float64)


def _differs(one: ad.AnnData, other: ad.AnnData) -> bool:
    same_shape = one.shape == other.shape
    return not (
        same_shape
        and np.array_equal(_dense(one), _dense(other))
        and one.obs.astype(str).equals(other.obs.astype(str))
        and list(one.obs_names) == list(other.obs_names)
        and list(one.var_names) == list(other.var_names)
    )


def _check_sane(data: ad.AnnData) -> None:
    values = _dense(data)
    assert np.isfinite(values).all() and (values >= 0).all() and values.max() < 1e9, (
        "it has values that are no expression"
    )
    for key in LABELS:
        labels = {str(label) for label in data.obs[key]}
        assert all(label.strip() and label.isprintable() for label in labels), f"it has labels {labels}"


def _check_store(data: ad.AnnData, path: Path) -> None:
    """Every cell of the store has the values and labels that it has in the file."""
    with Store.open(path) as store:
        rows = np.arange(store.num_cells)
        obs, found = store.obs(rows), store.read(rows).toarray()
        genes = list(store.card.genes)
    values = _dense(data)
    sums = values.sum(axis=1, keepdims=True)
    columns = [list(data.var_names).index(gene) for gene in genes]
    expected = np.log1p(np.divide(1e4 * values, sums, out=np.zeros_like(values), where=sums > 0))[:, columns]
    labels = [[str(label).strip() for label in data.obs[key]] for key in LABELS]
    in_file = sorted(zip(map(str, data.obs_names), *labels, expected.tolist(), strict=True))
    in_store = sorted(
        zip(obs["cell"].astype(str), *(obs[key].astype(str) for key in LABELS), found.tolist(), strict=True)
    )
    # By all that is known of a cell, for several may have one name.
    assert [cell[:-1] for cell in in_store] == [cell[:-1] for cell in in_file], "the store has other labels"
    values_of = [np.array([cell[-1] for cell in cells]) for cells in (in_store, in_file)]
    assert np.allclose(*values_of, rtol=1e-4, atol=1e-5), "the store has other values than the file"
