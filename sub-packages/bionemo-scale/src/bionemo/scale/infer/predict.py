# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Predicts planned populations and writes them as AnnData, part by part, on as many processes as there are."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.sparse import csr_matrix, vstack

from bionemo.scale.data.store.reader import Store
from bionemo.scale.files.provenance import versions_of
from bionemo.scale.files.writing.h5ad_writer import H5adWriter
from bionemo.scale.infer.generate import Controls, count, has_counted_zeros, look_at, perturb
from bionemo.scale.infer.labels import ModelRows, model_rows
from bionemo.scale.infer.output.measured_cells import STORE_CONTENT
from bionemo.scale.infer.output.pseudobulk import Conditions, conditions_of, write_pseudobulk
from bionemo.scale.infer.parts import Part, PartFolder, cut, parts_path
from bionemo.scale.infer.plan import READ_ROWS, ControlSet, Plan, SplitPlan, named_obs
from bionemo.scale.infer.run_estimate import PlannedMeans
from bionemo.scale.infer.settings import Precision
from bionemo.scale.infer.trained_model import LoadedModel
from bionemo.scale.model.scale_model import ScaleModel
from bionemo.scale.population import one_count
from bionemo.scale.types import DataCard


CELLS_AT_ONCE = {"cpu": 512, "cuda": 8192}
"""Cells that go through the network together."""

Progress = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to write of a plan, and how to compute it."""

    path: Path
    """h5ad that appears when it is complete."""
    provenance: dict[str, Any]
    """More entries for uns["bionemo_scale"]."""
    real_path: Path | None = None
    """h5ad of the measured cells (split plans only)."""
    output: Literal["cells", "pseudobulk"] = "cells"
    """Every predicted cell, or one row for each condition."""
    with_controls: bool = False
    """Append the real control cells of the predicted contexts (split plans only)."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How long a prediction took, over all processes."""

    num_cells: int
    """Cells that were predicted now."""
    num_kept: int
    """Cells that an interrupted run had predicted before."""
    seconds: float
    """Of the slowest process, writing included."""

    @property
    def cells_per_second(self) -> float:
        """Cells predicted now per second."""
        return self.num_cells / self.seconds


class _PredictedSet(NamedTuple):
    """A set of a part, before its zeros are placed."""

    position: int
    """In the part."""
    begin: ControlSet
    """The control cells it was made of."""
    cells: np.ndarray
    """[n, G] float32 log1p."""
    one_count: np.ndarray
    """[n] float32, what one count is worth in each control cell."""


def predict_all(loaded: LoadedModel, plan: Plan) -> np.ndarray:
    """Return predicted expression, [cells, G] float32 log1p, in the order of ``plan.obs``, in this process alone."""
    means = planned_means(loaded, plan)
    return np.concatenate([predict_part(loaded, plan, part, means=means) for part in cut(plan.sizes, plan.population)])


def planned_means(loaded: LoadedModel, plan: Plan) -> PlannedMeans | None:
    """Return the estimated means of a plan's populations, if the run has an estimate."""
    return None if loaded.estimate is None else loaded.estimate.of_plan(plan)


def predict_part(
    loaded: LoadedModel,
    plan: Plan,
    part: Part,
    *,
    means: PlannedMeans | None = None,
    progress: Progress = lambda cells: None,
    note: Callable[[int, ControlSet], None] = lambda position, begin: None,
) -> np.ndarray:
    """Return the predicted expression of a part, [cells, G] float32 log1p, in the order of its sets.

    Args:
        loaded: The model.
        plan: What to predict.
        part: Which part of it.
        means: From :func:`planned_means`.
        progress: Told of cells as they are predicted.
        note: Told of each set's position in the part and the control cells it was made of.
    """
    rows = np.empty((part.num_cells, len(loaded.card.genes)), dtype=np.float32)
    counts, seeds = np.empty(part.num_cells, dtype=np.float32), np.empty(len(part.sets), dtype=np.int64)
    for found in _predicted_sets(loaded, plan, part, means):
        place = slice(part.first_rows[found.position], part.first_rows[found.position] + len(found.cells))
        rows[place], counts[place], seeds[found.position] = found.cells, found.one_count, found.begin.seed
        note(found.position, found.begin)
        progress(len(found.cells))
    if has_counted_zeros(loaded.model.config):
        device = device_of(loaded.model)
        for population in part.populations(plan.population):
            cells, of_cells = torch.from_numpy(rows[population.rows]), torch.from_numpy(counts[population.rows])
            seed = int(seeds[population.first_set])
            rows[population.rows] = count(cells.to(device), one_count=of_cells.to(device), seed=seed).cpu().numpy()
    return rows


