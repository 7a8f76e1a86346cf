# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Writes cells as AnnData, block by block: those that were predicted, and those of a split that were measured."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from bionemo.scale.data.store.reader import Store
from bionemo.scale.files.writing.h5ad_writer import H5adWriter
from bionemo.scale.infer.counts.counted import LIBRARY_SIZE, whole_counts
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
    with_controls: bool = False,
    finish: Callable[[H5adWriter], None] = lambda writer: None,
) -> None:
    """Write predicted cells.

    Args:
        path: h5ad that appears when it is complete.
        plan: What was predicted; its labels become obs.
        blocks: [cells, G] float32 log1p, in the plan's order.
        genes: Names of the columns.
        uns: Provenance.
        with_controls: Whether the measured controls of the predicted contexts follow (split plans only).
        finish: Writes what is said of the cells, when all of them are in the file.
    """
    obs, real = plan.obs, iter(())
    if with_controls and isinstance(plan, SplitPlan) and len(controls := plan.control_rows()):
        obs, real = pd.concat([plan.obs, _real_obs(plan.store, controls)]), _real_blocks(plan.store, controls)
    with H5adWriter(path, obs=_categorical(obs), genes=genes, uns=uns, dense=True) as writer:
        for block in blocks:
            writer.append(block)
        for block in real:
            writer.append(block)
        finish(writer)


def write_counts(
    path: Path,
    plan: Plan,
    blocks: Iterable[np.ndarray],
    *,
    library_size: np.ndarray,
    genes: tuple[str, ...],
    uns: dict[str, Any],
    with_controls: bool = False,
    finish: Callable[[H5adWriter], None] = lambda writer: None,
) -> None:
    """Write predicted cells as counts.

    Args:
        path: h5ad that appears when it is complete.
        plan: What was predicted; its labels become obs.
        blocks: [cells, G] counts, in the plan's order.
        library_size: [cells] float32, for obs["library_size"].
        genes: Names of the columns.
        uns: Provenance.
        with_controls: Whether the measured controls of the predicted contexts follow (split plans only).
        finish: Writes what is said of the cells, when all of them are in the file.
    """
    obs, rows = plan.obs, np.zeros(0, dtype=np.int64)
    if with_controls and isinstance(plan, SplitPlan):
        rows = plan.control_rows()
        obs = pd.concat([obs, _real_obs(plan.store, rows)])
        library_size = np.concatenate([library_size, _library_sizes(plan.store, rows)])
    obs = _categorical(obs).assign(**{LIBRARY_SIZE: library_size.astype(np.float64)})
    with H5adWriter(path, obs=obs, genes=genes, uns=uns, dense=False) as writer:
        for block in blocks:
            writer.append(csr_matrix(block))
        for block, _ in _counted_blocks(plan.store, rows) if isinstance(plan, SplitPlan) else ():
            writer.append(block)
        finish(writer)


def write_real(plan: SplitPlan, path: Path, *, provenance: dict[str, Any], as_counts: bool = False) -> None:
    """Write the measured cells of a split and the controls of their contexts, the truth a prediction is held to."""
    store, rows = plan.store, np.concatenate([plan.rows, plan.control_rows()])
    obs = _categorical(_real_obs(store, rows))
    blocks: Iterable[csr_matrix] = _real_blocks(store, rows)
    if as_counts:
        obs[LIBRARY_SIZE] = _library_sizes(store, rows)
        blocks = (block for block, _ in _counted_blocks(store, rows))
    uns = {"bionemo_scale": describe(store.card, provenance)}
    with H5adWriter(path, obs=obs, genes=store.card.genes, uns=uns, dense=False) as writer:
        for block in blocks:
            writer.append(block)


def _library_sizes(store: Store, rows: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros(0), *(sizes for _, sizes in _counted_blocks(store, rows))])


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
