# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""One prediction, from settings to h5ad files, in this process or shared by the processes of a launcher."""

import json
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bionemo.scale.data.store.reader import Store
from bionemo.scale.files.labels.grammar import grammar_of
from bionemo.scale.infer.certainty.certainty import Certainty
from bionemo.scale.infer.labels import asked_perturbations, with_new_perturbations
from bionemo.scale.infer.output.lab_cells import MeasuredCells, find_measured
from bionemo.scale.infer.output.measured_cells import keeps_measured_cells, settle, unsettled_path
from bionemo.scale.infer.output.request import Request
from bionemo.scale.infer.output.write import Timing, num_own_cells, write_predictions
from bionemo.scale.infer.planning import cell_source, make_plan
from bionemo.scale.infer.plans.parts import PART_CELLS
from bionemo.scale.infer.plans.plan import Plan, predicted_contexts
from bionemo.scale.infer.predict import planned_means
from bionemo.scale.infer.settings import InferSettings
from bionemo.scale.infer.trained_model import LoadedModel, load_model
from bionemo.scale.megatron.layout import first_alone, model_parallel
from bionemo.scale.progress import Progress
from bionemo.scale.types import DataCard


def infer(settings: InferSettings, progress: Progress, *, part_cells: int = PART_CELLS) -> Timing:
    """Load the trained model, plan what to predict, predict it and write it.

    Args:
        settings: What.
        progress: Shows notes, how far it is, and the result; of several processes the first one's.
        part_cells: Most cells that a process predicts before it writes them.

    Raises:
        InputError: The checkpoint, the cells or the labels cannot be used, or do not fit one another.
    """
    with model_parallel(), Store.open(settings.store) if settings.store else nullcontext() as store:
        is_first = torch.distributed.get_rank() == 0
        progress.stage("loading the model")
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
        progress.stage("choosing control cells")
        loaded = with_new_perturbations(loaded, asked, settings.perturbation_features)
        loaded, plan = make_plan(settings, loaded, store)
        measured = _measured_cells(settings, loaded, plan)
        certainty = Certainty(loaded, plan, planned_means(loaded, plan)) if is_first else None
        if certainty is not None:
            _say(progress, "note", plan.notes)
            _say(progress, "warning", certainty.lines())
        note = ""
        if measured is not None and settings.measured is not None:
            progress.stage("writing measured cells")
            # Before the work of hours: a value that cannot be used is refused first.
            note = first_alone(partial(_write_measured, measured, settings.measured, loaded.card))
        progress.begin("predict", num_own_cells(plan, part_cells), unit="cells")
        progress.stage("predicting")
        timing = write_predictions(
            loaded, plan, _request(settings), certainty=certainty, progress=progress.add, part_cells=part_cells
        )
        progress.close()
        if certainty is not None:
            _say(progress, "warning", certainty.lines_after())
            progress.say(_summary(settings, loaded, timing), last=True)
            if settings.measured is not None:
                settle(settings.measured, settings.pred_path)
                progress.say(note, last=True)
    return timing


def _measured_cells(settings: InferSettings, loaded: LoadedModel, plan: Plan) -> MeasuredCells | None:
    """Return the measured cells of what is predicted, where they are asked for.

    Raises:
        InputError: There are none.
    """
    if settings.measured is None:
        return None
    config, keys = loaded.model.config, loaded.card.keys
    grammar = grammar_of(loaded.card, combination=config.combination_separator, dose=config.dose_separator)
    return find_measured(
        cell_source(settings),
        loaded.card,
        plan.obs[keys.perturbation].astype(str).unique(),
        contexts=predicted_contexts(plan, loaded.card),
        grammar=grammar,
    )


def _write_measured(measured: MeasuredCells, path: Path, card: DataCard) -> str:
    provenance = {"source": measured.source.path.resolve()}
    num_cells = measured.write(unsettled_path(path), card, provenance=provenance)
    return f"{path}: {num_cells:,} measured cells of what is predicted, and their controls"


def _say(progress: Progress, kind: str, lines: Iterable[str]) -> None:
    for line in lines:
        progress.say(f"{kind}: {line}", last=True)


def _request(settings: InferSettings) -> Request:
    """Return which files to write."""
    provenance: dict[str, Any] = {"store": settings.store.resolve()} if settings.store else {}
    if not settings.is_screen:
        provenance["split"] = settings.split
    return Request(
        path=settings.pred_path,
        real_path=None if keeps_measured_cells(settings) else settings.real_path,
        provenance={
            **provenance,
            "seed": settings.seed,
            "output": settings.output,
            "options": json.dumps(settings.chosen),
        },
        output=settings.output,
        library_size=settings.library_size,
        features=settings.perturbation_features,
        with_controls=settings.with_controls,
    )


def _summary(settings: InferSettings, loaded: LoadedModel, timing: Timing) -> str:
    trained, lines = loaded.model.config.set_size, []
    if settings.set_size and settings.set_size != trained:
        lines.append(f"note: predicted in sets of {settings.set_size} cells, trained on sets of {trained}")
    total = f"{timing.num_cells + timing.num_kept:,} predicted cells"
    kept = f" ({timing.num_kept:,} kept from an interrupted run)" if timing.num_kept else ""
    lines.append(f"{settings.pred_path}: {total}{kept}, {timing.cells_per_second:,.0f} cells/s")
    return "\n".join(lines)
