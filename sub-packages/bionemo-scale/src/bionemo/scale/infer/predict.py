# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Predicts planned populations and writes them as AnnData, a few sets at a time."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.sparse import csr_matrix, vstack

from bionemo.scale.data.reader import Store
from bionemo.scale.infer.checkpoint import LoadedModel
from bionemo.scale.infer.generate import generate
from bionemo.scale.infer.h5ad_writer import H5adWriter
from bionemo.scale.infer.plan import READ_ROWS, Plan, PlannedSet, SplitPlan, named_obs
from bionemo.scale.types import DataCard


CELLS_AT_ONCE = 512
"""Cells that go through the network together."""

Progress = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How long a prediction took."""

    num_cells: int
    seconds: float


def predict_cells(loaded: LoadedModel, plan: Plan) -> Iterator[np.ndarray]:
    """Yield predicted expression, [cells, G] float32 log1p, in the order of ``plan.obs``.

    Sets of equal size go through the network together; none is padded.
    """
    device = next(loaded.model.parameters()).device
    card, unknown = loaded.card, len(loaded.card.cell_types)
    # Without dropout in training no gradient has touched the unknown row either.
    hides = loaded.model.config.cell_type_dropout > 0
    untrained = {card.cell_types.index(name) for name in card.untrained_cell_types} if hides else set()
    for sets in _equal_sized(plan.sets()):
        control = torch.from_numpy(vstack([item.expression for item in sets]).toarray()).to(device)
        labels = {
            "cell_type": [unknown if item.cell_type in untrained else item.cell_type for item in sets],
            "perturbation": [item.perturbation for item in sets],
            "batch": [item.batch for item in sets],
        }
        labels = {name: torch.tensor(rows, device=device) for name, rows in labels.items()}
        seed = torch.tensor([item.seed for item in sets])
        control = control.view(len(sets), -1, control.shape[1])
        predicted = generate(loaded.model, control, **labels, seed=seed, control_mean=_control_means(sets, control))
        yield predicted.flatten(0, 1).cpu().numpy()


def _control_means(sets: Sequence[PlannedSet], control: torch.Tensor) -> torch.Tensor:
    """Return [sets, G], the mean of a set's own cells where it stands for no others."""
    means = [
        own if item.control_mean is None else torch.from_numpy(item.control_mean).to(own)
        for item, own in zip(sets, control.mean(dim=1), strict=True)
    ]
    return torch.stack(means)


def _equal_sized(sets: Iterator[PlannedSet]) -> Iterator[list[PlannedSet]]:
    pending: list[PlannedSet] = []
    for item in sets:
        size = item.expression.shape[0]
        full = pending and (len(pending) + 1) * size > CELLS_AT_ONCE
        if pending and (full or pending[0].expression.shape[0] != size):
            yield pending
            pending = []
        pending.append(item)
    if pending:
        yield pending


def write_predictions(
    loaded: LoadedModel,
    plan: Plan,
    path: Path,
    *,
    provenance: dict[str, Any],
    progress: Progress = lambda cells: None,
    with_controls: bool = False,
) -> Timing:
    """Predict a plan and write it to an h5ad that appears when it is complete.

    Args:
        loaded: The model.
        plan: What to predict.
        path: File to write: X dense float32 log1p, var names genes, obs labels, uns["bionemo_scale"] provenance.
        provenance: More entries for uns.
        progress: Told of cells as they are predicted.
        with_controls: Append the real control cells of the predicted contexts (split plans only).
    """
    controls = plan.control_rows() if with_controls and isinstance(plan, SplitPlan) else np.empty(0, dtype=np.int64)
    obs = plan.obs if not len(controls) else pd.concat([plan.obs, _real_obs(plan.store, controls)])
    uns = {"bionemo_scale": describe(loaded.card, {"checkpoint": str(loaded.path), **provenance})}
    begin = time.perf_counter()
    with H5adWriter(path, obs=_categorical(obs), genes=loaded.card.genes, uns=uns, dense=True) as writer:
        for block in predict_cells(loaded, plan):
            writer.append(block)
            progress(len(block))
        for block in _real_blocks(plan, controls):
            writer.append(block)
    return Timing(num_cells=len(plan.obs), seconds=time.perf_counter() - begin)


def write_real(plan: SplitPlan, path: Path, *, provenance: dict[str, Any]) -> None:
    """Write the measured cells of a split and the controls of their contexts, the truth a prediction is held to."""
    rows = np.concatenate([plan.rows, plan.control_rows()])
    obs = _real_obs(plan.store, rows)
    uns = {"bionemo_scale": describe(plan.store.card, provenance)}
    with H5adWriter(path, obs=_categorical(obs), genes=plan.store.card.genes, uns=uns, dense=False) as writer:
        for block in _real_blocks(plan, rows):
            writer.append(block)


def describe(card: DataCard, provenance: dict[str, Any]) -> dict[str, Any]:
    """Return what uns["bionemo_scale"] says: data card, scale, versions and where the cells come from."""
    packages = ("bionemo-scale", "megatron-core", "nemo-toolkit", "torch", "anndata")
    return {
        "card": card.to_json(),
        "versions": json.dumps({name: _version(name) for name in packages}),
        "split_sha256": card.split_sha256 or "",
        **{name: str(value) for name, value in provenance.items()},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _real_obs(store: Store, rows: np.ndarray) -> pd.DataFrame:
    table = store.obs(rows)
    obs = named_obs(table, store.card)
    obs.index = pd.Index(table["cell"].astype(str).to_numpy())
    return obs


def _real_blocks(plan: Plan, rows: np.ndarray) -> Iterator[csr_matrix]:
    for first in range(0, len(rows), READ_ROWS):
        yield plan.store.read(rows[first : first + READ_ROWS])


def _categorical(obs: pd.DataFrame) -> pd.DataFrame:
    # Real cells among predicted ones have no control cell they came from.
    return obs.fillna("").astype({column: "category" for column in obs.columns if column != "control_cell"})
