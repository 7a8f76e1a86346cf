# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""Predicts a plan part by part, on as many processes as there are, and writes the parts as one file."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from bionemo.scale.infer.certainty.certainty import Certainty
from bionemo.scale.infer.counts.predicted import check_has_counts, predict_counts
from bionemo.scale.infer.output.cells_file import write_cells, write_real
from bionemo.scale.infer.output.measured_cells import STORE_CONTENT
from bionemo.scale.infer.output.origin import describe, fingerprint
from bionemo.scale.infer.output.part_folder import PartFolder, parts_path
from bionemo.scale.infer.output.pseudobulk import add_up, conditions_of, sum_conditions, write_pseudobulk
from bionemo.scale.infer.output.request import Request
from bionemo.scale.infer.plans.parts import PART_CELLS, Part, cut
from bionemo.scale.infer.plans.plan import ControlSet, Plan
from bionemo.scale.infer.plans.split_plan import SplitPlan
from bionemo.scale.infer.predict import OnBounded, Progress, planned_means, predict_part
from bionemo.scale.infer.trained_model import LoadedModel


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


def write_predictions(
    loaded: LoadedModel,
    plan: Plan,
    request: Request,
    *,
    certainty: Certainty | None = None,
    progress: Progress = lambda cells: None,
    part_cells: int = PART_CELLS,
) -> Timing:
    """Predict a plan and write it to an h5ad that appears when it is complete.

    Every process of the group calls this. Each makes its share of the parts; the first merges them. A run that was
    killed leaves its finished parts, and the next one continues with the missing ones.

    Args:
        loaded: The model.
        plan: What to predict, the same in every process.
        request: What to write: X dense float32 log1p or CSR counts, var names genes, obs labels, uns["bionemo_scale"]
            provenance, and what ``certainty`` says of each (cell type, perturbation).
        certainty: Of the plan, where the caller wants to read it; the first process alone uses it.
        progress: Called with the number of this process's cells as they are predicted.
        part_cells: Most cells of a part.
    """
    begin = time.perf_counter()
    is_first = torch.distributed.get_rank() == 0
    output = _output(loaded, plan, request)
    folder = PartFolder(parts_path(request.path), fingerprint(loaded, plan, request))
    parts = cut(plan.sizes, plan.population, part_cells)
    missing = _missing_parts(folder, parts)
    for part in _own_share(missing):
        make = partial(output.make, progress=progress, on_bounded=partial(folder.note_bounded, part))
        folder.write(part, make)
    torch.distributed.barrier()
    if is_first:
        if request.real_path is not None and isinstance(plan, SplitPlan):
            source = {name: value for name, value in request.provenance.items() if name in ("store", "split")}
            provenance = {**source, STORE_CONTENT: plan.store.identity}
            write_real(plan, request.real_path, provenance=provenance, as_counts=request.output == "counts")
        # Last: that the predictions are there says that all is done.
        certainty = certainty or Certainty(loaded, plan, planned_means(loaded, plan))
        certainty.num_bounded = folder.num_bounded(parts)
        output.write(request, folder, parts, certainty=certainty)
        folder.remove()
    num_new = sum(part.num_cells for part in missing)
    return Timing(num_cells=num_new, num_kept=int(plan.sizes.sum()) - num_new, seconds=time.perf_counter() - begin)


def num_own_cells(plan: Plan, part_cells: int = PART_CELLS) -> int:
    """Return how many cells this process will predict of a plan that nobody has begun."""
    return sum(part.num_cells for part in _own_share(cut(plan.sizes, plan.population, part_cells)))


def _missing_parts(folder: PartFolder, parts: list[Part]) -> list[Part]:
    """Return the parts that no interrupted run has made, the same in every process."""
    if torch.distributed.get_rank() == 0:
        folder.open()
    torch.distributed.barrier()
    missing = folder.missing(parts)
    # No process may finish a part before all have seen which are missing.
    torch.distributed.barrier()
    return missing


def _own_share(parts: list[Part]) -> list[Part]:
    return parts[torch.distributed.get_rank() :: torch.distributed.get_world_size()]


def _output(loaded: LoadedModel, plan: Plan, request: Request) -> "_Cells | _Counts | _Pseudobulk":
    if request.output == "pseudobulk":
        return _Pseudobulk(loaded, plan)
    return _Counts(loaded, plan, request.library_size) if request.output == "counts" else _Cells(loaded, plan)


