# SPDX-FileCopyrightText: Copyright (c) 2026 the bionemo-scale authors
# SPDX-License-Identifier: Apache-2.0
"""From h5ad files to scores: four commands, each waiting for the one before."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bionemo.scale.data.prepare.settings import PrepareSettings
from bionemo.scale.eval.settings import EvaluateSettings
from bionemo.scale.infer.settings import InferSettings
from bionemo.scale.recipes.arrays import conversion_steps
from bionemo.scale.recipes.defaults import train_settings
from bionemo.scale.recipes.steps import Step, evaluate_step, infer_step, prepare_step, train_step
from bionemo.scale.train.settings import TrainSettings
from bionemo.scale.types import InputError


class StepFailed(RuntimeError):
    """A step ended without success; the ones after it were not started."""


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """One experiment."""

    inputs: tuple[Path, ...]
    """h5ad files."""
    split: Path
    """Split file; its test part is predicted and scored."""
    out: Path
    """Folder for store, run, predicted and scores."""
    size: str | None = None
    """Of the model; ``None`` is small, or the network of ``from_checkpoint``."""
    prepare: Mapping[str, Any] = field(default_factory=dict)
    """Other fields of PrepareSettings."""
    train: Mapping[str, Any] = field(default_factory=dict)
    """Other fields of TrainSettings."""
    infer: Mapping[str, Any] = field(default_factory=dict)
    """Other fields of InferSettings."""
    evaluate: Mapping[str, Any] = field(default_factory=dict)
    """Other fields of EvaluateSettings."""
    infer_tasks: int | None = None
    """Processes of a node that share the prediction; ``None`` is as many as train."""
    array: bool = False
    """Convert each file in a job of its own, on Slurm."""

    def settings(self) -> TrainSettings:
        """Return the settings of the training.

        Raises:
            InputError: A value is not possible.
        """
        out = self.out.absolute()
        return train_settings(self.size, store=out / "store", out=out / "run", **self.train)


@dataclass(frozen=True, kw_only=True)
class ScheduledStep:
    """A step of a pipeline with the nodes and processes that it runs on."""

    step: Step
    nodes: int = 1
    tasks: int = 1
    """Processes of a node."""
    uses_gpus: bool = False
    after: tuple[str, ...] | None = None
    """Names of the steps whose success it waits for; ``None`` is the one before."""


def schedule(pipeline: Pipeline) -> tuple[ScheduledStep, ...]:
    """Return the steps of a pipeline in their order, with absolute paths: jobs start elsewhere.

    Raises:
        InputError: A file is missing, or a setting is not possible.
    """
    for path in (*pipeline.inputs, pipeline.split):
        if not path.is_file():
            raise InputError(f"{path}: expected a file, found none")
    out, settings = pipeline.out.absolute(), pipeline.settings()
    predicted = out / "predicted"
    conversion = PrepareSettings.make(
        inputs=tuple(path.absolute() for path in pipeline.inputs),
        out=settings.store,
        split=pipeline.split.absolute(),
        # A requeued job starts again; half a store is never left behind, a whole one may be.
        **{"overwrite": True, **pipeline.prepare},
    )
    prediction = InferSettings.make(
        checkpoint=settings.out,
        store=settings.store,
        out=predicted,
        **{"with_controls": True, "overwrite": True, **pipeline.infer},
    )
    scores = EvaluateSettings.make(
        pred=prediction.pred_path,
        real=prediction.real_path,
        out=out / "scores",
        store=settings.store,
        **{"name": "SCALE", "plot": True, **pipeline.evaluate},
    )
    conversions = conversion_steps(conversion, out / "conversion") if pipeline.array else (prepare_step(conversion),)
    return (
        *(ScheduledStep(step=step) for step in conversions),
        ScheduledStep(step=train_step(settings), nodes=settings.num_nodes, tasks=settings.devices, uses_gpus=True),
        ScheduledStep(step=infer_step(prediction), tasks=pipeline.infer_tasks or settings.devices, uses_gpus=True),
        ScheduledStep(step=evaluate_step(scores)),
    )
