# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""One prediction, from settings to h5ad files, in this process or shared by the processes of a launcher."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TextIO

import torch
from tqdm import tqdm

from bionemo.scale.data.store.reader import Store
from bionemo.scale.infer.controls.control_cells import controls_of_store, read_controls
from bionemo.scale.infer.labels import asked_perturbations, with_new_perturbations, with_unknown_contexts
from bionemo.scale.infer.output.measured_cells import keeps_measured_cells
from bionemo.scale.infer.plan import ControlsPlan, Plan, SplitPlan
from bionemo.scale.infer.predict import Request, Timing, num_own_cells, write_predictions
from bionemo.scale.infer.settings import InferSettings
from bionemo.scale.infer.trained_model import LoadedModel, load_model
from bionemo.scale.megatron.layout import model_parallel
from bionemo.scale.types import InputError, Split


SCREEN_CELLS = 256
"""Control cells of a context of a store that a screen carries to each perturbation, where the user does not say."""
_LINE_SECONDS = 10


def infer(settings: InferSettings, stream: TextIO) -> Timing:
    """Predict and write.

    Args:
        settings: What.
        stream: Where progress and the result are shown; processes beside the first show nothing.

    Raises:
        InputError: The checkpoint, the cells or the labels cannot be used, or do not fit one another.
    """
    with model_parallel(), Store.open(settings.store) if settings.store else nullcontext() as store:
        is_first = torch.distributed.get_rank() == 0
        loaded = load_model(
            settings.checkpoint,
            precision=settings.precision,
            spec=settings.spec,
            generation=settings.generation,
            additive_share=settings.additive_share,
            network_weight=settings.network_weight,
            num_generation_steps=settings.num_steps,
            num_generation_samples=settings.samples,
        )
        asked = asked_perturbations(loaded, settings.perturbations, settings.perturbation_features)
        settings = replace(settings, perturbations=asked)
        loaded = with_new_perturbations(loaded, settings.perturbations, settings.perturbation_features)
        loaded, plan = make_plan(settings, loaded, store)
        provenance = {"store": settings.store.resolve()} if settings.store else {}
        if not settings.is_screen:
            provenance["split"] = settings.split
        request = Request(
            path=settings.pred_path,
            real_path=None if keeps_measured_cells(settings) else settings.real_path,
            provenance={**provenance, "seed": settings.seed, "output": settings.output},
            output=settings.output,
            with_controls=settings.with_controls,
        )
        if is_first:
            stream.writelines(f"note: {line}\n" for line in plan.notes)
        with _Progress(stream, plan, shown=is_first) as progress:
            timing = write_predictions(loaded, plan, request, progress=progress)
        if is_first:
            stream.write(_summary(settings, loaded, timing))
    return timing


def make_plan(settings: InferSettings, loaded: LoadedModel, store: Store | None) -> tuple[LoadedModel, Plan]:
    """Return the model, with the unknown labels it was let to predict, and which sets to predict.

    Raises:
        InputError: Labels or the store do not fit the model, or there are no such controls.
    """
    set_size = settings.set_size or loaded.model.config.set_size
    if store is not None:
        _check_same_data(store, loaded, settings.checkpoint, split_matters=not settings.is_screen)
        if not settings.is_screen:
            return loaded, SplitPlan(store, Split(settings.split), set_size=set_size, seed=settings.seed)
        limit = settings.cells_per_condition or SCREEN_CELLS
        cells = controls_of_store(store, settings.cell_types, limit=limit, seed=settings.seed)
    else:
        cells = read_controls(
            settings.adata,
            loaded.card,
            cell_types=settings.cell_types,
            given=settings,
            matrix=settings.matrix,
            gene_key=settings.gene_key,
        )
        if settings.allow_unknown:
            loaded = with_unknown_contexts(loaded, cell_types=cells.cell_type, batches=cells.batch)
        if settings.cells_per_condition is not None:
            cells = cells.thin_out(settings.cells_per_condition, seed=settings.seed)
    plan = ControlsPlan(
        cells,
        loaded.card,
        settings.perturbations or loaded.card.perturbations,
        source=settings.adata or settings.store,
        set_size=set_size,
        seed=settings.seed,
        are_trained=store is not None,
    )
    return loaded, plan


def _check_same_data(store: Store, loaded: LoadedModel, checkpoint: Path, *, split_matters: bool) -> None:
    """A split may only be predicted by a model that was kept from it."""
    names = ["genes", "cell_types", "perturbations", "batches", "scale", *(["split_sha256"] if split_matters else [])]
    for name in names:
        expected, found = getattr(loaded.card, name), getattr(store.card, name)
        if name == "perturbations":
            # New ones follow those of the training data.
            expected = expected[: loaded.model.config.num_perturbations]
        if expected != found:
            raise InputError(
                f"{store.path}: expected the {name} that {checkpoint} was trained on ({_short(expected)}), found "
                f"{_short(found)}; use the store of that run, or --adata"
            )


def _short(value: object) -> str:
    return f"{len(value)} entries" if isinstance(value, tuple) else str(value)


def _summary(settings: InferSettings, loaded: LoadedModel, timing: Timing) -> str:
    trained, lines = loaded.model.config.set_size, []
    if settings.set_size and settings.set_size != trained:
        lines.append(f"note: predicted in sets of {settings.set_size} cells, trained on sets of {trained}")
    total = f"{timing.num_cells + timing.num_kept:,} predicted cells"
    kept = f" ({timing.num_kept:,} kept from an interrupted run)" if timing.num_kept else ""
    lines.append(f"{settings.pred_path}: {total}{kept}, {timing.cells_per_second:,.0f} cells/s")
    return "\n".join(lines) + "\n"


class _Progress:
    """A bar on a terminal, a line every few seconds elsewhere."""

    def __init__(self, stream: TextIO, plan: Plan, *, shown: bool):
        self._stream, self._shown, self._done = stream, shown, 0
        self._total = num_own_cells(plan) if shown else 0
        self._bar: tqdm | None = None

    def __enter__(self) -> Callable[[int], None]:
        self._begin = self._said = time.monotonic()
        if self._shown and self._stream.isatty():
            self._bar = tqdm(total=self._total, file=self._stream, desc="predict", unit="cell")
        return self.update

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, cells: int) -> None:
        """Count cells of this process."""
        self._done += cells
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(cells)
        elif self._shown and now - self._said > _LINE_SECONDS:
            self._said = now
            rate = self._done / (now - self._begin)
            left = max(0.0, (self._total - self._done) / rate)
            share = f"{self._done:,}/{self._total:,} cells of the first process"
            self._stream.write(f"predict {share}  {rate:,.0f} cells/s  {left:.0f} s left\n")