def _sum_part(
    loaded: LoadedModel,
    plan: Plan,
    part: Part,
    *,
    conditions: Conditions,
    means: PlannedMeans | None,
    progress: Progress,
) -> np.ndarray:
    """Return sums over the cells of each condition of a part, [2, conditions, G] float64: predicted, controls."""
    inside, place = np.unique(conditions.of_set[part.sets], return_inverse=True)
    # Not in the order in which sets go through the network: sums are those of the plan's order on any machine.
    by_set = np.empty((2, len(part.sets), len(loaded.card.genes)), dtype=np.float64)

    def note(position: int, begin: ControlSet) -> None:
        by_set[1, position] = begin.expression.sum(axis=0, dtype=np.float64)

    rows = predict_part(loaded, plan, part, means=means, progress=progress, note=note)
    for position, (first, size) in enumerate(zip(part.first_rows, part.sizes, strict=True)):
        by_set[0, position] = rows[first : first + size].sum(axis=0, dtype=np.float64)
    sums = np.zeros((2, len(inside), by_set.shape[2]))
    for total, values in zip(sums, by_set, strict=True):
        np.add.at(total, place, values)
    return sums


def _predicted_sets(
    loaded: LoadedModel, plan: Plan, part: Part, means: PlannedMeans | None
) -> Iterator[_PredictedSet]:
    """Yield each set of a part once."""
    device = device_of(loaded.model)
    rows = model_rows(loaded.card, loaded.model.config)
    for batch in part.batches(plan.control_set, CELLS_AT_ONCE[device.type]):
        control_sets = list(plan.controls(batch.controls.tolist()))
        with _autocast(device, loaded.precision):
            controls = _look_at(loaded.model, control_sets, rows, device)
        counts = one_count(controls.expression).cpu().numpy()
        for positions, begins in zip(batch.sets, batch.begins, strict=True):
            perturbation = torch.from_numpy(rows.perturbation[plan.perturbation[part.sets[positions]]]).to(device)
            given = _given_means(means, part.sets[positions])
            with _autocast(device, loaded.precision):
                cells = perturb(loaded.model, controls.take(torch.from_numpy(begins)), perturbation, **given)
            found = cells.float().cpu().numpy()
            for position, begin, predicted in zip(positions.tolist(), begins.tolist(), found, strict=True):
                yield _PredictedSet(position, control_sets[begin], predicted, counts[begin])


def _given_means(means: PlannedMeans | None, sets: np.ndarray) -> dict[str, Any]:
    if means is None:
        return {}
    return {"estimate": torch.from_numpy(means.of_sets(sets.tolist())), "network_weight": means.network_weight}


def device_of(model: ScaleModel) -> torch.device:
    """Return where a network is."""
    return next(model.parameters()).device


def _autocast(device: torch.device, precision: Precision) -> AbstractContextManager:
    return nullcontext() if precision == "fp32" else torch.autocast(device.type, dtype=torch.bfloat16)


def _look_at(model: ScaleModel, control_sets: Sequence[ControlSet], rows: ModelRows, device: torch.device) -> Controls:
    """Put control sets of equal size before the network."""
    cells = torch.from_numpy(vstack([item.expression for item in control_sets]).toarray()).to(device)
    cells = cells.view(len(control_sets), -1, cells.shape[1])
    means = [
        own if item.population_mean is None else torch.from_numpy(item.population_mean).to(own)
        for item, own in zip(control_sets, cells.mean(dim=1), strict=True)
    ]
    return look_at(
        model,
        cells,
        cell_type=torch.from_numpy(rows.cell_type[[item.cell_type for item in control_sets]]).to(device),
        batch=torch.from_numpy(rows.batch[[item.batch for item in control_sets]]).to(device),
        seed=torch.tensor([item.seed for item in control_sets]),
        population_mean=torch.stack(means),
    )