class _Cells:
    """A file with a row for each predicted cell."""

    def __init__(self, loaded: LoadedModel, plan: Plan):
        self._loaded, self._plan, self._means = loaded, plan, planned_means(loaded, plan)

    def make(self, part: Part, progress: Progress, on_bounded: OnBounded) -> np.ndarray:
        """Return [cells of the part, G] float32."""
        return predict_part(
            self._loaded, self._plan, part, means=self._means, progress=progress, on_bounded=on_bounded
        )

    def write(self, request: Request, folder: PartFolder, parts: list[Part], *, certainty: Certainty) -> None:
        """Write the finished parts, and what is known of them."""
        card = self._loaded.card
        uns = {"bionemo_scale": describe(card, {"checkpoint": str(self._loaded.path), **request.provenance})}
        write_cells(
            request.path,
            self._plan,
            _blocks(folder, parts, certainty),
            genes=card.genes,
            uns=uns,
            with_controls=request.with_controls,
            finish=certainty.write,
        )


def _blocks(folder: PartFolder, parts: list[Part], certainty: Certainty) -> Iterator[np.ndarray]:
    """Yield the cells of finished parts, which are added up on the way."""
    for part in parts:
        block = folder.read(part)
        certainty.totals.add_cells(part, block)
        yield block


class _Counts:
    """A file with a row for each predicted cell, as counts."""

    def __init__(self, loaded: LoadedModel, plan: Plan, library_size: float | None):
        check_has_counts(loaded, plan)
        self._loaded, self._plan, self._means = loaded, plan, planned_means(loaded, plan)
        self._library_size = library_size

    def make(self, part: Part, progress: Progress, on_bounded: OnBounded) -> np.ndarray:
        """Return [cells of the part + its populations, G + 1] float32; see :func:`predict_counts`."""
        return predict_counts(
            self._loaded,
            self._plan,
            part,
            means=self._means,
            progress=progress,
            on_bounded=on_bounded,
            library_size=self._library_size,
        )

    def write(self, request: Request, folder: PartFolder, parts: list[Part], *, certainty: Certainty) -> None:
        """Write the finished parts, and what is known of them."""
        card = self._loaded.card
        sizes = []
        for part in parts:
            populations, block = part.populations(self._plan.population), folder.read(part)
            pair = certainty.pairs.of_set[[part.sets[each.first_set] for each in populations]]
            certainty.totals.add_sums(pair, block[part.num_cells :, :-1])
            sizes.append(block[: part.num_cells, -1])
        write_cells(
            request.path,
            self._plan,
            (folder.read(part)[: part.num_cells, :-1] for part in parts),
            library_size=np.concatenate(sizes),
            genes=card.genes,
            uns={"bionemo_scale": describe(card, {"checkpoint": str(self._loaded.path), **request.provenance})},
            with_controls=request.with_controls,
            finish=certainty.write,
        )


class _Pseudobulk:
    """A file with a row for each condition."""

    def __init__(self, loaded: LoadedModel, plan: Plan):
        self._loaded, self._plan, self._means = loaded, plan, planned_means(loaded, plan)
        self._conditions = conditions_of(plan)

    def make(self, part: Part, progress: Progress, on_bounded: OnBounded) -> np.ndarray:
        """Return [2, conditions of the part, G] float64 sums over cells: predicted ones, and their controls."""
        control_sums = np.empty((len(part.sets), len(self._loaded.card.genes)), dtype=np.float64)

        def on_set(position: int, controls: ControlSet) -> None:
            control_sums[position] = controls.expression.sum(axis=0, dtype=np.float64)

        watched = partial(predict_part, progress=progress, on_set=on_set, on_bounded=on_bounded)
        cells = watched(self._loaded, self._plan, part, means=self._means)
        return sum_conditions(part, self._conditions, cells=cells, control_sums=control_sums)

    def write(self, request: Request, folder: PartFolder, parts: list[Part], *, certainty: Certainty) -> None:
        """Write the finished parts, and what is known of them."""
        card, conditions = self._loaded.card, self._conditions
        sums = (folder.read(part) for part in parts)
        write_pseudobulk(
            request.path,
            conditions=conditions,
            totals=add_up(conditions, parts=parts, sums=sums, num_genes=len(card.genes)),
            genes=card.genes,
            uns={"bionemo_scale": describe(card, {"checkpoint": str(self._loaded.path), **request.provenance})},
            certainty=certainty,
        )
