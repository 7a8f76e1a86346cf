# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Predicts the cells of a plan with a trained model, part by part."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_matrix, vstack
from torch import Tensor

from bionemo.scale.files.expression_scale import highest_log1p
from bionemo.scale.infer.generate import (
    EncodedControls,
    Moved,
    encode_controls,
    has_counted_zeros,
    move,
    with_predicted_mean,
    with_zeros,
)
from bionemo.scale.infer.labels import ModelRows, model_rows
from bionemo.scale.infer.plans.parts import Part, cut
from bionemo.scale.infer.plans.plan import ControlSet, Plan
from bionemo.scale.infer.run_estimate import PlannedMeans
from bionemo.scale.infer.settings import Precision
from bionemo.scale.infer.trained_model import LoadedModel
from bionemo.scale.megatron import cpu
from bionemo.scale.model.gene_encoder import SPARSE, SparseCells
from bionemo.scale.population import one_count, one_count_of_sparse


CELLS_AT_ONCE = {"cpu": 512, "cuda": 8192}
"""Cells that go through the network together."""

Progress = Callable[[int], None]
"""Called with a number of cells."""
OnBounded = Callable[[int], None]
"""Called with a number of values."""


class _PredictedSet(NamedTuple):
    """A set of a part, before its zeros are placed."""

    position: int
    """In the part."""
    controls: ControlSet
    """The control cells it was made of."""
    cells: np.ndarray
    """[n, G] float32 log1p."""
    one_count: np.ndarray
    """[n] float32, what one count is worth in each control cell."""
    highest: float
    """Largest value of the control set that it began as."""


def predict_all(loaded: LoadedModel, plan: Plan, *, on_bounded: OnBounded = lambda values: None) -> np.ndarray:
    """Return predicted expression, [cells, G] float32 log1p, in the order of ``plan.obs``, in this process alone.

    Args:
        loaded: The model.
        plan: What to predict.
        on_bounded: As of :func:`predict_part`.
    """
    means, parts = planned_means(loaded, plan), cut(plan.sizes, plan.population)
    return np.concatenate([predict_part(loaded, plan, part, means=means, on_bounded=on_bounded) for part in parts])


def planned_means(loaded: LoadedModel, plan: Plan) -> PlannedMeans | None:
    """Return the estimated means of a plan's populations, if the run has an estimate."""
    return None if loaded.estimate is None else loaded.estimate.of_plan(plan)


@cpu.set_aside()
def predict_part(
    loaded: LoadedModel,
    plan: Plan,
    part: Part,
    *,
    means: PlannedMeans | None = None,
    progress: Progress = lambda cells: None,
    on_set: Callable[[int, ControlSet], None] = lambda position, controls: None,
    on_bounded: OnBounded = lambda values: None,
) -> np.ndarray:
    """Return the predicted expression of a part, [cells, G] float32 log1p, in the order of its sets.

    No value is above what a cell can hold, log1p of the library size that counts were scaled to. Where the control
    cells have larger values (their library sizes did not count all genes), the largest of those is the bound.

    Args:
        loaded: The model.
        plan: What to predict.
        part: Which part of it.
        means: From :func:`planned_means`.
        progress: Called with the number of cells as they are predicted.
        on_set: Called with each set's position in the part and the control cells that it was made of.
        on_bounded: Called once with the number of values that were above the bound and became it.
    """
    rows = np.empty((part.num_cells, len(loaded.card.genes)), dtype=np.float32)
    counts, seeds = np.empty(part.num_cells, dtype=np.float32), np.empty(len(part.sets), dtype=np.int64)
    limits = np.full(len(part.sets), highest_log1p(loaded.card.scale.target_sum), dtype=np.float32)
    for each in _predicted_sets(loaded, plan, part, means=means):
        first = part.first_rows[each.position]
        inside = slice(first, first + len(each.cells))
        rows[inside], counts[inside], seeds[each.position] = each.cells, each.one_count, each.controls.seed
        limits[each.position] = np.maximum(limits[each.position], each.highest)
        on_set(each.position, each.controls)
        progress(len(each.cells))
    if has_counted_zeros(loaded.model.config):
        for population in part.populations(plan.population):
            cells, of_cells = torch.from_numpy(rows[population.rows]), torch.from_numpy(counts[population.rows])
            counted = with_zeros(
                cells.to(loaded.device), one_count=of_cells.to(loaded.device), seed=int(seeds[population.first_set])
            )
            rows[population.rows] = counted.cpu().numpy()
    on_bounded(_bound(rows, part, limits))
    return rows


def _bound(rows: np.ndarray, part: Part, limits: np.ndarray) -> int:
    """Lower values above the limit of their set to it, in place, and return how many there were."""
    num_lowered = 0
    for first, size, limit in zip(part.first_rows, part.sizes, limits, strict=True):
        cells = rows[first : first + size]
        if cells.max() > limit:
            num_lowered += int(np.count_nonzero(cells > limit))
            np.minimum(cells, limit, out=cells)
    return num_lowered