def write_predictions(
    loaded: LoadedModel, plan: Plan, request: Request, *, progress: Progress = lambda cells: None
) -> Timing:
    """Predict a plan and write it to an h5ad that appears when it is complete.

    Every process of the group calls this. Each makes its share of the parts; the first merges them. A run that was
    killed leaves its finished parts, and the next one continues with the missing ones.

    Args:
        loaded: The model.
        plan: What to predict, the same in every process.
        request: What to write: X dense float32 log1p, var names genes, obs labels, uns["bionemo_scale"] provenance.
        progress: Told of this process's cells as they are predicted.
    """
    begin = time.perf_counter()
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    folder = PartFolder(parts_path(request.path), _fingerprint(loaded, plan, request))
    if rank == 0:
        folder.open()
    torch.distributed.barrier()
    parts = cut(plan.sizes, plan.population)
    missing = folder.missing(parts)
    # No process may finish a part before all have seen which are missing.
    torch.distributed.barrier()
    conditions = conditions_of(plan) if request.output == "pseudobulk" else None
    means = planned_means(loaded, plan)

    def make(part: Part) -> np.ndarray:
        if conditions is None:
            return predict_part(loaded, plan, part, means=means, progress=progress)
        return _sum_part(loaded, plan, part, conditions=conditions, means=means, progress=progress)

    for part in missing[rank::world]:
        folder.write(part, make)
    torch.distributed.barrier()
    if rank == 0:
        if request.real_path is not None and isinstance(plan, SplitPlan):
            source = {name: value for name, value in request.provenance.items() if name in ("store", "split")}
            write_real(plan, request.real_path, provenance={**source, STORE_CONTENT: plan.store.identity})
        # Last: that the predictions are there says that all is done.
        _merge(loaded, plan, request, folder, conditions)
    num_new = sum(part.num_cells for part in missing)
    return Timing(num_cells=num_new, num_kept=int(plan.sizes.sum()) - num_new, seconds=time.perf_counter() - begin)


def num_own_cells(plan: Plan) -> int:
    """Return how many cells this process will predict of a plan that nobody has begun."""
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    return sum(part.num_cells for part in cut(plan.sizes, plan.population)[rank::world])


def _merge(
    loaded: LoadedModel, plan: Plan, request: Request, folder: PartFolder, conditions: Conditions | None
) -> None:
    uns = {"bionemo_scale": describe(loaded.card, {"checkpoint": str(loaded.path), **request.provenance})}
    parts = cut(plan.sizes, plan.population)
    blocks = (folder.read(part) for part in parts)
    if conditions is not None:
        means = planned_means(loaded, plan)
        sd = None if means is None else means.sd_of_sets(conditions.first_sets().tolist())
        write_pseudobulk(
            request.path, conditions=conditions, parts=parts, sums=blocks, genes=loaded.card.genes, uns=uns, sd=sd
        )
    else:
        _write_cells(loaded, plan, request, blocks, uns)
    folder.remove()


def _write_cells(
    loaded: LoadedModel, plan: Plan, request: Request, blocks: Iterator[np.ndarray], uns: dict[str, Any]
) -> None:
    obs, real = plan.obs, iter(())
    if request.with_controls and isinstance(plan, SplitPlan) and len(controls := plan.control_rows()):
        obs, real = pd.concat([plan.obs, _real_obs(plan.store, controls)]), _real_blocks(plan.store, controls)
    with H5adWriter(request.path, obs=_categorical(obs), genes=loaded.card.genes, uns=uns, dense=True) as writer:
        for block in blocks:
            writer.append(block)
        for block in real:
            writer.append(block)


def _fingerprint(loaded: LoadedModel, plan: Plan, request: Request) -> str:
    """Return a hash of everything the numbers of a prediction depend on."""
    weights = sorted((loaded.path / "weights").iterdir())
    config = loaded.model.config
    facts = {
        "checkpoint": [
            str(loaded.path.resolve()),
            [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in weights],
        ],
        "card": loaded.card.to_json(),
        "generation": [
            config.generation,
            config.additive_share,
            None if loaded.estimate is None else loaded.estimate.network_weight,
            config.counted_zeros,
            config.num_generation_steps,
            config.num_generation_samples,
            config.solver,
        ],
        "output": [request.output, loaded.precision, config.layer_spec, device_of(loaded.model).type],
        "provenance": {name: str(value) for name, value in request.provenance.items()},
        "sizes": plan.sizes.tolist(),
        "obs": int(pd.util.hash_pandas_object(plan.obs).sum()),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def write_real(plan: SplitPlan, path: Path, *, provenance: dict[str, Any]) -> None:
    """Write the measured cells of a split and the controls of their contexts, the truth a prediction is held to."""
    rows = np.concatenate([plan.rows, plan.control_rows()])
    obs = _real_obs(plan.store, rows)
    uns = {"bionemo_scale": describe(plan.store.card, provenance)}
    with H5adWriter(path, obs=_categorical(obs), genes=plan.store.card.genes, uns=uns, dense=False) as writer:
        for block in _real_blocks(plan.store, rows):
            writer.append(block)


def describe(card: DataCard, provenance: dict[str, Any]) -> dict[str, Any]:
    """Return what uns["bionemo_scale"] says: data card, scale, versions and where the cells come from."""
    packages = ("bionemo-scale", "megatron-core", "nemo-toolkit", "torch", "anndata")
    return {
        "card": card.to_json(),
        "versions": json.dumps(versions_of(packages)),
        "split_sha256": card.split_sha256 or "",
        **{name: str(value) for name, value in provenance.items()},
    }


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
