# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Writes cells as AnnData, block by block: those that were predicted, and those of a split that were measured."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from bionemo.scale.counts.counted import LIBRARY_SIZE, whole_counts
from bionemo.scale.data.store.reader import Store
from bionemo.scale.files.writing.atomic import remove_dead
from bionemo.scale.files.writing.h5ad_writer import H5adWriter
from bionemo.scale.infer.output.origin import describe
from bionemo.scale.infer.plans.plan import READ_ROWS, Plan, named_obs
from bionemo.scale.infer.plans.split_plan import SplitPlan


def write_cells(
    path: Path,
    plan: Plan,
    blocks: Iterable[np.ndarray],
    *,
    genes: tuple[str, ...],
    uns: dict[str, Any],
    library_size: np.ndarray | None = None,
    with_controls: bool = False,
    finish: Callable[[H5adWriter], None] = lambda writer: None,
) -> None:
    """Write predicted cells, dense as log1p or as sparse counts.

    Args:
        path: h5ad that appears when it is complete.
        plan: What was predicted; its labels become obs.
        blocks: [cells, G] float32 log1p or counts, in the plan's order.
        genes: Names of the columns.
        uns: Provenance.
        library_size: [cells] float32 of counts, for obs["library_size"]; ``None`` for log1p values.
        with_controls: Whether the measured controls of the predicted contexts follow (split plans only).
        finish: Writes what is said of the cells, when all of them are in the file.
    """
    obs, is_counts = plan.obs, library_size is not None
    controls: Iterable[csr_matrix] = ()
    if with_controls and isinstance(plan, SplitPlan) and len(rows := plan.control_rows()):
        obs = pd.concat([obs, _real_obs(plan.store, rows)])
        controls = _measured_blocks(plan.store, rows, as_counts=is_counts)
        if library_size is not None:
            library_size = np.concatenate([library_size, _library_sizes(plan.store, rows)])
    obs = _categorical(obs)
    if library_size is not None:
        obs[LIBRARY_SIZE] = library_size.astype(np.float64)
    with H5adWriter(path, obs=obs, genes=genes, uns=uns, dense=not is_counts) as writer:
        for block in blocks:
            writer.append(csr_matrix(block) if is_counts else block)
        for measured in controls:
            writer.append(measured)
        finish(writer)


def write_real(plan: SplitPlan, path: Path, *, provenance: dict[str, Any], as_counts: bool = False) -> None:
    """Write the measured cells of a split and the controls of their contexts, the truth a prediction is held to."""
    store, rows = plan.store, np.concatenate([plan.rows, plan.control_rows()])
    obs = _categorical(_real_obs(store, rows))
    if as_counts:
        obs[LIBRARY_SIZE] = _library_sizes(store, rows)
    uns = {"bionemo_scale": describe(store.card, provenance)}
    # Another prediction of this folder may be writing its own.
    remove_dead(path)
    with H5adWriter(path, obs=obs, genes=store.card.genes, uns=uns, dense=False) as writer:
        for block in _measured_blocks(store, rows, as_counts=as_counts):
            writer.append(block)


def _measured_blocks(store: Store, rows: np.ndarray, *, as_counts: bool) -> Iterator[csr_matrix]:
    return (block for block, _ in _counted_blocks(store, rows)) if as_counts else _real_blocks(store, rows)


def _library_sizes(store: Store, rows: np.ndarray) -> np.ndarray:
    return np.concatenate([sizes for _, sizes in _counted_blocks(store, rows)])


def _counted_blocks(store: Store, rows: np.ndarray) -> Iterator[tuple[csr_matrix, np.ndarray]]:
    for block in _real_blocks(store, rows):
        yield whole_counts(block, store.card.scale.target_sum)


def _real_obs(store: Store, rows: np.ndarray) -> pd.DataFrame:
    table = store.obs(rows)
    obs = named_obs(table, store.card)
    obs.index = pd.Index(table["cell"].astype(str).to_numpy())
    return obs


def _real_blocks(store: Store, rows: np.ndarray) -> Iterator[csr_matrix]:
    for first in range(0, len(rows), READ_ROWS):
        yield store.read(rows[first : first + READ_ROWS])


def _categorical(obs: pd.DataFrame) -> pd.DataFrame:
    obs = obs.copy()
    if "control_cell" in obs and obs["control_cell"].isna().any():
        # Real cells among predicted ones have no control cell they came from.
        obs["control_cell"] = obs["control_cell"].fillna("")
    return obs.astype({column: "category" for column in obs.columns if column != "control_cell"})