def _predicted_sets(
    loaded: LoadedModel, plan: Plan, part: Part, *, means: PlannedMeans | None
) -> Iterator[_PredictedSet]:
    """Yield each set of a part once."""
    device = loaded.device
    rows = model_rows(loaded.card, loaded.model.config)
    carried = torch.from_numpy(rows.perturbation[plan.perturbation[part.sets]]).to(device)
    shared = {"control_sizes": plan.control_sizes, "perturbation": plan.perturbation}
    for batch in part.batches(plan.control_set, CELLS_AT_ONCE[device.type], **shared):
        control_sets = list(plan.controls(batch.controls.tolist()))
        cells = csr_matrix(vstack([item.expression for item in control_sets]))
        with _autocast(device, loaded.precision):
            controls = _encode(loaded, control_sets, rows, cells=cells)
        # A device has the dense cells at hand.
        on_cpu = device.type == "cpu"
        ones = one_count_of_sparse(cells) if on_cpu else one_count(controls.expression).cpu()
        counts = ones.numpy().reshape(len(control_sets), -1)
        highest = np.array([item.expression.data.max(initial=0.0) for item in control_sets])
        for positions, begins, calls in zip(batch.sets, batch.begins, batch.calls, strict=True):
            of_call = np.unique(calls, return_index=True)[1]
            with _autocast(device, loaded.precision):
                taken = controls.take(torch.from_numpy(begins[of_call]))
                moved = move(loaded.model, taken, carried[positions[of_call]])
            for pieces in _of_one_size(plan, part, positions, begins=begins, calls=calls):
                cells, change = _cut_out(moved, pieces)
                if change is not None:
                    told = _told_means(plan, part.sets[pieces.positions], means, controls=controls, pieces=pieces)
                    with _autocast(device, loaded.precision):
                        cells = with_predicted_mean(
                            loaded.model, Moved(cells, change), carried[pieces.positions], **told
                        )
                expression = cells.float().cpu().numpy()
                yield from _as_sets(pieces, expression, control_sets=control_sets, counts=counts, highest=highest)


class _Pieces(NamedTuple):
    """Sets of one size, each some neighbouring cells of a population that was moved as a whole."""

    positions: np.ndarray
    """[P] in the part."""
    begins: np.ndarray
    """[P] which of the encoded control sets each begins as a part of."""
    calls: np.ndarray
    """[P] which of the moved populations it is of."""
    places: np.ndarray
    """[P, n] where its cells are in both."""


def _of_one_size(
    plan: Plan, part: Part, positions: np.ndarray, *, begins: np.ndarray, calls: np.ndarray
) -> Iterator[_Pieces]:
    sizes, first = part.sizes[positions], plan.first[part.sets[positions]]
    for size in np.unique(sizes).tolist():
        same = np.flatnonzero(sizes == size)
        yield _Pieces(positions[same], begins[same], calls[same], first[same, None] + np.arange(size))


def _are_whole(pieces: _Pieces, cells: Tensor) -> bool:
    """Return whether pieces are all of some populations, in their order."""
    num_sets, size = cells.shape[:2]
    return pieces.places.shape == (num_sets, size) and np.array_equal(pieces.calls, np.arange(num_sets))


def _cut_out(moved: Moved, pieces: _Pieces) -> Moved:
    if _are_whole(pieces, moved.cells):
        return moved
    cells = moved.cells[pieces.calls[:, None], pieces.places]
    return Moved(cells, None if moved.change is None else moved.change[pieces.calls])


def _told_means(
    plan: Plan, sets: np.ndarray, means: PlannedMeans | None, *, controls: EncodedControls, pieces: _Pieces
) -> dict[str, Any]:
    """Return what says which mean some sets get."""
    known = [plan.population_mean(number) for number in sets.tolist()]
    is_whole = pieces.places.shape[1] == controls.expression.shape[1]
    cells = None if is_whole else controls.expression[pieces.begins[:, None], pieces.places]
    own = controls.own_mean[pieces.begins] if cells is None else cells.mean(dim=1)
    of_all = [mine if mean is None else torch.from_numpy(mean).to(mine) for mean, mine in zip(known, own, strict=True)]
    told = {} if means is None else {"estimate": torch.from_numpy(means.of_sets(sets.tolist()))}
    weight = {} if means is None else {"network_weight": means.network_weight}
    return {"population_mean": torch.stack(of_all), **told, **weight}


def _as_sets(
    pieces: _Pieces, cells: np.ndarray, *, control_sets: Sequence[ControlSet], counts: np.ndarray, highest: np.ndarray
) -> Iterator[_PredictedSet]:
    for position, begin, places, predicted in zip(
        pieces.positions.tolist(), pieces.begins.tolist(), pieces.places, cells, strict=True
    ):
        own = control_sets[begin].part(int(places[0]), len(places))
        yield _PredictedSet(position, own, predicted, counts[begin][places], float(highest[begin]))


def _autocast(device: torch.device, precision: Precision) -> AbstractContextManager:
    return nullcontext() if precision == "fp32" else torch.autocast(device.type, dtype=torch.bfloat16)


def _encode(
    loaded: LoadedModel, control_sets: Sequence[ControlSet], rows: ModelRows, *, cells: csr_matrix
) -> EncodedControls:
    """Encode control sets of equal size, whose cells these are, together."""
    device = loaded.device
    dense = torch.from_numpy(cells.toarray()).to(device)
    return encode_controls(
        loaded.model,
        dense.view(len(control_sets), -1, dense.shape[1]),
        sparse=_sparse(cells) if cells.nnz < SPARSE * dense.numel() else None,
        cell_type=torch.from_numpy(rows.cell_type[[item.cell_type for item in control_sets]]).to(device),
        batch=torch.from_numpy(rows.batch[np.stack([item.batch for item in control_sets])]).to(device),
        seed=torch.tensor([item.seed for item in control_sets]),
        covariates=torch.from_numpy(rows.of_covariates([item.covariates for item in control_sets])).to(device),
    )


def _sparse(cells: csr_matrix) -> SparseCells:
    gene, first = (values.astype(np.int32, copy=False) for values in (cells.indices, cells.indptr[:-1]))
    return SparseCells(torch.from_numpy(gene), torch.from_numpy(cells.data), torch.from_numpy(first))
